package supervisor_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/executor/namespace"
	"cofferdam/sdk"
	"cofferdam/supervisor"
	"cofferdam/wire"
)

// ailing is a service that does what its caller wishes it, but for the first argument of
// its command, how many workers it has: clients, each with a connection.
func ailing(ctx context.Context, workers int) error {
	var stuck sync.Mutex
	stuck.Lock()
	var ill sync.Once
	handlers := map[string]sdk.Handler{
		"pid": func(context.Context, sdk.Caller, []byte) ([]byte, error) { return fmt.Append(nil, os.Getpid()), nil },
		"do": func(_ context.Context, _ sdk.Caller, what []byte) ([]byte, error) {
			switch how := string(what); how {
			case "stop":
				syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				select {} // which takes other threads a moment to hear
			case "deadlock":
				stuck.Lock()
			case "spin":
				for { //nolint:staticcheck // this is what it is for
				}
			case "leak":
				leak()
			case "slow":
				time.Sleep(700 * time.Millisecond)
			case "late":
				time.Sleep(1500 * time.Millisecond)
			}
			return []byte("done"), nil
		},
		"large": func(context.Context, sdk.Caller, []byte) ([]byte, error) { return make([]byte, 1<<20), nil },
	}
	worker := func() error {
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		own := handlers
		if workers > 1 {
			dead := false
			own = map[string]sdk.Handler{"pid": handlers["pid"], "large": handlers["large"], "do": func(context.Context, sdk.Caller, []byte) ([]byte, error) {
				ill.Do(func() { dead = true })
				if dead {
					stuck.Lock()
				}
				return []byte("done"), nil
			}}
		}
		return c.Serve(ctx, own)
	}
	for range workers - 1 {
		go worker()
	}
	return worker()
}

func leak() {
	for all := [][]byte{}; ; {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		runtime.KeepAlive(all)
	}
}

// The same in Python, where a worker is a process.
const ailingPython = `
import os, signal, sys, threading, time
import cofferdam as cd

def do(caller, body):
    how = body.decode()
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif how == "spin":
        while True:
            pass
    elif how == "leak":
        kept = []
        while True:
            kept.append(bytearray(b"x" * (1 << 20)))
    elif how == "slow":
        time.sleep(0.7)
    elif dead and how == "work":
        time.sleep(3600)
    return b"done"

workers = int(sys.argv[1])
dead = workers > 1
for n in range(workers - 1):
    if os.fork() == 0:
        dead = False
        break
cd.connect().serve({"do": do, "pid": lambda caller, body: str(os.getpid()).encode(), "large": lambda caller, body: bytes(1 << 20)})
`

const (
	ailingDeadline = time.Second
	tooLate        = "error: call ailing.do: deadline: context deadline exceeded"
)

