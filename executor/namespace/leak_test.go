package namespace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest/census"
	"cofferdam/executor/namespace"
)

// leakStartsEnv is how many environments TestNothingIsLeft starts.
const leakStartsEnv = "COFFERDAM_TEST_STARTS"

// lives are ways for an environment to come and go, each with a right outcome.
var lives = []struct {
	name string
	live func(*leakLab) error
}{
	{"exits", func(l *leakLab) error { return l.exits(l.spec("true"), 0) }},
	{"killed at once", func(l *leakLab) error {
		p, err := l.e.Start(context.Background(), l.spec("sleep", "3600"))
		if err != nil {
			return err
		}
		p.Kill(executor.CausePolicy, "at once")
		return l.ended(p, executor.CausePolicy)
	}},
	{"killed while it starts", func(l *leakLab) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(8000))*time.Microsecond)
		defer cancel()
		p, err := l.e.Start(ctx, l.spec("sleep", "3600"))
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		p.Kill(executor.CausePolicy, "it was faster")
		return l.ended(p, executor.CausePolicy)
	}},
	{"exec inside", func(l *leakLab) error {
		p, err := l.e.Start(context.Background(), l.spec("sleep", "3600"))
		if err != nil {
			return err
		}
		defer p.Kill(executor.CausePolicy, "")
		var out bytes.Buffer
		exit, err := p.Exec(context.Background(), &executor.Command{Args: []string{"echo", "inside"}, Env: path, Stdout: &out})
		if err != nil || exit.Code != 0 || out.String() != "inside\n" {
			return fmt.Errorf("exec: %+v, %v, %q", exit, err, out.String())
		}
		p.Kill(executor.CausePolicy, "")
		return l.ended(p, executor.CausePolicy)
	}},
	{"killed while something is executed in it", func(l *leakLab) error {
		p, err := l.e.Start(context.Background(), l.spec("sleep", "3600"))
		if err != nil {
			return err
		}
		time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { p.Kill(executor.CausePolicy, "") })
		p.Exec(context.Background(), &executor.Command{Args: []string{"sleep", "3600"}, Env: path})
		return l.ended(p, executor.CausePolicy)
	}},
	{"exec given up", func(l *leakLab) error {
		p, err := l.e.Start(context.Background(), l.spec("sleep", "3600"))
		if err != nil {
			return err
		}
		defer p.Kill(executor.CausePolicy, "")
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(5000))*time.Microsecond)
		defer cancel()
		if _, err := p.Exec(ctx, &executor.Command{Args: []string{"sleep", "3600"}, Env: path}); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("an exec given up: %v", err)
		}
		p.Kill(executor.CausePolicy, "")
		return l.ended(p, executor.CausePolicy)
	}},
	{"writable volume", func(l *leakLab) error {
		spec := l.spec("sh", "-c", "echo kept > /data/file && rm /data/file")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: l.volume, Target: "/data", Writable: true, SizeBytes: 1 << 20})
		return l.exits(spec, 0)
	}},
	{"tmpfs, file and link", func(l *leakLab) error {
		spec := l.spec("sh", "-c", "cat /cell/file > /cell/copy && cat /cell/link > /tmp/x")
		spec.Mounts = append(spec.Mounts,
			executor.Mount{Kind: executor.MountTmpfs, Target: "/cell", Writable: true, SizeBytes: 1 << 20},
			executor.Mount{Kind: executor.MountFile, Target: "/cell/file", Data: []byte("data")},
			executor.Mount{Kind: executor.MountSymlink, Target: "/cell/link", Source: "file"})
		return l.exits(spec, 0)
	}},
	{"mounted while it runs", func(l *leakLab) error {
		spec := l.spec("sleep", "3600")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/at", Writable: true})
		p, err := l.e.Start(context.Background(), spec)
		if err != nil {
			return err
		}
		defer p.Kill(executor.CausePolicy, "")
		dir, err := l.e.Open(context.Background(), l.volume)
		if err != nil {
			return err
		}
		defer dir.Close()
		share := executor.Share{Dir: dir, Target: "/at/share", Writable: rand.IntN(2) == 0, SizeBytes: 1 << 20}
		if err := p.Mount(context.Background(), share); err != nil {
			return err
		}
		if rand.IntN(2) == 0 { // the other half takes it along
			if err := p.Unmount(context.Background(), "/at/share"); err != nil {
				return err
			}
		}
		p.Kill(executor.CausePolicy, "")
		return l.ended(p, executor.CausePolicy)
	}},
	{"listeners, one of them dialled", func(l *leakLab) error {
		a, b := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:81")
		spec := l.spec("sleep", "3600")
		spec.Listen = []netip.AddrPort{a, b}
		p, err := l.e.Start(context.Background(), spec)
		if err != nil {
			return err
		}
		defer p.Kill(executor.CausePolicy, "")
		c, err := p.Dial(context.Background(), a)
		if err != nil {
			return err
		}
		defer c.Close()
		p.Kill(executor.CausePolicy, "")
		return l.ended(p, executor.CausePolicy)
	}},
	{"orphans", func(l *leakLab) error {
		return l.exits(l.spec("sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 & (sleep 3600 >/dev/null 2>&1 &)"), 0)
	}},
	{"too much output", func(l *leakLab) error {
		spec := l.spec("yes")
		spec.Command.Stdout, spec.Limits.OutputBytes = io.Discard, 4<<10
		p, err := l.e.Start(context.Background(), spec)
		if err != nil {
			return err
		}
		return l.ended(p, executor.CauseOutput)
	}},
	{"input that is not read", func(l *leakLab) error {
		spec := l.spec("true")
		spec.Command.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
		return l.exits(spec, 0)
	}},
	{"no such program", func(l *leakLab) error {
		_, err := l.e.Start(context.Background(), l.spec("/no/such/program"))
		return wanted(err, syscall.ENOENT)
	}},
	{"no such volume", func(l *leakLab) error {
		spec := l.spec("true")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: l.volume + "-not", Target: "/data", Writable: true})
		_, err := l.e.Start(context.Background(), spec)
		return wanted(err, syscall.ENOENT)
	}},
	{"mount points in a volume that cannot be made", func(l *leakLab) error {
		spec := l.spec("true")
		spec.Mounts = append(spec.Mounts,
			executor.Mount{Kind: executor.MountBind, Source: l.volume, Target: "/data", Writable: true, SizeBytes: 1 << 20},
			executor.Mount{Kind: executor.MountBind, Source: l.volume, Target: "/data/no/such/place"})
		_, err := l.e.Start(context.Background(), spec)
		return wanted(err, syscall.ENOENT)
	}},
	{"a working directory that is not there", func(l *leakLab) error {
		spec := l.spec("true")
		spec.Command.Dir = "/no/such/directory"
		_, err := l.e.Start(context.Background(), spec)
		return wanted(err, syscall.ENOENT)
	}},
	{"two listeners on one port", func(l *leakLab) error {
		a := netip.MustParseAddrPort("127.0.0.1:80")
		spec := l.spec("true")
		spec.Listen = []netip.AddrPort{a, a}
		_, err := l.e.Start(context.Background(), spec)
		return wanted(err, syscall.EADDRINUSE)
	}},
}

