package admin

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/supervisor"
)

// serve starts a server for owner, without an application behind it.
func serve(t testing.TB, owner int) (path string) {
	t.Helper()
	return serveWith(t, &Server{Owner: owner})
}

func serveWith(t testing.TB, s *Server) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the stranger gets as far as the socket
		t.Fatal(err)
	}
	path = filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	return path
}

// TestHostileRequests sends what is not a request; the server says so, and goes
// on.
func TestHostileRequests(t *testing.T) {
	path := serve(t, os.Getuid())
	for _, tt := range []struct{ name, request, want string }{
		{"nothing", "", "EOF"},
		{"half a line", `{"op":"stop"`, "EOF"},
		{"an empty line", "\n", "request: "},
		{"no JSON", "stop\n", "request: "},
		{"another type", `["stop"]` + "\n", "request: "},
		{"two requests", `{"op":"x"}{"op":"stop"}` + "\n", "request: "},
		{"an unknown operation", `{"op":"halt"}` + "\n", "no operation halt"},
		{"no operation", "{}\n", "no operation"},
		{"an exec without streams", `{"op":"exec","service":"a","args":["true"]}` + "\n", "three streams"},
		{"too long", strings.Repeat("x", maxRequestBytes), "longer than 262144 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := nc.Write([]byte(tt.request)); err != nil {
				t.Fatal(err)
			}
			nc.CloseWrite()
			got := make([]byte, 4096)
			n, err := nc.Read(got)
			if err != nil || !strings.Contains(string(got[:n]), tt.want) {
				t.Errorf("%.40q gives %q, %v, want %q", tt.request, got[:n], err, tt.want)
			}
		})
	}
}

func TestAskTooMuch(t *testing.T) {
	_, err := Ask(serve(t, os.Getuid()), Request{Op: OpExec, Args: []string{strings.Repeat("x", maxRequestBytes)}})
	if !errors.Is(err, errTooLong) {
		t.Errorf("Ask of a long request = %v, want %v", err, errTooLong)
	}
}

// TestFlush: what was permitted a moment ago is in the file once the answer is there.
func TestFlush(t *testing.T) {
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	path := serveWith(t, &Server{Owner: os.Getuid(), Supervisor: &supervisor.Supervisor{Options: supervisor.Options{Log: log}}})
	flush := func() error {
		c, err := Ask(path, Request{Op: OpFlush})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Timeout(10 * time.Second)
		r, err := c.Next()
		if err == nil && r.Head == nil {
			t.Error("the answer has no head")
		}
		return err
	}
	for n := 2; n <= 20; n++ {
		if _, err := log.Append(audit.Record{Kind: audit.KindDecision, Verdict: audit.Allow}); err != nil {
			t.Fatal(err)
		}
		if err := flush(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(log.Path())
		if err != nil || bytes.Count(text, []byte("\n")) != n {
			t.Fatalf("after a flush the file has %d of %d records: %v", bytes.Count(text, []byte("\n")), n, err)
		}
	}
	log.Close()
	if err := flush(); err == nil || !strings.Contains(err.Error(), audit.ErrClosed.Error()) {
		t.Errorf("flush of a log that is closed = %v, want %v", err, audit.ErrClosed)
	}
}

// TestStranger asks as a user who did not start the application.
func TestStranger(t *testing.T) {
	owner := os.Getuid() + 1 // we are the stranger, unless we are root
	path := serve(t, owner)
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		if os.Getuid() == 0 {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
				answer <- errno
				return
			}
		}
		c, err := Ask(path, Request{Op: OpStop})
		if err == nil {
			_, err = c.Next()
			c.Close()
		}
		answer <- err
	}()
	err := <-answer
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != 77 {
		t.Errorf("a stranger who says stop gets %v, want a refusal with code 77", err)
	}
}

// FuzzReceive: what is taken for a request is one bounded line, and all of it
// was sent.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"op":"status"}` + "\n"))
	f.Add([]byte("\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sent []byte) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer ours.Close()
		nc, err := net.FileConn(ours)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go func() {
			theirs.Write(sent)
			theirs.Close()
		}()
		line, files, err := receive(nc.(*net.UnixConn))
		if err != nil {
			return
		}
		if len(files) != 0 || len(line) == 0 || len(line) > maxRequestBytes || line[len(line)-1] != '\n' || !bytes.HasPrefix(sent, line) {
			t.Errorf("receive of %q = %q, %d files", sent, line, len(files))
		}
	})
}
