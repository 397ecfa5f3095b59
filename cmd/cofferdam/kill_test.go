package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor/executortest/census"
)

// killsEnv is how often TestKilledAtRandom kills; killSeedEnv repeats a run.
const (
	killsEnv    = "COFFERDAM_TEST_KILLS"
	killSeedEnv = "COFFERDAM_TEST_SEED"
)

const killManifest = `version: 1
name: killed
allow_degraded: [cgroup, landlock, disk-quota]
gateway:
  listen: 127.0.0.1:%d
  routes: [{path: '/.*', to: ledger}]
services:
  ledger:
    command: [/app/ledger]
    files: [{from: ledger, to: /app/ledger}]
    volumes: [{name: ledger, to: /data, size: 16M}]
    http: 8081
    uses: [{call: peer.ping}, {spawn: job}]
    restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms}
    depends_on: [peer]
  peer:
    command: [/app/answerer, ping]
    files: [{from: answerer, to: /app/answerer}]
    provides: [{call: ping}]
    restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms}
  job:
    template: true
    runtime: host
    command: [sleep, '0.05']
    limits: {wall: 10s}
`

// victim is an application that is there to be killed.
type victim struct {
	t        *testing.T
	random   *rand.Rand
	dir      string
	url      string
	program  string
	scope    *census.Scope
	before   census.Census
	answered atomic.Int64 // the highest number that somebody was told

	stale map[string]bool // cgroups that a killed spawner left, for the next to remove

	up     *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

// howOften is what env says, or else usual, or short with -short; and the seed of what is
// random meanwhile, which is printed to have it again.
func howOften(t *testing.T, env string, usual, short int) (n int, seed uint64) {
	t.Helper()
	n = usual
	if testing.Short() {
		n = short
	}
	if said, err := strconv.Atoi(os.Getenv(env)); err == nil {
		n = said
	}
	seed = uint64(time.Now().UnixNano())
	if said, err := strconv.ParseUint(os.Getenv(killSeedEnv), 10, 64); err == nil {
		seed = said
	}
	t.Logf("%s=%d", killSeedEnv, seed)
	return n, seed
}

// Whatever is killed, and whenever: what was running is gone, what was answered is
// kept, and the next one starts as if nothing had been.
func TestKilledAtRandom(t *testing.T) {
	kills, seed := howOften(t, killsEnv, 30, 10)
	if err := census.Adopt(); err != nil {
		t.Fatal(err)
	}
	v := newVictim(t, seed)

	// The first one ends in order, and shows what stays: the files of locks.
	v.start()
	v.awaitAnswer()
	v.end(syscall.SIGTERM)
	v.scope.Settle(v.before, time.Second)
	v.before = v.scope.Take()

	victims := []string{"the trusted process", "the spawner", "the trusted process", "an init", "the trusted process", "a program", "both"}
	counts, torn := map[string]int{}, 0
	began := time.Now()
	for n := range kills {
		who := victims[n%len(victims)]
		counts[who]++
		v.start()
		stop := v.load()
		// A start that finds one of its environments killed is right to refuse.
		early := v.random.IntN(2) == 0 && who != "an init" && who != "a program"
		if !early {
			v.awaitAnswer()
		}
		time.Sleep(time.Duration(v.random.IntN(300)) * time.Millisecond)
		v.kill(who)
		orderly := false
		if who == "an init" || who == "a program" {
			// Whoever it was is replaced, and the application goes on.
			v.awaitAnswer()
			orderly = v.random.IntN(2) == 0
			if orderly {
				v.end(syscall.SIGTERM)
			} else {
				v.end(syscall.SIGKILL)
			}
		} else {
			v.awaitEnd()
		}
		stop()
		if left := v.left(orderly, who); len(left) > 0 {
			t.Fatalf("kill %d, of %s (early: %v): left are\n  %s\n%s", n, who, early, strings.Join(left, "\n  "), v.stderr.String())
		}
		if v.logIsTorn() {
			torn++
		}
		if (n+1)%50 == 0 {
			t.Logf("%d kills, %v", n+1, time.Since(began).Round(time.Second))
		}
	}
	took := time.Since(began)
	v.start()
	v.awaitAnswer()
	if v.logIsTorn() {
		t.Error("the log is torn while the next application writes it")
	}
	v.end(syscall.SIGTERM)
	left := v.scope.Settle(v.before, 20*time.Second)
	t.Logf("%d kills %v in %v, %d numbers kept, %d logs with a torn last line: %s",
		kills, counts, took.Round(time.Millisecond), v.answered.Load(), torn, v.scope.Report(v.before, left))
	if len(left) > 0 {
		t.Error("something is left")
	}
}

func newVictim(t *testing.T, seed uint64) *victim {
	t.Helper()
	return newVictimOf(t, seed, killManifest, "ledger", "answerer")
}

// newVictimOf is one with another manifest, for a port, and those programs.
func newVictimOf(t *testing.T, seed uint64, manifest string, programs ...string) *victim {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cofferdam-kill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	v := &victim{t: t, dir: dir, random: rand.New(rand.NewPCG(seed, 0))}
	if v.program, err = exec.LookPath("cofferdam"); err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Link(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	v.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := os.WriteFile(filepath.Join(dir, "cofferdam.yaml"), fmt.Appendf(nil, manifest, port), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"tmp", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	v.scope = &census.Scope{Apps: []string{"killed"}, Dirs: []string{filepath.Join(dir, "tmp"), filepath.Join(dir, "run")}}
	v.before = v.scope.Take()
	return v
}

func (v *victim) command(args ...string) *exec.Cmd {
	cmd := exec.Command(v.program, append([]string{"--file", filepath.Join(v.dir, "cofferdam.yaml")}, args...)...)
	cmd.Env = append(os.Environ(), stateEnv+"="+filepath.Join(v.dir, "state"), runtimeEnv+"="+filepath.Join(v.dir, "run"),
		"TMPDIR="+filepath.Join(v.dir, "tmp"), "XDG_RUNTIME_DIR="+filepath.Join(v.dir, "run"))
	return cmd
}

// start starts `up` and does not wait for it to be ready.
func (v *victim) start() {
	v.t.Helper()
	v.up = v.command("up", "--quiet")
	v.stderr.Reset()
	v.up.Stderr = &v.stderr
	v.up.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	v.up.WaitDelay = 20 * time.Second
	if err := v.up.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.ended = make(chan error, 1)
	ended, up := v.ended, v.up
	go func() { ended <- up.Wait() }()
	v.t.Cleanup(func() { up.Process.Kill() }) // should the test fail
}

// get asks the application for something; "" is no answer.
func (v *victim) get(ctx context.Context, path string) string {
	req, err := http.NewRequestWithContext(ctx, "GET", v.url+path, nil)
	if err != nil {
		return ""
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// next asks for the next number, which must be one that nobody was told before.
func (v *victim) next(ctx context.Context) bool {
	before := v.answered.Load()
	text := v.get(ctx, "/next")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return false
	}
	if n <= before {
		v.t.Errorf("the number %d was given after %d: what was on the disk is lost", n, before)
	}
	for {
		most := v.answered.Load()
		if n <= most || v.answered.CompareAndSwap(most, n) {
			return true
		}
	}
}

// load keeps the application busy until it is stopped.
func (v *victim) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if !v.next(ctx) {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if v.get(ctx, "/spawn") == "" {
				time.Sleep(5 * time.Millisecond)
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (v *victim) awaitAnswer() {
	v.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		ok := v.next(ctx)
		cancel()
		if ok {
			return
		}
		select {
		case err := <-v.ended:
			v.t.Fatalf("up ended: %v\n%s", err, v.stderr.String())
		default:
		}
		if time.Now().After(end) {
			v.t.Fatalf("it does not answer\n%s", v.stderr.String())
		}
	}
}

// kill kills somebody at once. Who is not there yet has the trusted process die for it.
func (v *victim) kill(who string) {
	v.t.Helper()
	pids := []int{v.up.Process.Pid}
	switch spawner := spawnerOf(v.up.Process.Pid); {
	case spawner == 0: // not yet
	case who == "the spawner":
		pids = []int{spawner}
	case who == "both":
		pids = append(pids, spawner)
	case who == "an init" || who == "a program":
		pids = nil
		inits := children(spawner)
		for len(pids) == 0 && len(inits) > 0 {
			n := v.random.IntN(len(inits))
			if who == "an init" {
				pids = inits[n : n+1]
			} else {
				pids = children(inits[n])
			}
			inits = append(inits[:n:n], inits[n+1:]...)
		}
	}
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (v *victim) end(sig syscall.Signal) {
	v.t.Helper()
	v.up.Process.Signal(sig)
	v.awaitEnd()
}

func (v *victim) awaitEnd() {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(60 * time.Second):
		v.t.Fatalf("up does not end\n%s", v.stderr.String())
	}
}

// left is what is left after an end. One that was not orderly leaves the names of its
// sockets, which nobody listens at, for the next one to clear away; and where the spawner
// was killed, the empty cgroups, unless the next one is killed before it looks.
func (v *victim) left(orderly bool, who string) (left []string) {
	killedSpawner := who == "the spawner" || who == "both"
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left = nil
		stale := map[string]bool{}
		for _, what := range v.scope.Settle(v.before, 0) {
			group := strings.HasPrefix(what, "cgroup: ") && (killedSpawner || v.stale[what])
			name := strings.HasPrefix(what, "socket: "+filepath.Join(v.dir, "run")) || strings.HasPrefix(what, "file: "+filepath.Join(v.dir, "run/apps/killed/"))
			if group && !orderly {
				stale[what] = true
			} else if orderly || !name {
				left = append(left, what)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			v.stale = stale
			return left
		}
	}
}

// logIsTorn verifies the audit log: it holds, but for an end that tells of a kill, which
// may be within a line.
func (v *victim) logIsTorn() bool {
	v.t.Helper()
	out, err := v.command("audit", "verify").CombinedOutput()
	if err == nil {
		return false
	}
	if !strings.Contains(string(out), "the application was killed") || strings.Contains(string(out), "\ndamage") {
		v.t.Fatalf("audit verify: %v\n%s", err, out)
	}
	return strings.Contains(string(out), "last line is torn")
}

func spawnerOf(up int) int {
	for _, pid := range children(up) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasSuffix(string(b), "\x00"+roleSpawner+"\x00") {
			return pid
		}
	}
	return 0
}

func children(pid int) (all []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// The same as an ordinary user, when it was started by root.
func TestKilledAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: this is an ordinary user already")
	}
	dir, err := os.MkdirTemp("/tmp", "cofferdam-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cofferdam.test"), binary, 0o755)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "tmp"), 0o700)
	}
	for _, name := range []string{"", "tmp"} {
		if err == nil {
			err = os.Chown(filepath.Join(dir, name), 1000, 1000)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "cofferdam.test"), "-test.v", "-test.short", "-test.run=^(TestKilledAtRandom|TestKilledInAChange)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + filepath.Join(dir, "tmp"), "HOME=" + dir, killsEnv + "=" + os.Getenv(killsEnv)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || strings.Count(string(out), "--- PASS: TestKilled") != 2 {
		t.Errorf("%v", err)
	}
}
