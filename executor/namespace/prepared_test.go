package namespace_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"
)

// ahead has an environment like the one to be started prepared before each start.
type ahead struct {
	*namespace.Executor
	refused, prepared int
}

func (a *ahead) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	if err := a.Prepare(ctx, spec, 1); err != nil {
		a.refused++ // as it would be without: Start says so
	} else {
		a.prepared++
		defer a.Prepare(context.Background(), spec, 0)
	}
	return a.Executor.Start(ctx, spec)
}

// Every known way out is tried in environments that were prepared, too.
func TestMustNotWorkPrepared(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same as TestMustNotWork, in prepared environments")
	}
	var all []*ahead
	executortest.Run(t, func(t testing.TB) executor.Executor {
		a := &ahead{Executor: open(t, func(o *namespace.Options) { o.Warm = 1 })}
		all = append(all, a)
		return a
	})
	for _, a := range all {
		t.Logf("%d environments were prepared, %d could not be", a.prepared, a.refused)
	}
}

// waiting lists the inits that wait below the spawner, by what ps calls them.
func waiting(t testing.TB) (pids []int) {
	t.Helper()
	for _, pid := range descendants(spawnerPid(t)) {
		// The program's process is a child of an init, and has not executed anything yet.
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(b) != "cofferdam-init\n" {
			continue
		}
		if parent := status(pid, "PPid"); parent != fmt.Sprint(spawnerPid(t)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func status(pid int, key string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, v, _ := strings.Cut(string(b), "\n"+key+":\t")
	v, _, _ = strings.Cut(v, "\n")
	return v
}

// What is one instance's alone comes when a prepared environment is claimed: name, files,
// socket, volume, listeners, descriptors, program.
func TestPreparedBecomesSomebodys(t *testing.T) {
	dir, at := store(t)
	e := open(t, at)
	_ = dir
	spec := func(n int) *executor.Spec {
		s := host("sh", "-c", "hostname; cat /etc/hostname /run/name; ls /run; echo $WHO; pwd; cat /data/who 2>/dev/null; echo $WHO >/data/who; cat <&3; ls /proc/self/fd | wc -l")
		s.Name = fmt.Sprintf("one-%d", n)
		s.Command.Env = append(s.Command.Env, fmt.Sprintf("WHO=tenant %d", n))
		s.Command.Dir = "/data"
		path := filepath.Join(t.TempDir(), fmt.Sprintf("socket-%d", n))
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		s.Mounts = append(s.Mounts,
			executor.Mount{Kind: executor.MountFiles, Target: "/run"},
			executor.Mount{Kind: executor.MountSocket, Source: path, Target: "/run/cofferdam/wire"},
			executor.Mount{Kind: executor.MountVolume, Source: fmt.Sprintf("v%d", n%2), Target: "/data", Writable: true, SizeBytes: 1 << 20},
			executor.Mount{Kind: executor.MountFile, Target: "/run/name", Data: []byte(fmt.Sprintf("file of %d\n", n)), Mode: 0o400})
		s.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "descriptor of %d\n", n)
		w.Close()
		t.Cleanup(func() { r.Close() })
		s.Extra = []*os.File{r}
		return s
	}
	if err := e.Prepare(context.Background(), spec(0), 2); err != nil {
		t.Fatal(err)
	}
	were := map[int]bool{}
	for n := range 4 {
		for deadline := time.Now().Add(time.Minute); len(waiting(t)) < 2; {
			if time.Now().After(deadline) {
				t.Fatalf("%d wait, want 2", len(waiting(t)))
			}
			time.Sleep(time.Millisecond)
		}
		for _, pid := range waiting(t) {
			were[pid] = true
		}
		var out bytes.Buffer
		s := spec(n)
		s.Command.Stdout = &out
		p, err := e.Start(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		tree := descendants(p.Pid()) // while it still lives
		if len(tree) > 0 && !slices.ContainsFunc(tree, func(pid int) bool { return were[pid] }) {
			t.Errorf("start %d is process %v, which has not waited: %v", n, tree, were)
		}
		if len(p.Listeners()) != 1 {
			t.Errorf("%d listeners", len(p.Listeners()))
		}
		<-p.Done()
		before := ""
		if n >= 2 {
			before = fmt.Sprintf("tenant %d\n", n-2)
		}
		want := fmt.Sprintf("one-%d\none-%d\nfile of %d\ncofferdam\nname\ntenant %d\n/data\n%sdescriptor of %d\n5\n", n, n, n, n, before, n)
		if got := p.Exit(); out.String() != want || got.Code != 0 {
			t.Errorf("start %d: %q, %+v, want %q", n, out.String(), got, want)
		}
	}
}

// One that was killed while it waited is not given to anybody, nor one whose file was replaced.
func TestPreparedMayBeGone(t *testing.T) {
	e := open(t)
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	spec := host("cat", "/file")
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: file, Target: "/file"})
	if err := e.Prepare(context.Background(), spec, 2); err != nil {
		t.Fatal(err)
	}
	if got := finish(t, e, spec); got.stdout != "first" {
		t.Errorf("%+v", got)
	}
	for range 20 {
		for _, pid := range waiting(t) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		spec.Command.Stdout = nil
		if got := finish(t, e, spec); got.stdout != "first" || got.Code != 0 {
			t.Errorf("%+v", got)
		}
	}
	for _, text := range []string{"second", "third"} {
		write(text)
		spec.Command.Stdout = nil
		if got := finish(t, e, spec); got.stdout != text {
			t.Errorf("%+v, want what is there now", got)
		}
	}
}

// Whoever kills those that wait, in whatever moment of a claim, or has stopped them: each start has an environment of
// its own with what is its own, or an error, each comes to its end, and afterwards as many wait as are to.
func TestPreparedDiesInTheClaim(t *testing.T) {
	e := open(t)
	spec := func(n int) *executor.Spec {
		s := host("cat", "/run/name", "/etc/hostname")
		s.Name = fmt.Sprintf("one-%d", n)
		s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountFiles, Target: "/run"},
			executor.Mount{Kind: executor.MountFile, Target: "/run/name", Data: []byte(fmt.Sprintf("file of %d\n", n)), Mode: 0o400})
		return s
	}
	shape := spec(0)
	shape.Name = "shape"
	if err := e.Prepare(context.Background(), shape, 3); err != nil {
		t.Fatal(err)
	}
	// strike has one of those that wait killed within the next moments, most often the one that is claimed next.
	var strikes sync.WaitGroup
	var killed atomic.Int32
	strike := func(random *rand.Rand) {
		all := waiting(t)
		if len(all) == 0 {
			return
		}
		slices.Sort(all)
		victim := all[max(random.IntN(2*len(all))-len(all), 0)]
		if random.IntN(2) == 0 { // its init
			fmt.Sscan(status(victim, "PPid"), &victim)
		}
		after, stopped := time.Duration(random.IntN(2500))*time.Microsecond, time.Duration(random.IntN(2))*3*time.Millisecond
		strikes.Go(func() {
			time.Sleep(after)
			if stopped > 0 {
				syscall.Kill(victim, syscall.SIGSTOP)
				time.Sleep(stopped)
			}
			if victim > 1 && victim != spawnerPid(t) && syscall.Kill(victim, syscall.SIGKILL) == nil {
				killed.Add(1)
			}
		})
	}
	var starts sync.WaitGroup
	var well, failed, ended atomic.Int32
	for worker := range 3 {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		starts.Go(func() {
			for k := range 12 {
				strike(random)
				n := 1 + worker*12 + k
				s := spec(n)
				var out bytes.Buffer
				s.Command.Stdout = &out
				p, err := e.Start(context.Background(), s)
				if err != nil {
					failed.Add(1) // it was claimed already, and its program may have run
					continue
				}
				select {
				case <-p.Done():
				case <-time.After(time.Minute):
					t.Errorf("start %d does not end", n)
					return
				}
				want := fmt.Sprintf("file of %d\none-%d\n", n, n)
				switch got := p.Exit(); {
				case got.Cause == executor.CauseExit && got.Code == 0 && out.String() == want:
					well.Add(1)
				case got.Cause != executor.CauseExit && strings.HasPrefix(want, out.String()):
					ended.Add(1)
				default:
					t.Errorf("start %d: %q, %+v", n, out.String(), got)
				}
			}
		})
	}
	starts.Wait()
	strikes.Wait()
	t.Logf("%d were killed; %d starts went well, %d failed, %d were ended", killed.Load(), well.Load(), failed.Load(), ended.Load())
	if killed.Load() == 0 || well.Load() == 0 {
		t.Error("nothing was tried")
	}
	for range 3 { // whoever starts one has what is missing made
		if got := finish(t, e, spec(0)); got.stdout != "file of 0\none-0\n" {
			t.Errorf("afterwards: %+v", got)
		}
	}
	awaitWaiting(t, 3)
}

