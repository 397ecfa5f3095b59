package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/executor/namespace"
	"cofferdam/executor/namespace/spawner"
	"cofferdam/manifest"
	"cofferdam/sdk"
	"cofferdam/supervisor"
)

// TestMain lets this binary play the spawner, and the programs inside.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "spawner":
			if err := spawner.Main(3); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		case "program":
			if err := program(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// program is what runs inside. Its first argument says what it does.
func program(args []string) error {
	ctx := context.Background()
	switch args[0] {
	case "exit":
		var code int
		fmt.Sscan(args[1], &code)
		os.Exit(code)
	case "deaf": // does not hear SIGTERM
		ignore := make(chan os.Signal, 8)
		signal.Notify(ignore, syscall.SIGTERM)
		fmt.Println("deaf and ready")
		for range ignore {
			fmt.Println("heard it")
		}
	case "serve":
		return serve(ctx)
	case "named":
		return named(ctx)
	case "pace":
		return pace(ctx, args[1])
	case "eager": // asks for all that it can think of before it serves
		go eager(ctx)
		return serve(ctx)
	case "ask": // asks NAME with BODY and prints the answer
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		got, err := c.Call(ctx, args[1], []byte(args[2]))
		if err != nil {
			fmt.Println("error:", err)
			return nil
		}
		fmt.Printf("answer: %s\n", got)
	case "spawn": // spawns TEMPLATE for PRINCIPAL
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		exit, err := c.Spawn(ctx, args[1], sdk.SpawnOptions{Args: args[3:], Principal: args[2], Bound: []byte("bound to " + args[2])})
		fmt.Printf("%s%s %d %v\n", exit.Stdout, exit.Cause, exit.Code, err)
	case "age":
		old, err := age()
		fmt.Println(old)
		return err
	case "count": // how often was this state seen, and by whom
		path := "/data/count"
		old, _ := os.ReadFile(path)
		now := append(old, 'x')
		if err := os.WriteFile(path, now, 0o600); err != nil {
			return err
		}
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%d for %s, %s\n", len(now), c.Self().Principal, c.Self().Bound)
	case "mail":
		return mail(ctx, args[1], args[2:])
	case "family":
		return family(ctx, args[1])
	case "ailing":
		workers, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return ailing(ctx, workers)
	case "keep":
		return keep(ctx)
	case "linger":
		return linger()
	case "visit": // PRINCIPAL, and says how that one's server ends
		c, err := sdk.DialFor(ctx, "server:4711", args[1])
		if err != nil {
			return err
		}
		fmt.Fprintln(c, "hello")
		heard := make([]byte, 6)
		_, err = io.ReadFull(c, heard)
		fmt.Printf("%s %v\n", bytes.TrimSpace(heard), err)
		if len(args) > 2 {
			n, err := c.Read(heard)
			fmt.Println(n, err)
		}
	case "end": // SERVICE PRINCIPAL...
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		for _, who := range args[2:] {
			fmt.Println(who, c.End(ctx, args[1], who))
		}
	case "talk":
		return talk(args[1:])
	case "unread":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return unread(args[1], n)
	case "patient":
		return patient(ctx, args[1])
	case "checkup":
		if args[1] == "late" { // well only once it was cured
			_, err := os.Stat("/tmp/cured")
			return err
		}
		return checkup(args[1])
	case "sick":
		os.Remove("/tmp/cured")
		return os.WriteFile("/tmp/sick", nil, 0o600)
	case "cured":
		os.Remove("/tmp/sick")
		return os.WriteFile("/tmp/cured", nil, 0o600)
	case "nap":
		time.Sleep(30 * time.Millisecond)
	case "storm": // spawns many at a time
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		var n int
		fmt.Sscan(args[2], &n)
		var well atomic.Int32
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				exit, err := c.Spawn(ctx, args[1], sdk.SpawnOptions{Principal: fmt.Sprint("p", i)})
				if err == nil && exit.Code == 0 {
					well.Add(1)
				} else {
					fmt.Println(exit, err)
				}
			})
		}
		all.Wait()
		fmt.Printf("%d of %d ended well\n", well.Load(), n)
	case "fill": // more than fits in /data
		for n := 0; ; n++ {
			if err := os.WriteFile(fmt.Sprintf("/data/%d", n), make([]byte, 64<<10), 0o600); err != nil {
				return err
			}
		}
	case "flood":
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	case "mount", "unmount": // DIR INTO PRINCIPAL CLIENT, and prints where it is
		return share(ctx, args[0], args[1:])
	case "race":
		return race(ctx, args[1])
	case "flood-lines":
		for {
			if _, err := fmt.Println(strings.Repeat("loud ", 200)); err != nil {
				return err
			}
		}
	case "look": // what /data holds, and whether it can be written
		names, err := filepath.Glob("/data/*")
		fmt.Println(names, err, os.WriteFile("/data/seen", []byte("x"), 0o600))
	case "serve-echo":
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		return c.Serve(ctx, map[string]sdk.Handler{
			"echo": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
		})
	case "attack":
		met, err := attacks[args[1]]()
		if err != nil {
			return err
		}
		fmt.Println(met)
	case "cut-bodies", "pass-bodies":
		said, err := "", error(nil)
		if args[0] == "cut-bodies" {
			said, err = cutBodies(args[1])
		} else {
			said, err = passBodies(ctx)
		}
		if err != nil {
			return err
		}
		fmt.Println(said)
	case "polite":
		var calls int
		fmt.Sscan(args[1], &calls)
		right, err := polite(calls)
		if err != nil {
			return err
		}
		fmt.Println(right)
	case "teller":
		return teller(ctx)
	case "sends":
		n, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return sends(ctx, args[1], args[2], n)
	case "receives":
		return receives(ctx, args[1], args[2])
	case "queues", "connects":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		if args[0] == "queues" {
			return queues(ctx, args[1], n)
		}
		return connects(ctx, args[1], n)
	case "greed":
		lasts, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return greed(args[1], lasts)
	case "modest":
		var n int
		fmt.Sscan(args[2], &n)
		return modest(args[1], n)
	case "line":
		in, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		fmt.Printf("%s from %s: %s", os.Getenv("COFFERDAM_METHOD"), os.Getenv("COFFERDAM_CALLER"), bytes.ToUpper(in))
	default:
		return hostile(ctx, args)
	}
	return nil
}

