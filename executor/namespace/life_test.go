package namespace_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

func TestListenAndDial(t *testing.T) {
	e := open(t)
	addr := netip.MustParseAddrPort("127.0.0.1:80")
	spec := probing(t, "dial", addr.String())
	spec.Listen = []netip.AddrPort{addr}
	p, err := e.Start(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Listeners()[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); string(b) != "hello" {
		t.Errorf("got %q from inside", b)
	}
	<-p.Done()

	r, w, _ := os.Pipe()
	spec = probing(t, "serve", "127.0.0.1:81")
	spec.Command.Stdout = w
	p, err = e.Start(context.Background(), spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(r).ReadString('\n')
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := p.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:82")); err == nil {
		t.Error("dialled a port where nobody listens")
	}
	d, err := p.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:81"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "echo")
	if b, _ := io.ReadAll(d); string(b) != "echo" {
		t.Errorf("got %q back", b)
	}
	<-p.Done()
	if _, err := p.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:81")); err != executor.ErrStopped {
		t.Errorf("Dial after the end: %v, want ErrStopped", err)
	}
}

func TestSignal(t *testing.T) {
	e := open(t)
	r, w, _ := os.Pipe()
	spec := host("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
	spec.Command.Stdout = w
	p, err := e.Start(context.Background(), spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(r).ReadString('\n')
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if p.Exit().Code != 9 {
		t.Errorf("%+v, want code 9", p.Exit())
	}
	if err := p.Signal(syscall.SIGTERM); err != executor.ErrStopped {
		t.Errorf("Signal after the end: %v, want ErrStopped", err)
	}
}

func TestOwns(t *testing.T) {
	e := open(t)
	a, err := e.Start(context.Background(), host("sleep", "3600"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill(executor.CausePolicy, "")
	b, err := e.Start(context.Background(), host("sleep", "3600"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Kill(executor.CausePolicy, "")
	open := func(pid int) *os.File {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		t.Cleanup(func() { f.Close() })
		return f
	}
	pa, self := open(a.Pid()), open(os.Getpid())
	for _, tt := range []struct {
		name  string
		p     executor.Process
		pidfd *os.File
		want  bool
	}{{"own", a, pa, true}, {"foreign", b, pa, false}, {"ours", a, self, false}} {
		if got, err := tt.p.Owns(tt.pidfd); err != nil || got != tt.want {
			t.Errorf("%s: Owns = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	a.Kill(executor.CausePolicy, "")
	<-a.Done()
	if got, err := b.Owns(pa); err != nil || got {
		t.Errorf("Owns of a dead process = %v, %v", got, err)
	}
}

// descendants lists processes below pid.
func descendants(pid int) (all []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	parents := map[int]int{}
	for _, d := range dirs {
		b, _ := os.ReadFile(d + "/stat")
		s := string(b)
		var p, parent int
		fmt.Sscan(filepath.Base(d), &p)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(f) > 1 {
			fmt.Sscan(f[1], &parent)
			parents[p] = parent
		}
	}
	for p := range parents {
		for q := parents[p]; q > 1; q = parents[q] {
			if q == pid {
				all = append(all, p)
				break
			}
		}
	}
	return all
}

func TestKillTakesTheTree(t *testing.T) {
	e := open(t)
	r, w, _ := os.Pipe()
	spec := probing(t, "orphans", "stay")
	spec.Command.Stdout = w
	p, err := e.Start(context.Background(), spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(r).ReadString('\n'); line != "left\n" {
		t.Fatalf("probe says %q", line)
	}
	tree := append(descendants(p.Pid()), p.Pid())
	if len(tree) < 3 {
		t.Fatalf("processes %v, want init, program and orphan", tree)
	}
	p.Kill(executor.CausePolicy, "test")
	<-p.Done()
	for _, pid := range tree {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is left", pid)
		}
	}
}

// The end of the program is the end of what it left behind.
func TestOrphansEnd(t *testing.T) {
	e := open(t)
	if got := finish(t, e, probing(t, "orphans")); got.Cause != executor.CauseExit || got.Code != 0 {
		t.Errorf("%+v", got)
	}
}

// A SIGKILL of the trusted process leaves nothing running.
func TestSIGKILLLeavesNothing(t *testing.T) {
	if os.Getenv("NAMESPACE_VICTIM") != "" {
		e := open(t)
		if _, err := e.Start(context.Background(), host("sleep", "3600")); err != nil {
			t.Fatal(err)
		}
		fmt.Println("running")
		select {}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSIGKILLLeavesNothing$")
	cmd.Env = append(os.Environ(), "NAMESPACE_VICTIM=1")
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "running\n" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Skipf("needs isolation: the victim says %q", line)
	}
	tree := descendants(cmd.Process.Pid)
	if len(tree) < 3 {
		t.Errorf("processes %v, want spawner, init and program", tree)
	}
	cmd.Process.Kill()
	cmd.Wait()
	// Dead is enough: orphans are to be taken by init, or, after a census, by nobody.
	runs := func(pid int) string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.Contains(string(b), ") Z ") || strings.Contains(string(b), ") X ") {
			return ""
		}
		return string(b)
	}
	for _, pid := range tree {
		for deadline := time.Now().Add(time.Minute); runs(pid) != ""; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is left: %s", pid, runs(pid))
			}
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	e := open(t)
	p, err := e.Start(context.Background(), host("sleep", "3600"))
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the environment outlives its executor")
	}
	if p.Exit().Cause != executor.CausePolicy {
		t.Errorf("%+v, want cause policy", p.Exit())
	}
	if _, err := e.Start(context.Background(), host("true")); err == nil {
		t.Error("Start after Close succeeded")
	}
}

func TestStartGivenUp(t *testing.T) {
	e := open(t)
	for range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.Start(ctx, host("sleep", "3600")); err == nil {
			t.Error("Start with a context that has ended succeeded")
		}
	}
	running := func() (pids []int) {
		for _, pid := range descendants(os.Getpid()) {
			if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(b) == "sleep\n" {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	// They come about and end behind our back.
	quiet := time.Now()
	for deadline := quiet.Add(time.Minute); time.Since(quiet) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if pids := running(); len(pids) > 0 {
			if quiet = time.Now(); quiet.After(deadline) {
				t.Fatalf("processes %v of starts that were given up run", pids)
			}
		}
	}
}