// awaitWaiting waits until so many wait.
func awaitWaiting(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got := len(waiting(t))
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d wait, want %d", got, want)
		}
	}
}

// What several want of one shape adds up, each takes back its own alone, and who could not have what he wanted
// leaves nothing to be prepared later.
func TestPreparedForSeveral(t *testing.T) {
	e := open(t)
	source := filepath.Join(t.TempDir(), "source")
	prepare := func(name string, n int, more ...executor.Mount) error {
		spec := host("true")
		spec.Name = name
		spec.Mounts = append(spec.Mounts, more...)
		return e.Prepare(context.Background(), spec, n)
	}
	for _, step := range []struct {
		name          string
		n, altogether int
	}{{"a", 1, 1}, {"b", 2, 3}, {"b", 1, 2}, {"c", 1, 3}, {"a", 0, 2}, {"a", 0, 2}, {"c", 0, 1}, {"b", 0, 0}} {
		if err := prepare(step.name, step.n); err != nil {
			t.Fatal(err)
		}
		awaitWaiting(t, step.altogether)
	}
	missing := executor.Mount{Kind: executor.MountBind, Source: source, Target: "/source"}
	if err := prepare("a", 2, missing); err == nil {
		t.Error("what is not there is shown in what is prepared")
	}
	if err := os.WriteFile(source, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		spec := host("true")
		spec.Mounts = append(spec.Mounts, missing)
		finish(t, e, spec)
	}
	if err := prepare("b", 1); err != nil {
		t.Fatal(err)
	}
	awaitWaiting(t, 1)
}