// serve answers who (who calls), pid, die (ends at once), and once (dies the
// first time it is asked, by the mark it leaves in /data).
func serve(ctx context.Context) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"who": func(_ context.Context, caller sdk.Caller, _ []byte) ([]byte, error) {
			return []byte(caller.Service), nil
		},
		"die": func(context.Context, sdk.Caller, []byte) ([]byte, error) {
			os.Exit(9)
			return nil, nil
		},
		"once": func(_ context.Context, caller sdk.Caller, _ []byte) ([]byte, error) {
			if _, err := os.Stat("/data/mark"); errors.Is(err, os.ErrNotExist) {
				os.WriteFile("/data/mark", []byte(fmt.Sprint(caller.Call)), 0o600)
				os.Exit(9)
			}
			before, err := os.ReadFile("/data/mark")
			return fmt.Appendf(nil, "call %s, again as %d", before, caller.Call), err
		},
	})
}

// app is an application under test.
type app struct {
	t     *testing.T
	sup   *supervisor.Supervisor
	dirs  supervisor.Dirs
	ended chan error
	parts []io.Closer // the executor and the log

	mu    sync.Mutex
	lines []supervisor.Line
}

// start brings up the services, a manifest without its head; {program} is this
// binary in its role inside.
func start(t *testing.T, services string) *app {
	t.Helper()
	return prepare(t, services).run()
}

// begin begins to bring it up.
func (a *app) begin() (ready chan struct{}) {
	t := a.t
	t.Helper()
	ready = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	a.ended = make(chan error, 1)
	go func() { a.ended <- a.sup.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-a.ended:
		case <-time.After(20 * time.Second):
			t.Error("the application does not stop")
		}
	})
	return ready
}