func wanted(err error, want syscall.Errno) error {
	if err == nil || !strings.Contains(err.Error(), want.Error()) {
		return fmt.Errorf("start: %v, want %v", err, want)
	}
	return nil
}

var path = []string{"PATH=/usr/bin:/bin"}

// leakLab is one worker's: what is writable belongs to one environment at a time.
type leakLab struct {
	e      executor.Executor
	volume string
}

func (l *leakLab) spec(args ...string) *executor.Spec {
	s := host(args...)
	s.Limits = executor.Limits{Wall: time.Minute}
	return s
}

func (l *leakLab) exits(spec *executor.Spec, code int) error {
	p, err := l.e.Start(context.Background(), spec)
	if err != nil {
		return err
	}
	if err := l.ended(p, executor.CauseExit); err != nil {
		return err
	}
	if got := p.Exit(); got.Code != code {
		return fmt.Errorf("%+v, want code %d", got, code)
	}
	return nil
}

func (l *leakLab) ended(p executor.Process, cause executor.Cause) error {
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		return errors.New("it does not end")
	}
	if got := p.Exit(); got.Cause != cause {
		return fmt.Errorf("%+v, want cause %s", got, cause)
	}
	return nil
}

// However environments come and go, and however many, nothing is left of them: while
// the executor goes on it holds what it held at first, and after its end nothing.
func TestNothingIsLeft(t *testing.T) {
	starts := 2000
	if testing.Short() {
		starts = 500
	}
	nothingIsLeft(t, starts, func(e *namespace.Executor) executor.Executor { return e })
}