// What cannot be prepared is refused, and started all the same.
func TestNotPreparable(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	for name, mounts := range map[string][]executor.Mount{
		"a writable directory of the host": {{Kind: executor.MountBind, Source: t.TempDir(), Target: "/data", Writable: true}},
		"what lies in a volume": {
			{Kind: executor.MountVolume, Source: "v", Target: "/data", Writable: true, SizeBytes: 1 << 20},
			{Kind: executor.MountTmpfs, Target: "/data/t", Writable: true, SizeBytes: 1 << 20},
		},
	} {
		spec := host("true")
		spec.Mounts = append(spec.Mounts, mounts...)
		if err := e.Prepare(context.Background(), spec, 1); err == nil || !strings.Contains(err.Error(), "prepared") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := e.Prepare(context.Background(), host("true"), 1<<20); err == nil {
		t.Error("a million environments are prepared")
	}
}

// Who makes environments keeps the network of none: it would be there as long as no other is made.
func TestNoCradleKeepsANetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: to look at another user's processes")
	}
	e := open(t)
	networks := func(name string) map[string]bool {
		all := map[string]bool{}
		for _, pid := range descendants(spawnerPid(t)) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && string(comm) == name+"\n" {
				all[link] = true
			}
		}
		return all
	}
	for range 3 {
		p, err := e.Start(context.Background(), host("/bin/sleep", "3600"))
		if err != nil {
			t.Fatal(err)
		}
		inits, cradles := networks("cofferdam-init"), networks("cofferdam-nest")
		if len(inits) == 0 || len(cradles) == 0 {
			t.Fatalf("inits are in %v, cradles in %v", inits, cradles)
		}
		for n := range cradles {
			if inits[n] {
				t.Errorf("a cradle is in the network %s of an environment", n)
			}
		}
		p.Kill(executor.CausePolicy, "")
		<-p.Done()
	}
}