// run brings it up.
func (a *app) run() *app {
	t := a.t
	t.Helper()
	ready := a.begin()
	select {
	case <-ready:
	case err := <-a.ended:
		a.ended <- err
		t.Fatalf("not ready: %v\n%s", err, a.output())
	case <-time.After(20 * time.Second):
		t.Fatalf("not ready in time\n%s", a.output())
	}
	return a
}

func prepare(t *testing.T, services string) *app {
	t.Helper()
	a, err := try(t, services)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// try is prepare for what may be refused.
func try(t *testing.T, services string) (*app, error) {
	t.Helper()
	return tryIn(t, shortDir(t), services)
}

// shortDir is a directory with a short path, because the paths of sockets are.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// helperEnv names another build of this binary, that plays the spawner and the programs in its place:
// for a run under the race detector, whose code is none for a child that is just cloned, and not
// static.
const helperEnv = "COFFERDAM_TEST_HELPER"

// playing is what plays them.
func playing() (string, error) {
	if helper := os.Getenv(helperEnv); helper != "" {
		return helper, nil
	}
	return os.Executable()
}

// textOf is the manifest with those services.
func textOf(services string) (string, error) {
	self, err := playing()
	return "version: 1\nname: sup\nallow_degraded: [cgroup, disk-quota]\nservices:\n" +
		strings.ReplaceAll(services, "{program}", "runtime: host, files: [{from: "+self+", to: /app/p}], command: [/app/p, program, "), err
}

// tryIn is try for an application that keeps its state in dir.
func tryIn(t *testing.T, dir, services string) (*app, error) {
	t.Helper()
	self, err := playing()
	if err != nil {
		t.Fatal(err)
	}
	text, err := textOf(services)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, dirs: supervisor.Dirs{State: filepath.Join(dir, "s"), Runtime: filepath.Join(dir, "r")}}
	m, err := manifest.Parse("test.yaml", []byte(text), dir, manifest.HostPath)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	volumes := filepath.Join(dir, "v")
	if err := os.MkdirAll(volumes, 0o700); err != nil {
		t.Fatal(err)
	}
	x, err := namespace.New(namespace.Options{Executable: []string{self, "spawner"}, App: "sup", RuntimeDir: filepath.Join(dir, "x"), Volumes: volumes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	a.parts = append(a.parts, x)
	if err := os.MkdirAll(a.dirs.State, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(a.dirs.State, "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	a.parts = append(a.parts, log)
	budget, err := supervisor.BudgetOf(m, supervisor.Budget{MemoryBytes: 64 << 30, Pids: 32768})
	if err != nil {
		t.Fatal(err)
	}
	a.sup, err = supervisor.New(supervisor.Options{
		Budget: budget,
		App:    m, Executor: x, Log: log, Dirs: a.dirs,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Output: func(l supervisor.Line) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.lines = append(a.lines, l)
		},
	})
	return a, err
}

// stop ends it before the test does, so that another one can have its place.
func (a *app) stop() {
	a.t.Helper()
	if a.ended != nil {
		a.sup.Stop()
		err := <-a.ended
		a.ended <- err
	}
	for _, part := range a.parts {
		if err := part.Close(); err != nil {
			a.t.Error(err)
		}
	}
}

// audit is the log of decisions.
func (a *app) audit() string {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dirs.State, "audit.jsonl"))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

func (a *app) output() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for _, l := range a.lines {
		fmt.Fprintf(&b, "%s %s: %s\n", l.Instance, l.Stream, l.Text)
	}
	return b.String()
}

// exec runs the program inside an instance, or a service that has one only, and
// returns what it prints.
func (a *app) exec(service string, args ...string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	_, err := a.sup.Exec(ctx, service, executor.Command{
		Args: append([]string{"/app/p", "program"}, args...), Stdout: &out, Stderr: &out,
	})
	if err != nil {
		a.t.Fatalf("exec %v in %s: %v", args, service, err)
	}
	return strings.TrimSpace(out.String())
}

func (a *app) status(service string) supervisor.Status {
	a.t.Helper()
	for _, s := range a.sup.Status() {
		if s.Service == service {
			return s
		}
	}
	a.t.Fatalf("no service %q in the status", service)
	return supervisor.Status{}
}

// await polls until the service is in a state.
func (a *app) await(service string, state supervisor.State) supervisor.Status {
	a.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s := a.status(service)
		if s.State == state {
			return s
		}
		if time.Now().After(end) {
			a.t.Fatalf("%s is %s (%s), want %s\n%s", service, s.State, s.Detail, state, a.output())
		}
	}
}