// startAiling starts it, and who calls it.
func startAiling(t *testing.T, language string, workers int) *app {
	t.Helper()
	command := fmt.Sprintf("{{program}ailing, '%d']", workers)
	if language == "Python" {
		const python = "/usr/bin/python3"
		if _, err := os.Stat(python); err != nil {
			t.Skip("needs python3: ", err)
		}
		dir := t.TempDir()
		for name, text := range map[string]string{"ailing.py": ailingPython, "cofferdam.py": ""} {
			if text == "" {
				b, err := os.ReadFile("../sdk/python/cofferdam.py")
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		command = fmt.Sprintf("{runtime: host, files: [{from: %s, to: /app}], command: [%s, /app/ailing.py, '%d']", dir, python, workers)
	}
	return start(t, `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: ailing.do}, {call: ailing.pid}, {call: ailing.large}]}
  ailing: `+command+`, limits: {memory: 96M}, restart: {intensity: 100, backoff: 1ms, backoff_max: 1ms}, stop_grace_period: 100ms,
    provides: [{call: do, deadline: 1s}, {call: pid, deadline: 1s}, {call: large, deadline: 1s}]}
`)
}

// detection is how long after the last call it was found that the instance does not respond.
func (a *app) detection() (after time.Duration, why string) {
	a.t.Helper()
	var called, found time.Time
	err := audit.Scan(a.dirs.State, func(r audit.Record) error {
		switch {
		case r.Kind == audit.KindDecision && r.Op == "call" && r.Object == "ailing.do" && found.IsZero():
			called = r.Time
		case r.Kind == audit.KindHealth && r.Subject == "ailing" && found.IsZero():
			found, why = r.Time, r.Detail
		}
		return nil
	})
	if err != nil || found.IsZero() {
		a.t.Error(err)
		return 0, ""
	}
	return found.Sub(called), why
}

// Programs that do not respond any more are found, killed and replaced, whatever it is
// that ails them, and the next call is answered.
func TestUnresponsivePrograms(t *testing.T) {
	for _, language := range []string{"Go", "Python"} {
		for _, tt := range []struct{ how, answer, cause string }{
			{"stop", tooLate, "policy"},
			{"deadlock", tooLate, "policy"},
			{"spin", tooLate, "policy"},
			{"leak", "error: call ailing.do: interrupted", "oom"},
		} {
			t.Run(language+"/"+tt.how, func(t *testing.T) {
				a := startAiling(t, language, 1)
				for _, p := range a.parts[0].(*namespace.Executor).Protections() {
					if tt.how == "leak" && p.Name == "cgroup.memory" && p.Status != executor.Pass {
						t.Skipf("needs cgroup: %s", p.Detail)
					}
				}
				if got := a.exec("client", "ask", "ailing.do", tt.how); got != tt.answer {
					t.Errorf("who asks it to %s gets %q, want %q", tt.how, got, tt.answer)
				}
				// Who asks while it is being killed is told that it may have been done.
				got := ""
				for end := time.Now().Add(time.Minute); got == "" || got == "error: call ailing.do: interrupted" && time.Now().Before(end); {
					got = a.exec("client", "ask", "ailing.do", "well")
				}
				if got != "answer: done" {
					t.Errorf("the next one gets %q", got)
				}
				st := a.await("ailing", supervisor.Ready)
				if st.Instance != "ailing-2" || st.LastExit == nil || string(st.LastExit.Cause) != tt.cause {
					t.Errorf("then there is %s, and the last exit %+v", st.Instance, st.LastExit)
				}
				if tt.cause == "policy" {
					a.stop()
					after, why := a.detection()
					t.Logf("found %v after its deadline: %s", after-ailingDeadline, why)
					if !strings.Contains(why, "unresponsive: call 1 of ailing.do, from client-1, was not answered within 1s") || after < ailingDeadline-ailingDeadline/100 {
						t.Errorf("found after %v: %s", after, why)
					}
				}
			})
		}
	}
}

// Who is slow, and whose caller does not read, is left alone.
func TestSlowIsNotUnresponsive(t *testing.T) {
	for _, language := range []string{"Go", "Python"} {
		t.Run(language, func(t *testing.T) {
			a := startAiling(t, language, 1)
			for range 3 {
				if got := a.exec("client", "ask", "ailing.do", "slow"); got != "answer: done" {
					t.Errorf("slow: %q", got)
				}
			}
			if language == "Go" { // which answers others meanwhile
				late := make(chan string, 1)
				go func() { late <- a.exec("client", "ask", "ailing.do", "late") }()
				for done := false; !done; {
					select {
					case got := <-late:
						if done = true; got != tooLate {
							t.Errorf("late: %q", got)
						}
					default:
						if got := a.exec("client", "ask", "ailing.pid", ""); !strings.HasPrefix(got, "answer: ") {
							t.Errorf("meanwhile: %q", got)
						}
					}
				}
			}
			if got := a.exec("client", "unread", "ailing.large", "200"); got != "not one was read" {
				t.Errorf("who does not read: %q", got)
			}
			time.Sleep(2 * ailingDeadline)
			if got := a.exec("client", "ask", "ailing.do", "well"); got != "answer: done" {
				t.Errorf("at last: %q", got)
			}
			if st := a.status("ailing"); st.Restarts != 0 {
				t.Errorf("it was replaced: %+v\n%s", st, a.audit())
			}
		})
	}
}

// One worker of several that does not answer is found, though the others do.
func TestDeadWorker(t *testing.T) {
	for _, language := range []string{"Go", "Python"} {
		t.Run(language, func(t *testing.T) {
			a := startAiling(t, language, 4)
			late := 0
			for end := time.Now().Add(60 * time.Second); a.status("ailing").Restarts == 0; {
				switch got := a.exec("client", "ask", "ailing.do", "work"); got {
				case "answer: done", "error: call ailing.do: interrupted":
				case tooLate:
					late++
				default:
					t.Fatalf("got %q", got)
				}
				if time.Now().After(end) {
					t.Fatalf("not replaced after %d calls that were late", late)
				}
			}
			t.Logf("replaced after %d calls that were late", late)
			if late > 3 {
				t.Errorf("%d calls were late", late)
			}
		})
	}
}

// unread asks for many large answers, and reads none.
func unread(method string, n int) error {
	c, err := net.Dial("unix", os.Getenv("COFFERDAM_SOCKET"))
	if err != nil {
		return err
	}
	for id := range n {
		f := wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: uint64(id + 1)}, NameBytes: []byte(method)}
		if _, err := c.Write(wire.AppendFrame(nil, &f)); err != nil {
			break // we are closed on
		}
	}
	time.Sleep(1500 * time.Millisecond)
	fmt.Println("not one was read")
	return nil
}