// nothingIsLeft starts environments by what as makes of an executor.
func nothingIsLeft(t *testing.T, starts int, as func(*namespace.Executor) executor.Executor) {
	if n, err := strconv.Atoi(os.Getenv(leakStartsEnv)); err == nil {
		starts = n
	}
	if err := census.Adopt(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	const workers = 4
	for w := range workers {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint("volume-", w)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "run/uids"), 0o700); err != nil {
		t.Fatal(err)
	}
	runtimeDir := filepath.Join(dir, "run")
	open(t, func(o *namespace.Options) { o.App, o.RuntimeDir = "left", runtimeDir }).Close() // makes the files of locks, which stay
	all := &census.Scope{Apps: []string{"left"}, Dirs: []string{dir}}
	all.Settle(all.Take(), time.Second)
	start := all.Take()

	e := open(t, func(o *namespace.Options) { o.App, o.RuntimeDir = "left", runtimeDir })
	run := func(n int) {
		var wg sync.WaitGroup
		var next atomic.Int64
		for w := range workers {
			lab := &leakLab{e: as(e), volume: filepath.Join(dir, fmt.Sprint("volume-", w))}
			wg.Go(func() {
				for {
					i := next.Add(1) - 1
					if i >= int64(n) || t.Failed() {
						return
					}
					way := lives[i%int64(len(lives))]
					if err := way.live(lab); err != nil {
						t.Errorf("start %d, %s: %v", i, way.name, err)
					}
				}
			})
		}
		wg.Wait()
	}
	// What is allocated once is not a leak: each way there is has been gone by four at a time.
	run(max(workers*len(lives), min(4*workers*len(lives), starts), starts/10))
	debug.FreeOSMemory()
	work := &census.Scope{
		Apps: all.Apps, Dirs: all.Dirs, Count: true,
		Pids: map[string]int{"the trusted process": os.Getpid(), "the spawner": spawnerPid(t)},
		// Threads of a Go program become as many as ever waited at once.
		Grow: map[string]int{"KiB": 16 << 10, "threads": 8},
	}
	work.Settle(start, time.Second) // the last ones are still being taken down
	before := work.Take()
	began := time.Now()
	run(starts)
	took := time.Since(began)
	debug.FreeOSMemory()
	left := work.Settle(before, time.Minute)
	t.Logf("%d starts and stops, %d ways, %v: while the executor works: %s",
		starts, len(lives), took.Round(time.Millisecond), work.Report(before, left))
	after := work.Take()
	for _, what := range []string{"descriptors", "threads", "KiB", "mounts"} {
		for who := range work.Pids {
			name := what + " of " + who
			t.Logf("  %s: %d, before %d", name, after.Number(name), before.Number(name))
		}
	}
	if len(left) > 0 {
		t.Error("something is left")
	}
	e.Close()
	runtime.GC()
	left = all.Settle(start, time.Minute)
	t.Logf("after its end: %s", all.Report(start, left))
	if len(left) > 0 {
		t.Error("something is left after the end of the executor")
	}
}

// spawnerPid is the process of the executor that is open.
func spawnerPid(t testing.TB) (spawner int) {
	t.Helper()
	for _, p := range descendants(os.Getpid()) {
		// Its children are copies of it and look alike; it is the one that is ours.
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if strings.HasSuffix(string(b), "\x00spawner\x00") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			spawner = p
		}
	}
	if spawner == 0 {
		t.Fatal("there is no spawner")
	}
	return spawner
}