const pair = `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.who}, {call: server.die}, {call: server.once}]}
  server: {{program}serve], volumes: [{name: v, to: /data, size: 1M}],
    restart: {intensity: 100},
    provides: [{call: who}, {call: die}, {call: once, idempotent: true}]}
`

func TestCallAcrossReplacement(t *testing.T) {
	a := start(t, pair)
	if got := a.exec("client", "ask", "server.who", ""); got != "answer: client" {
		t.Errorf("who: %q", got)
	}
	// What died at it is not repeated, and the next caller finds a new one.
	if got := a.exec("client", "ask", "server.die", ""); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "interrupted") {
		t.Errorf("a call whose instance died: %q, want interrupted", got)
	}
	if got := a.exec("client", "ask", "server.who", ""); got != "answer: client" {
		t.Errorf("the call after it: %q", got)
	}
	if s := a.status("server"); s.Restarts != 1 || s.LastExit == nil || s.LastExit.Code != 9 {
		t.Errorf("status of the server: %+v", s)
	}
	// What is idempotent is asked again, under the same number.
	got := a.exec("client", "ask", "server.once", "")
	var first, second uint64
	if n, _ := fmt.Sscanf(got, "answer: call %d, again as %d", &first, &second); n != 2 || first != second {
		t.Errorf("an idempotent call whose instance died: %q", got)
	}
}

func TestDeniedLooksLikeAbsent(t *testing.T) {
	a := start(t, pair)
	forbidden := a.exec("server", "ask", "client.who", "")
	absent := a.exec("server", "ask", "nobody.who", "")
	if strings.ReplaceAll(forbidden, "client", "nobody") != absent || !strings.Contains(absent, "denied") {
		t.Errorf("forbidden: %q, absent: %q", forbidden, absent)
	}
}

