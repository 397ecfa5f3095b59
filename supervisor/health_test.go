package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
	"cofferdam/sdk"
	"cofferdam/supervisor"
)

// patient is a service with an http port and the method well, which are as its first
// argument says, once there is a file /tmp/sick: exec creates it.
func patient(ctx context.Context, how string) error {
	sick := func() bool { _, err := os.Stat("/tmp/sick"); return err == nil }
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		return err
	}
	raw := map[string]func(net.Conn){
		"silent":  func(net.Conn) {},
		"loris":   func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n\r\n") },
		"garbage": func(c net.Conn) { c.Write([]byte(strings.Repeat("HTTP/1.1 ", 1<<20))) },
		"torrent": func(c net.Conn) {
			c.Write([]byte("HTTP/1.1 503 x\r\nX: "))
			for {
				if _, err := c.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		},
		"closes": func(c net.Conn) { c.Close() },
	}
	go http.Serve(sickListener{l, sick, raw[how]}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/well" || r.Header.Get("Cofferdam-Caller") != "monitor" || sick() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"well": func(_ context.Context, caller sdk.Caller, _ []byte) ([]byte, error) {
			switch {
			case caller.Service != "monitor":
				return []byte("for " + caller.Service), nil
			case !sick():
				return nil, nil
			case how == "hangs":
				select {}
			}
			return nil, errors.New("not well")
		},
	})
}

func drip(c net.Conn, text string) {
	for i := range len(text) {
		c.Write([]byte{text[i]})
		time.Sleep(200 * time.Millisecond)
	}
}

// sickListener gives connections to somebody else once the patient is sick.
type sickListener struct {
	net.Listener
	sick func() bool
	raw  func(net.Conn)
}

func (l sickListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.raw == nil || !l.sick() {
			return c, err
		}
		go l.raw(c)
	}
}

// checkup is the program of an exec check.
func checkup(how string) error {
	if _, err := os.Stat("/tmp/sick"); err != nil {
		return nil
	}
	switch how {
	case "hang":
		time.Sleep(time.Hour) // what only waits, with nothing else to do, Go ends
	case "print":
		for {
			os.Stdout.Write(make([]byte, 1<<20))
		}
	case "fork": // leaves one behind that keeps the pipes open, and hangs
		cmd := exec.Command("/app/p", "program", "deaf")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(time.Hour)
	case "eat":
		for all := [][]byte{}; ; {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			runtime.KeepAlive(all)
		}
	}
	fmt.Println("not well\x1b[2J")
	os.Exit(7)
	return nil
}

// The patient's manifest: how it is, its check, and more of the service.
func patientOf(how, check, more string) string {
	return fmt.Sprintf("{{program}patient, %s], http: 8080, provides: [{call: well}], stop_grace_period: 100ms, restart: {backoff: 1ms, backoff_max: 1ms, intensity: 100},\n"+
		"    healthcheck: {%s, interval: 20ms, start_interval: 20ms, timeout: 300ms, retries: 2}%s}\n", how, check, more)
}

func (a *app) awaitHealth(service string, want supervisor.Health) supervisor.Status {
	a.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st := a.status(service)
		if st.State == supervisor.Ready && st.Health == want {
			return st
		}
		if time.Now().After(end) {
			a.t.Fatalf("%s is %+v, want it %s\n%s", service, st, want, a.audit())
		}
	}
}

func (a *app) awaitText(what string, text func() string, want string) {
	a.t.Helper()
	for end := time.Now().Add(15 * time.Second); !strings.Contains(text(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("%s has no %q:\n%s", what, want, text())
		}
	}
}

