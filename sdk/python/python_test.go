// Package python holds cofferdam.py, the SDK for Python, and its tests.
package python

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// TestPython runs the tests in Python, the monitor in them played by a relay
// between the clients in Python and a service "go" written with the Go SDK.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3: none on this machine")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{t: t, service: serveGo(t, ctx)}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { m.python(nc) })
		}
	})
	cmd := exec.CommandContext(ctx, python, "-B", "-W", "error", "-m", "unittest", "-v", "test_cofferdam")
	cmd.Env = append(os.Environ(), "COFFERDAM_TEST_PEER="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "COFFERDAM_TEST_PEER is not set") {
		t.Errorf("python3 -m unittest: %v\n%s", err, out)
	}
	l.Close()
	conns.Wait()
	if m.served != 1 {
		t.Errorf("%d servers in Python were tried, want 1", m.served)
	}
}

func socketpair(t *testing.T) (ours, theirs *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, end := range []**net.UnixConn{&ours, &theirs} {
		f := os.NewFile(uintptr(fds[i]), "socketpair")
		nc, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		*end = nc.(*net.UnixConn)
	}
	return ours, theirs
}

// serveGo runs the service "go" and returns the monitor's end of its connection.
func serveGo(t *testing.T, ctx context.Context) *end {
	ours, theirs := socketpair(t)
	service := &end{nc: theirs, r: wire.NewReader(theirs)}
	go func() {
		c, err := sdk.NewClient(ctx, ours)
		if err != nil {
			t.Errorf("NewClient() = %v", err)
			return
		}
		c.Serve(ctx, map[string]sdk.Handler{
			"echo": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
			"fail": func(context.Context, sdk.Caller, []byte) ([]byte, error) { return nil, errors.New("no such user") },
			"hang": func(ctx context.Context, _ sdk.Caller, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() },
			"add": sdk.JSON(func(_ context.Context, _ sdk.Caller, r struct{ A, B int }) (int, error) {
				return r.A + r.B, nil
			}),
		})
	}()
	id := wire.Identity{Service: "go"}
	service.answer(t, wire.OpHello, id.Append(nil))
	service.answer(t, wire.OpServe, nil)
	return service
}

// end is the monitor's end of a connection.
type end struct {
	nc net.Conn
	r  *wire.Reader
}

func (e *end) send(f *wire.Frame) error {
	_, err := e.nc.Write(wire.AppendFrame(nil, f))
	return err
}

func (e *end) answer(t *testing.T, op wire.Op, body []byte) {
	f, err := e.r.Next()
	if err != nil || f.Op != op {
		t.Fatalf("got %v, %v, want %v", f.Op, err, op)
	}
	if err := e.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: body}); err != nil {
		t.Fatal(err)
	}
}

// ask sends a call to a server and returns its reply.
func (e *end) ask(id uint64, method string, body []byte) (wire.Frame, error) {
	caller := wire.Identity{Service: "test", Principal: "älice"}
	err := e.send(&wire.Frame{
		Header:      wire.Header{Op: wire.OpCall, ID: id, Call: id, Timeout: 10 * time.Second},
		NameBytes:   []byte(method),
		CallerBytes: caller.Append(nil),
		Body:        body,
	})
	if err != nil {
		return wire.Frame{}, err
	}
	return e.r.Next()
}

// monitor relays one call after the other.
type monitor struct {
	t *testing.T

	mu      sync.Mutex
	service *end
	served  int
	calls   uint64
}

// python answers one client in Python.
func (m *monitor) python(nc net.Conn) {
	defer nc.Close()
	e := &end{nc: nc, r: wire.NewReader(nc)}
	for {
		f, err := e.r.Next()
		if err != nil {
			return
		}
		r := wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}}
		switch f.Op {
		case wire.OpHello:
			id := wire.Identity{Service: "test", Principal: "älice"}
			r.Body = id.Append(nil)
		case wire.OpCall:
			r.Code, r.Body = m.forward(&f)
		case wire.OpSpawn:
			r.Body = describe(m.t, f.Body)
		case wire.OpMount, wire.OpUnmount:
			mount, err := wire.ParseMount(f.Body)
			if err != nil {
				m.t.Errorf("mount from Python: %v", err)
			}
			r.Body = fmt.Appendf(nil, "/shares/%s/%s/%s", mount.Dir, mount.Into, mount.Client)
		case wire.OpServe:
			e.send(&r)
			m.tryServer(e)
			return
		case wire.OpCancel:
			continue
		}
		if f.Op == wire.OpCall && string(f.NameBytes) == "go.hang" {
			continue // the deadline is the client's to notice
		}
		if err := e.send(&r); err != nil {
			m.t.Errorf("reply to Python: %v", err)
			return
		}
	}
}

func (m *monitor) forward(f *wire.Frame) (wire.Code, []byte) {
	method, ok := strings.CutPrefix(string(f.NameBytes), "go.")
	switch {
	case !ok || method == "other":
		return wire.Denied, nil
	case method == "hang":
		return wire.Deadline, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	r, err := m.service.ask(m.calls, method, f.Body)
	if err != nil {
		m.t.Errorf("call of %s: %v", method, err)
		return wire.Interrupted, nil
	}
	return r.Code, append([]byte(nil), r.Body...)
}

// describe plays a program that prints what it was spawned with.
func describe(t *testing.T, body []byte) []byte {
	s, err := wire.ParseSpawn(body)
	if err != nil {
		t.Errorf("spawn from Python: %v", err)
	}
	args, _ := json.Marshal(s.Args)
	files, _ := json.Marshal(s.Files)
	exit := wire.Exit{
		Stdout: fmt.Appendf(nil, "%s %s %s %v %s", args, files, s.Stdin, s.Wall, s.Principal),
		Cause:  "exit",
		Code:   3,
		Memory: 1 << 20,
	}
	return exit.Append(nil)
}

// tryServer calls a server in Python, which calls back while it is at it.
func (m *monitor) tryServer(e *end) {
	for _, tt := range []struct {
		method, body, want string
		code               wire.Code
		nested             string // the reply that its own call gets
		nestedCode         wire.Code
	}{
		{"twice", "ab", "cdcd", wire.OK, "cd", wire.OK},
		{"who", "", "älice", wire.OK, "", wire.OK},
		{"fail", "", "call go.fail: failed: no such user", wire.Failed, "no such user", wire.Failed},
	} {
		f, err := e.ask(7, tt.method, []byte(tt.body))
		if err == nil && f.Op == wire.OpCall {
			e.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: tt.nestedCode, ID: f.ID}, Body: []byte(tt.nested)})
			f, err = e.r.Next()
		}
		if err != nil || f.Op != wire.OpReply || f.ID != 7 || f.Code != tt.code || string(f.Body) != tt.want {
			m.t.Errorf("%s(%q) in Python = %v %v %q, %v, want %v %q", tt.method, tt.body, f.Op, f.Code, f.Body, err, tt.code, tt.want)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.served++
}