func TestBroken(t *testing.T) {
	a := start(t, `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.die}]}
  server: {{program}serve], restart: {intensity: 2, period: 1m, backoff: 1ms, backoff_max: 2ms},
    provides: [{call: who, from: []}, {call: die}, {call: once, from: []}]}
`)
	for range 3 {
		a.await("server", supervisor.Ready)
		a.exec("client", "ask", "server.die", "")
	}
	s := a.await("server", supervisor.Broken)
	if !strings.Contains(s.Detail, "ended 3 times") {
		t.Errorf("detail %q", s.Detail)
	}
	began := time.Now()
	if got := a.exec("client", "ask", "server.die", ""); !strings.Contains(got, "broken") {
		t.Errorf("a call to a broken service: %q", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to be told", took)
	}
}

func TestRestartPolicies(t *testing.T) {
	a := start(t, `
  done: {{program}exit, "0"], restart: on-failure}
  failed: {{program}exit, "3"], restart: "no"}
`)
	a.await("done", supervisor.Exited)
	if s := a.await("failed", supervisor.Exited); s.LastExit.Code != 3 || s.Restarts != 0 {
		t.Errorf("status of the failed: %+v", s)
	}
}

func TestStartFails(t *testing.T) {
	a := prepare(t, `
  server: {{program}exit, "1"], restart: {intensity: 1, backoff: 1ms, backoff_max: 1ms}, provides: [{call: who}]}
  later: {{program}deaf], depends_on: [server]}
`)
	err := a.sup.Run(context.Background(), func() { t.Error("it says that it is ready") })
	if err == nil || !strings.Contains(err.Error(), "services.server: ended 2 times") || !strings.Contains(err.Error(), "depends on them: later") {
		t.Errorf("Run = %v, want an error that names the service", err)
	}
	if s := a.status("later"); s.Instance != "" {
		t.Errorf("a service whose dependency failed was started: %+v", s)
	}
}

func TestGracefulStop(t *testing.T) {
	a := start(t, "\n  deaf: {{program}deaf], stop_grace_period: 200ms}\n")
	for end := time.Now().Add(5 * time.Second); !strings.Contains(a.output(), "deaf and ready"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never began")
		}
	}
	began := time.Now()
	a.sup.Stop()
	err := <-a.ended
	a.ended <- err
	if took := time.Since(began); err != nil || took < 200*time.Millisecond || took > 10*time.Second {
		t.Errorf("stopped after %v with %v, want the grace period and no error", took, err)
	}
	if !strings.Contains(a.output(), "heard it") {
		t.Errorf("it was not asked first:\n%s", a.output())
	}
	left, err := filepath.Glob(filepath.Join(a.dirs.Runtime, "wire", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("sockets left: %v, %v", left, err)
	}
}

func TestSpawnPerPrincipal(t *testing.T) {
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}]}
  count: {{program}count], template: true, instances: per-principal,
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
`)
	for i, tt := range []struct{ principal, want string }{
		{"alice", "1 for alice, bound to alice\nexit 0 <nil>"},
		{"alice", "2 for alice, bound to alice\nexit 0 <nil>"},
		{"../alice", "1 for ../alice, bound to ../alice\nexit 0 <nil>"},
		{"bob", "1 for bob, bound to bob\nexit 0 <nil>"},
	} {
		if got := a.exec("host", "spawn", "count", tt.principal); got != tt.want {
			t.Errorf("run %d: %q, want %q", i, got, tt.want)
		}
	}
	// The template itself may not be spawned by others, nor by its own.
	if got := a.exec("host", "spawn", "host", "x"); !strings.Contains(got, "denied") {
		t.Errorf("spawning what is not granted: %q", got)
	}
}

// What a spawned program prints is kept for its spawner, and not without end.
func TestSpawnedOutputIsBounded(t *testing.T) {
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: flood}]}
  flood: {{program}flood], template: true, limits: {output: unlimited, wall: 10s}}
`)
	got := a.exec("host", "spawn", "flood", "x")
	if end := got[max(0, len(got)-64):]; !strings.HasSuffix(end, "output 137 <nil>") {
		t.Errorf("%d bytes that end in %q, want the limit of output", len(got), end)
	}
}

func TestProgramPerCall(t *testing.T) {
	a := start(t, `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: upper.shout}]}
  upper: {{program}line], stdio: lines, provides: [{call: shout}]}
`)
	if got, want := a.exec("client", "ask", "upper.shout", "hello"), "answer: shout from client: HELLO"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKilledInstanceIsReplaced(t *testing.T) {
	a := start(t, pair)
	before := a.status("server")
	if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := a.exec("client", "ask", "server.who", ""); got != "answer: client" {
		t.Errorf("a call while the server is replaced: %q", got)
	}
	if after := a.status("server"); after.Instance == before.Instance {
		t.Errorf("the instance is still %s", after.Instance)
	}
}

// A socket of another instance is not reachable by name, whatever one knows.
func TestForeignSocket(t *testing.T) {
	a := start(t, pair)
	sockets, err := filepath.Glob(filepath.Join(a.dirs.Runtime, "wire", "*"))
	if err != nil || len(sockets) < 2 {
		t.Fatalf("sockets: %v, %v", sockets, err)
	}
	// Even for a process of the host that can open the path: it is not inside.
	for _, path := range sockets {
		c, err := net.Dial("unix", path)
		if err != nil {
			continue
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: read %d, %v; want it closed", path, n, err)
		}
		c.Close()
	}
}