// Whatever a program does when it is checked, it is found to be unhealthy, in time, and
// why is told in one line.
func TestUnhealthy(t *testing.T) {
	for _, tt := range []struct{ name, how, check, want string }{
		{"exec ends with an error", "fails", "exec: [/app/p, program, checkup, fails]", `/app/p\" ended with 7: \"not well\\x1b[2J\\n\"`},
		{"exec hangs", "fails", "exec: [/app/p, program, checkup, hang]", "it took longer than 300ms"},
		{"exec prints without end", "fails", "exec: [/app/p, program, checkup, print]", "it printed more than 65536 bytes"},
		{"exec leaves somebody behind", "fails", "exec: [/app/p, program, checkup, fork]", "it took longer than 300ms"},
		{"exec is not there", "fails", "exec: [/app/nothing]", "no such file"},
		{"http answers with an error", "fails", "http: /well", "GET /well: status 503"},
		{"http does not answer", "silent", "http: /well", "it took longer than 300ms"},
		{"http answers a byte at a time", "loris", "http: /well", "it took longer than 300ms"},
		{"http answers something else", "garbage", "http: /well", "not the status of an HTTP/1 answer"},
		{"http answers without end", "torrent", "http: /well", "GET /well: status 503"},
		{"http closes", "closes", "http: /well", "GET /well: no answer"},
		{"http redirects nowhere", "fails", "http: /ill", "GET /ill: status 503"},
		{"call fails", "fails", "call: well", `it answered \"failed\"`},
		{"call hangs", "hangs", "call: well", "it took longer than 300ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			a := prepare(t, "  patient: "+patientOf(tt.how, tt.check, ", on_unhealthy: ignore")).run()
			a.exec("patient", "sick")
			st := a.awaitHealth("patient", supervisor.Unhealthy)
			want := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(tt.want)
			if !strings.HasPrefix(st.Detail, "unhealthy: ") || !strings.Contains(st.Detail, want) || st.Restarts != 0 {
				t.Errorf("status %+v, want %q in its detail, and no restart", st, want)
			}
			// Going on like that costs us nothing.
			time.Sleep(500 * time.Millisecond)
			if n := runtime.NumGoroutine(); n > before+40 {
				t.Errorf("%d goroutines before, %d while it is checked", before, n)
			}
			a.awaitText("the audit log", a.audit, tt.want)
			a.awaitText("the log", a.output, "on_unhealthy: ignore")
			if tt.how == "fails" && !strings.Contains(tt.check, "nothing") && !strings.Contains(tt.check, "ill") {
				a.exec("patient", "cured")
				a.awaitHealth("patient", supervisor.Healthy)
			}
		})
	}
}

// An unhealthy instance is replaced, and who calls meanwhile gets an answer.
func TestUnhealthyIsReplaced(t *testing.T) {
	for _, check := range []string{"exec: [/app/p, program, checkup, fails]", "http: /well", "call: well"} {
		a := start(t, "  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: patient.well}]}\n  patient: "+patientOf("fails", check, ""))
		first := a.awaitHealth("patient", supervisor.Healthy)
		a.exec("patient", "sick")
		for end := time.Now().Add(15 * time.Second); a.status("patient").Restarts == 0; {
			if got := a.exec("client", "ask", "patient.well", ""); got != "answer: for client" && got != "error: call patient.well: interrupted" {
				t.Errorf("%s: %s", check, got)
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not replaced\n%s", check, a.audit())
			}
		}
		if got := a.exec("client", "ask", "patient.well", ""); got != "answer: for client" {
			t.Errorf("%s: after it was replaced: %s", check, got)
		}
		second := a.awaitHealth("patient", supervisor.Healthy)
		if second.Instance == first.Instance || second.LastExit == nil || !strings.Contains(second.LastExit.Detail, "unhealthy: 2 checks in a row failed, the last: ") {
			t.Errorf("%s: after %s there is %s, the last exit is %+v", check, first.Instance, second.Instance, second.LastExit)
		}
		a.stop()
		a.awaitText("the audit log", a.audit, `"kind":"health","subject":"patient","instance":"patient-1","op":"check","object":"unhealthy"`)
		a.awaitText("the log", a.output, "patient-1 cofferdam: unhealthy: ")
	}
}

// A check has the memory of its instance, and no other: one that takes all of it is killed, or its instance is.
func TestCheckEatsMemory(t *testing.T) {
	a := start(t, "  patient: "+patientOf("fails", "exec: [/app/p, program, checkup, eat]", ", limits: {memory: 48M}"))
	for _, p := range a.parts[0].(*namespace.Executor).Protections() {
		if p.Name == "cgroup.memory" && p.Status != executor.Pass {
			t.Skipf("needs cgroup: %s", p.Detail)
		}
	}
	a.exec("patient", "sick")
	// Whom the kernel takes of those inside is its choice.
	a.awaitText("the audit log", func() string { return strings.ReplaceAll(a.audit(), `"object":"oom"`, "ended with 137") }, "ended with 137")
	st := a.awaitHealth("patient", supervisor.Healthy)
	if st.LastExit == nil || st.LastExit.Usage.MemoryBytes > 64<<20 {
		t.Errorf("status %+v, want that the last one used what its limit lets it", st)
	}
}

