package monitor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

// attachLab is a socket that e serves for the processes in inside, by pid.
func attachLab(t *testing.T) (l *lab, path string, inside *sync.Map) {
	t.Helper()
	l = newLab(t, bank())
	path = filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	inside = new(sync.Map)
	t.Cleanup(func() { ln.Close() })
	go l.admit("front", "front-1").Attach(ln, func(pidfd *os.File) (bool, error) {
		pid, err := pidOf(pidfd)
		if err != nil {
			return false, err
		}
		_, ok := inside.Load(pid)
		return ok, nil
	})
	return l, path, inside
}

// pidOf reads which process a pidfd refers to, see proc_pid_fdinfo(5).
func pidOf(pidfd *os.File) (int, error) {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		var pid int
		if n, _ := fmt.Sscanf(line, "Pid: %d", &pid); n == 1 && pid > 0 {
			return pid, nil
		}
	}
	return 0, errors.New("the pidfd refers to no process that lives")
}

// TestMain is also the program of the children that the tests start.
func TestMain(m *testing.M) {
	if role := os.Getenv("COFFERDAM_TEST_ROLE"); role != "" {
		if err := runRole(role); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares this test as another process with a role.
func child(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "COFFERDAM_TEST_ROLE="+role, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func runRole(role string) error {
	switch role {
	case "hello":
		return helloRole(os.Args[1])
	case "die":
		_, err := net.Dial("unix", os.Args[1])
		return err
	}
	return benchRole(role)
}

// helloRole says hello once and prints what comes of it.
func helloRole(path string) error {
	var line string
	fmt.Scanln(&line) // until the parent has decided where we belong
	nc, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	hello := wire.Frame{Header: wire.Header{Op: wire.OpHello, ID: 1}}
	nc.Write(wire.AppendFrame(nil, &hello))
	f, err := wire.NewReader(nc).Next()
	if err != nil {
		fmt.Print("closed")
		return nil
	}
	id, err := wire.ParseIdentity(f.Body)
	fmt.Print(id.Instance)
	return err
}

func TestAttach(t *testing.T) {
	l, path, inside := attachLab(t)
	for _, tt := range []struct {
		name   string
		inside bool
		want   string
		rule   string
	}{
		{"a process inside", true, "front-1", "peer is inside"},
		{"a process outside", false, "closed", "peer is not inside the environment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := child(t, "hello", path)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if tt.inside {
				inside.Store(cmd.Process.Pid, true)
			}
			fmt.Fprintln(in, "go")
			if err := cmd.Wait(); err != nil || out.String() != tt.want {
				t.Errorf("the child gets %q, %v, want %q", out.String(), err, tt.want)
			}
			records := l.decisions()
			if len(records) != 1 || records[0].Op != "attach" || records[0].Rule != tt.rule {
				t.Errorf("recorded %+v, want one attach: %s", records, tt.rule)
			}
		})
	}
}

// A peer that is dead when it is looked at cannot be identified, and leaves
// nothing behind.
func TestAttachOfTheDead(t *testing.T) {
	l, path, _ := attachLab(t)
	for range 5 {
		if out, err := child(t, "die", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var records int
	eventually(t, "all five are recorded", func() bool {
		for _, r := range l.decisions() {
			records++
			if r.Verdict != "deny" {
				t.Errorf("recorded %+v, want a refusal", r)
			}
		}
		return records == 5
	})
	for _, e := range l.m.envs {
		eventually(t, "no connection is left", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return len(e.conns) == 0
		})
	}
}

// What older kernels get: a pidfd of whoever connected, and none of the dead.
func TestPeerByPid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := func(cmd *exec.Cmd, wait bool) (pid int, err error) {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		nc, err := ln.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if wait {
			cmd.Wait()
		}
		raw, err := nc.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		fd := -1
		raw.Control(func(s uintptr) { fd, err = peerByPid(int(s)) })
		if err != nil {
			return 0, err
		}
		pidfd := os.NewFile(uintptr(fd), "pidfd")
		defer pidfd.Close()
		return pidOf(pidfd)
	}
	living := child(t, "hello", path)
	living.Stdin = strings.NewReader("go\n")
	if pid, err := accepted(living, false); err != nil || pid != living.Process.Pid {
		t.Errorf("peerByPid of process %d: %d, %v", living.Process.Pid, pid, err)
	}
	living.Wait()
	if pid, err := accepted(child(t, "die", path), true); err == nil {
		t.Errorf("peerByPid of a dead process: %d", pid)
	}
}

// More than MaxConns are closed without a word in the log.
func TestAttachStorm(t *testing.T) {
	l, path, inside := attachLab(t)
	inside.Store(os.Getpid(), true)
	var conns []net.Conn
	for range MaxConns + 20 {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	for i, nc := range conns {
		nc.SetDeadline(time.Now().Add(patience))
		hello := wire.Frame{Header: wire.Header{Op: wire.OpHello, ID: 1}}
		nc.Write(wire.AppendFrame(nil, &hello))
		if _, err := wire.NewReader(nc).Next(); (err == nil) != (i < MaxConns) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if n := len(l.decisions()); n != MaxConns {
		t.Errorf("%d attaches are recorded, want %d", n, MaxConns)
	}
	for _, nc := range conns {
		nc.Close()
	}
}
