package supervisor_test

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"cofferdam/supervisor"

	"golang.org/x/sys/unix"
)

// age is how long the process of a program has been there, which is longer than the program
// if its environment was prepared: proc_pid_stat(5), field 22, in ticks of 10 ms.
func age() (time.Duration, error) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	ticks, err := strconv.Atoi(f[19])
	if err != nil {
		return 0, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, err
	}
	return time.Duration(now.Nano()) - time.Duration(ticks)*10*time.Millisecond, nil
}

// Templates and programs per call whose environments wait are what they are without: each
// program is its own caller's, with that one's volumes and nobody's else.
func TestPrepared(t *testing.T) {
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}, {spawn: age}, {call: upper.shout}]}
  count: {{program}count], template: true, instances: per-principal, warm: 2,
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
  age: {{program}age], template: true, warm: 1, limits: {wall: 10s}}
  upper: {{program}line], stdio: lines, warm: 1, provides: [{call: shout}]}
`)
	waited := time.Duration(0)
	for deadline := time.Now().Add(time.Minute); waited < 300*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatal("no environment has waited")
		}
		time.Sleep(400 * time.Millisecond)
		text, _, _ := strings.Cut(a.exec("host", "spawn", "age", "x"), "\n")
		var err error
		if waited, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for service, want := range map[string]string{"count": "2 environments wait", "age": "1 environment waits", "upper": "1 environment waits"} {
		if got := toldOf(a, service); got != want+" for a program" {
			t.Errorf("of %s is told %q", service, got)
		}
	}
	if waiting := a.sup.Queued(); len(waiting) > 0 { // who wants a turn, and not what waits for them
		t.Errorf("%+v wait for a turn", waiting)
	}
	for i, tt := range []struct{ principal, want string }{
		{"alice", "1 for alice, bound to alice\nexit 0 <nil>"},
		{"alice", "2 for alice, bound to alice\nexit 0 <nil>"},
		{"../alice", "1 for ../alice, bound to ../alice\nexit 0 <nil>"},
		{"bob", "1 for bob, bound to bob\nexit 0 <nil>"},
		{"alice", "3 for alice, bound to alice\nexit 0 <nil>"},
	} {
		if got := a.exec("host", "spawn", "count", tt.principal); got != tt.want {
			t.Errorf("run %d: %q, want %q", i, got, tt.want)
		}
		text := fmt.Sprint("hello ", i)
		if got, want := a.exec("host", "ask", "upper.shout", text), "answer: shout from host: "+strings.ToUpper(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// toldOf is what the operator is told of what waits of a service.
func toldOf(a *app, service string) string {
	for _, st := range a.sup.Status() {
		if st.Service == service && st.State == supervisor.Prepared {
			return st.Detail
		}
	}
	return ""
}

// said has whoever waits know of each line of a log.
type said chan string

func (s said) Write(b []byte) (int, error) {
	select {
	case s <- string(b):
	default:
	}
	return len(b), nil
}

// The interpreter that a service is forked from is started with the application, and not by
// the first who wants a fork: what is wrong with it is said then.
func TestForkAhead(t *testing.T) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	a := prepare(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: word}]}
  word: {runtime: host, command: [/usr/bin/python3, -I], template: true, warm: {by: fork, modules: [nosuchmodule]}}
`)
	lines := make(said, 100)
	a.sup.Logger = slog.New(slog.NewTextHandler(lines, nil))
	a.run()
	for wait := time.After(20 * time.Second); ; {
		select {
		case line := <-lines:
			if !strings.Contains(line, "service=word") || !strings.Contains(line, "nosuchmodule") {
				continue
			}
			for end := time.Now().Add(20 * time.Second); !strings.Contains(toldOf(a, "word"), "nosuchmodule"); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the operator is told %q", toldOf(a, "word"))
				}
			}
			return
		case <-wait:
			t.Fatal("nothing is said of a module that is not there")
		}
	}
}