// Who depends on a service waits until it is healthy, and does not start if it does
// not become so.
func TestDependsOnHealth(t *testing.T) {
	a := prepare(t, `
  patient: `+patientOf("fails", "start_period: 1m, exec: [/app/p, program, checkup, late]", "")+`
  after: {{program}deaf], stop_grace_period: 100ms, depends_on: [patient]}
`)
	a.begin()
	st := a.awaitHealth("patient", supervisor.Untried)
	if after := a.status("after"); after.State != supervisor.Waiting {
		t.Errorf("patient is %+v, and who waits for it %+v", st, after)
	}
	a.exec("patient", "cured")
	a.await("after", supervisor.Ready)
}

func TestStopsIfUnhealthy(t *testing.T) {
	a := start(t, `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: patient.well}]}
  patient: `+patientOf("fails", "call: well", ", on_unhealthy: stop"))
	a.exec("patient", "sick")
	st := a.await("patient", supervisor.Exited)
	if !strings.Contains(st.Detail, "unhealthy: 2 checks in a row failed") || st.Restarts != 0 {
		t.Errorf("status %+v", st)
	}
	if got := a.exec("client", "ask", "patient.well", ""); got != "error: call patient.well: unavailable" {
		t.Errorf("who calls it gets %q", got)
	}
}

// An instance of somebody's own is checked too, which does not keep it from ending
// when nobody uses it.
func TestHealthInPools(t *testing.T) {
	services := func(more string) string {
		return `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: client}]}
  client: {{program}ask, patient.well], template: true, instances: per-principal, uses: [{call: patient.well}]}
  patient: ` + patientOf("fails", "exec: [/app/p, program, checkup, fails]", ", instances: per-principal, "+more)
	}
	t.Run("idle", func(t *testing.T) {
		a := start(t, services("idle: 300ms"))
		if got := a.exec("host", "spawn", "client", "alice", ""); !strings.HasPrefix(got, "answer: for client") {
			t.Fatal(got)
		}
		a.awaitText("the audit log", a.audit, `"object":"healthy"`)
		a.awaitText("the audit log", a.audit, `"kind":"exit","subject":"patient"`)
	})
	t.Run("replaced", func(t *testing.T) {
		a := start(t, services("idle: 1m"))
		a.exec("host", "spawn", "client", "alice", "")
		a.exec("host", "spawn", "client", "bob", "")
		name := func(principal string) string {
			for _, st := range a.sup.Status() {
				if st.Service == "patient" && st.Principal == principal {
					return st.Instance
				}
			}
			return ""
		}
		alices, bobs := name("alice"), name("bob")
		a.exec(alices, "sick")
		a.awaitText("the audit log", a.audit, `"kind":"exit","subject":"patient","instance":"`+alices)
		if got := a.exec("host", "spawn", "client", "alice", ""); !strings.HasPrefix(got, "answer: for client") || name("alice") == alices {
			t.Errorf("alice gets %q of %s", got, name("alice"))
		}
		if name("bob") != bobs {
			t.Error("bob's was replaced, too")
		}
	})
	t.Run("stopped", func(t *testing.T) {
		a := start(t, services("on_unhealthy: stop"))
		a.exec("host", "spawn", "client", "alice", "")
		a.exec("patient", "sick")
		st := a.await("patient", supervisor.Broken)
		if st.Principal != "alice" || !strings.Contains(st.Detail, "unhealthy") {
			t.Errorf("status %+v", st)
		}
		if got := a.exec("host", "spawn", "client", "alice", ""); !strings.HasPrefix(got, "error: call patient.well: broken") {
			t.Errorf("alice gets %q", got)
		}
		if got := a.exec("host", "spawn", "client", "bob", ""); !strings.HasPrefix(got, "answer: for client") {
			t.Errorf("bob gets %q", got)
		}
	})
}
