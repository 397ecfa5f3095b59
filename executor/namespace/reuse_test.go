package namespace_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"

	"golang.org/x/sys/unix"
)

// takePort is a program's: it leaves port 7777 in TIME_WAIT, as whoever closes first does.
func takePort() error {
	l, err := net.Listen("tcp4", "127.0.0.1:7777")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", "127.0.0.1:7777")
	if err != nil {
		return err
	}
	s, err := l.Accept()
	if err != nil {
		return err
	}
	s.Close()
	var b [1]byte
	c.Read(b[:])
	return c.Close()
}

// bindPort is a program's, which takes the port as nobody does that another may have had.
func bindPort() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.Bind(s, &unix.SockaddrInet4{Port: 7777, Addr: [4]byte{127, 0, 0, 1}})
}

func init() {
	probes["port-left"] = func([]string) int {
		if err := takePort(); err != nil {
			fmt.Println(err)
			return 1
		}
		// It does stand in the way of whoever has the same network: or else this would show nothing.
		if err := bindPort(); err != unix.EADDRINUSE {
			fmt.Println("the port is free at once:", err)
			return 1
		}
		return 0
	}
	probes["port-found"] = func([]string) int {
		if err := bindPort(); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	probes["used-up"] = func([]string) int {
		for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		}
		os.WriteFile("/tmp/f", make([]byte, 24<<20), 0o600)
		b := make([]byte, 24<<20)
		for i := range b {
			b[i] = 1
		}
		return int(b[len(b)-1]) - 1
	}
}

// Cgroups and network namespaces are used again. Whatever the one before has done, the next
// one finds nothing of it: no port, no charge, no peak, no limit, and no end of its own that was
// the other's.
func TestNothingIsThereForTheNext(t *testing.T) {
	e := open(t, func(o *namespace.Options) { o.Warm = 1 })
	limited := func(s *executor.Spec, l executor.Limits) *executor.Spec {
		l.Wall = time.Minute
		s.Limits = l
		return s
	}
	measured := true
	for _, p := range e.Protections() {
		if strings.HasPrefix(p.Name, "cgroup.") && p.Status != executor.Pass {
			measured = false
		}
	}
	before := map[string]func() *executor.Spec{
		"nothing":     func() *executor.Spec { return host("true") },
		"a port":      func() *executor.Spec { return probing(t, "port-left") },
		"all it has":  func() *executor.Spec { return limited(probing(t, "used-up"), executor.Limits{MemoryBytes: 128 << 20}) },
		"too much":    func() *executor.Spec { return limited(probing(t, "memory"), executor.Limits{MemoryBytes: 32 << 20}) },
		"too many":    func() *executor.Spec { return limited(probing(t, "threads"), executor.Limits{Pids: 12}) },
		"half a core": func() *executor.Spec { return limited(host("true"), executor.Limits{CPUs: 0.1}) },
	}
	for round := range 3 {
		for name, spec := range before {
			first := finish(t, e, spec())
			if name == "a port" && first.Code != 0 {
				t.Fatalf("%s: %+v", name, first)
			}
			if name == "too much" && measured && first.Cause != executor.CauseOOM {
				t.Errorf("%s: %+v", name, first)
			}
			for range 4 { // the one in which it was is among the next
				if got := finish(t, e, probing(t, "port-found")); got.Code != 0 || got.Cause != executor.CauseExit {
					t.Errorf("round %d, after %s: %+v", round, name, got)
				}
				got := finish(t, e, host("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 0.01 & done; wait; exit 3"))
				if got.Cause != executor.CauseExit || got.Code != 3 {
					t.Errorf("round %d, after %s: %+v", round, name, got)
				}
				if u := got.Usage; measured && (u.MemoryBytes > 20<<20 || u.CPU > 200*time.Millisecond) {
					t.Errorf("round %d, after %s it is said to have used %+v", round, name, u)
				}
			}
		}
	}
}

// However many wait, and beside those that run: nobody has the ids of another.
func TestPreparedHostIDsDiffer(t *testing.T) {
	e := open(t)
	for _, p := range e.Protections() {
		if p.Name == "uid-range" && p.Status != executor.Pass {
			t.Skip("needs subuid: ", p.Detail)
		}
	}
	spec := host("sleep", "3600")
	if err := e.Prepare(context.Background(), spec, 3); err != nil {
		t.Fatal(err)
	}
	var all []int
	for range 2 {
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Kill(executor.CausePolicy, "")
		all = append(all, descendants(p.Pid())...)
	}
	for deadline := time.Now().Add(time.Minute); len(waiting(t)) < 3; {
		if time.Now().After(deadline) {
			t.Fatal("they are not replaced")
		}
		time.Sleep(time.Millisecond)
	}
	seen := map[string]int{}
	for _, pid := range append(all, waiting(t)...) {
		uid, _, _ := strings.Cut(status(pid, "Uid"), "\t")
		if uid == "" || uid == "0" || seen[uid] != 0 {
			t.Errorf("process %d has host id %q, as process %d", pid, uid, seen[uid])
		}
		seen[uid] = pid
	}
}
