package executortest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// peers has connections made to a socket that an environment sees, and asks of each
// whether who made it is inside.
func peers(t *Trial) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	l.SetDeadline(time.Now().Add(40 * time.Second))
	with := func(args ...string) *executor.Spec {
		spec := t.Spec(args...)
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountSocket, Source: path, Target: "/s"})
		return spec
	}
	accept := func() *net.UnixConn {
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ours := t.Start(with())
	t.Check("who is inside", owned(t, ours, accept()), "inside")
	neighbour := t.Start(with())
	c := accept()
	t.Check("a neighbour", owned(t, ours, c), "outside")
	t.Check("the neighbour for itself", owned(t, neighbour, c), "inside")

	// Who is gone by the time somebody asks is nobody.
	gone := t.Start(with("connect"))
	gone.Wait()
	t.Check("a peer that is dead", owned(t, gone, accept()), "outside")
	also := t.Start(with("sleep"))
	also.Also("connect")
	t.Check("a dead peer whose environment lives", owned(t, also, accept()), "outside")

	if certain(t, c) {
		reused(t, path, accept, with("forks"))
	}
}

// certain tells whether the kernel says who is at the other end of a socket by more
// than a number: without (before Linux 6.5), one that was reused is taken for its owner.
// That is the protection peer-identity, which is then said to be degraded.
func certain(t *Trial, c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	pidfd := -1
	raw.Control(func(fd uintptr) { pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD) })
	if err == nil {
		unix.Close(pidfd)
	}
	return err != unix.ENOPROTOOPT
}

// reused has a process of the host connect and die, and a process of an environment
// get its number, before anybody asks who it was.
func reused(t *Trial, path string, accept func() *net.UnixConn, spec *executor.Spec) {
	const last = "/proc/sys/kernel/ns_last_pid"
	if os.Geteuid() != 0 {
		return // to choose numbers takes root; that a dead peer is nobody is what it comes down to
	}
	stdin, stdinW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdinW.Close()
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	spec.Command.Stdin, spec.Command.Stdout = stdin, stdoutW
	spec.Limits.Pids = 512
	spec.Limits.Wall = patience
	s := t.Start(spec)
	stdin.Close()
	stdoutW.Close()
	lines := bufio.NewScanner(stdout)
	for range 60 {
		stranger := exec.Command("/proc/self/exe", role, t.c.Name, "stranger", path)
		if err := stranger.Run(); err != nil {
			t.Fatal(err)
		}
		c := accept()
		pid := stranger.Process.Pid
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		stdinW.Write([]byte("x"))
		if !lines.Scan() {
			t.Fatalf("%s: the forking probe has ended: %+v", t.c.Name, s.Wait())
		}
		if !contains(descendants(s.Pid()), pid) {
			continue // somebody else was faster
		}
		// By the number that the connection names, it is inside.
		cred, err := peerPid(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Check("the number that SO_PEERCRED tells", cred, pid)
		t.Check("a stranger whose number is one of the environment now", owned(t, s, c), "outside")
		return
	}
	t.Log("no number was used again in 60 tries: the host starts too many processes")
}

func contains(all []int, n int) bool {
	for _, v := range all {
		if v == n {
			return true
		}
	}
	return false
}

func peerPid(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid, err
}

// owned tells whether the peer of c is inside the environment of s: as the monitor asks.
func owned(t *Trial, s *Started, c *net.UnixConn) string {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	pidfd := -1
	raw.Control(func(fd uintptr) {
		if pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == unix.ENOPROTOOPT {
			var peer *unix.Ucred
			if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				pidfd, err = unix.PidfdOpen(int(peer.Pid), 0)
			}
		}
	})
	if err != nil {
		return "outside" // there is no such process: Linux before 6.16 says so here
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	inside, err := s.Owns(f)
	if err != nil {
		return fmt.Sprint("unknown: ", strings.TrimSpace(err.Error()))
	}
	if inside {
		return "inside"
	}
	return "outside"
}
