package namespace_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"

	"golang.org/x/sys/unix"
)

// Every known way out is tried, and fails.
func TestMustNotWork(t *testing.T) {
	executortest.Run(t, func(t testing.TB) executor.Executor { return open(t) })
}

func TestSystemCalls(t *testing.T) {
	e := open(t)
	got := finish(t, e, probing(t, "syscalls"))
	want := map[string]unix.Errno{
		"clone3": unix.ENOSYS, "future": unix.ENOSYS, "minus one": unix.ENOSYS,
		"netlink": unix.EAFNOSUPPORT, "packet": unix.EAFNOSUPPORT, "alg": unix.EAFNOSUPPORT, "vsock": unix.EAFNOSUPPORT,
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(lines) < 20 {
		t.Fatalf("%+v", got)
	}
	for _, line := range lines {
		name, errno, _ := strings.Cut(line, ": ")
		w, ok := want[name]
		if !ok {
			w = unix.EPERM
		}
		if errno != itoa(int(w)) {
			t.Errorf("%s gives errno %s, want %d", name, errno, int(w))
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestForeignABI(t *testing.T) {
	e := open(t)
	if got := finish(t, e, probing(t, "x32")); got.Cause != executor.CauseSeccomp || got.Signal != int(unix.SIGSYS) {
		t.Errorf("an x32 call: %+v, want cause seccomp", got)
	}
}

func TestDescriptors(t *testing.T) {
	e := open(t)
	if got := finish(t, e, probing(t, "descriptors")); got.stdout != "0\n1\n2\n" {
		t.Errorf("open descriptors %q, want 0, 1, 2", got.stdout)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	spec := probing(t, "descriptors")
	spec.Extra = []*os.File{w, r}
	if got := finish(t, e, spec); got.stdout != "0\n1\n2\n3\n4\n" {
		t.Errorf("open descriptors with two more %q, want 0 to 4", got.stdout)
	}
}

func TestInitIsOutOfReach(t *testing.T) {
	e := open(t)
	got := finish(t, e, probing(t, "init"))
	if strings.Contains(got.stdout, "false") || strings.Contains(got.stdout, "kill <nil>") && got.Code != 0 || got.Code != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEmptyRoot(t *testing.T) {
	e := open(t)
	got := sh(t, e, "ls -a /; ls /dev; ls /home /root /sys 2>&1; touch /x /usr/x /etc/x 2>&1; cat /etc/hostname; ls /proc | grep -E '^[0-9]+$' | wc -l")
	for _, bad := range []string{"/home:", "/root:", "shadow"} {
		if strings.Contains(got.stdout, bad) {
			t.Errorf("found %q in\n%s", bad, got.stdout)
		}
	}
	if n := strings.Count(got.stdout, "Read-only file system"); n != 3 {
		t.Errorf("%d of 3 writes refused as read-only:\n%s", n, got.stdout)
	}
	if strings.Contains(got.stdout, "tty") || strings.Contains(got.stdout, "pts") {
		t.Errorf("terminals in /dev:\n%s", got.stdout)
	}
}

func TestNoEnvironment(t *testing.T) {
	t.Setenv("SECRET", "x")
	e := open(t)
	spec := host("/usr/bin/env")
	spec.Command.Env = []string{"A=1"}
	if got := finish(t, e, spec); got.stdout != "A=1\n" {
		t.Errorf("environment %q, want A=1 alone", got.stdout)
	}
}

func TestNoNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := open(t)
	if got := finish(t, e, probing(t, "dial", l.Addr().String())); got.Code != 1 || !strings.Contains(got.stdout, "refused") {
		t.Errorf("dial a listener of the host: %+v", got)
	}
	if got := finish(t, e, probing(t, "dial", "192.0.2.1:80")); got.Code != 1 || !strings.Contains(got.stdout, "unreachable") {
		t.Errorf("dial the world: %+v", got)
	}
}

// Neighbours have different host ids, also those of other applications.
func TestHostIDsDiffer(t *testing.T) {
	a, b := open(t), open(t, func(o *namespace.Options) { o.App = "other" })
	for _, p := range a.Protections() {
		if p.Name == "uid-range" && p.Status != executor.Pass {
			t.Skip("needs subuid: ", p.Detail)
		}
	}
	seen := map[string]bool{}
	for _, e := range []*namespace.Executor{a, a, b, b} {
		p, err := e.Start(context.Background(), host("sleep", "3600"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Kill(executor.CausePolicy, "")
		var program int
		for _, pid := range descendants(p.Pid()) {
			program = pid
		}
		for _, pid := range []int{p.Pid(), program} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			_, uid, _ := strings.Cut(string(b), "\nUid:\t")
			uid, _, _ = strings.Cut(uid, "\t")
			if seen[uid] || uid == "0" {
				t.Errorf("process %d has host id %s, which another has too", pid, uid)
			}
			seen[uid] = true
		}
	}
}
