package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/monitor"
	"cofferdam/supervisor"
)

const crowdApp = `version: 1
name: crowd
allow_degraded: [cgroup, disk-quota]
metrics: {listen: METRICS}
gateway:
  tcp: [{listen: '127.0.0.1:0', to: 'echo:7000', connections: 128, per_peer: 32, idle: 2s}]
services:
  echo: {command: [/app/tenant, repeat], files: [tenant:/app/tenant], tcp: [7000, 7001]}
`

// crowd is "tenant crowd HOW ADDRESS": somebody outside who does what he should not with a socket, until he is
// killed. He says when he is at it.
func crowd(how, address string) error {
	network := "tcp4"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err == nil {
		most.Cur = most.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &most)
	}
	do := crowds[how]
	if do == nil {
		return fmt.Errorf("nobody knows how to %s", how)
	}
	began := make(chan bool, 1)
	for range do.hands {
		go func() {
			for {
				c, err := net.DialTimeout(network, address, 5*time.Second)
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				select {
				case began <- true:
				default:
				}
				do.what(c)
				c.Close()
			}
		}()
	}
	<-began
	fmt.Println("at it")
	select {}
}

const halfHead = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"

// crowds are what he does with a connection, and how many of them at a time.
var crowds = map[string]*struct {
	hands int
	what  func(net.Conn)
}{
	"say nothing": {1000, func(c net.Conn) { io.Copy(io.Discard, c) }},
	"send a byte at a time": {300, func(c net.Conn) {
		go io.Copy(io.Discard, c)
		for {
			for _, b := range []byte(halfHead + "A: " + strings.Repeat("x", 4096)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	}},
	"send half a head": {500, func(c net.Conn) {
		io.WriteString(c, halfHead)
		io.Copy(io.Discard, c)
	}},
	"send a head without end": {32, func(c net.Conn) {
		go io.Copy(io.Discard, c)
		io.WriteString(c, halfHead)
		for {
			if _, err := io.WriteString(c, "A: "+strings.Repeat("x", 16<<10)+"\r\n"); err != nil {
				return
			}
		}
	}},
	"send a body without end": {32, func(c net.Conn) {
		go io.Copy(io.Discard, c)
		io.WriteString(c, "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
		for zeros := make([]byte, 64<<10); ; {
			if _, err := c.Write(zeros); err != nil {
				return
			}
		}
	}},
	"send anything": {64, func(c net.Conn) {
		go io.Copy(io.Discard, c)
		random := rand.New(rand.NewPCG(rand.Uint64(), 0))
		for b := make([]byte, 4096); ; {
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			if _, err := c.Write(b); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}},
	"ask and never read": {300, func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, halfHead+"\r\n"); err != nil {
				return
			}
		}
	}},
	"reset": {64, func(c net.Conn) {
		io.WriteString(c, halfHead+"\r\n")
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	}},
}

// crowdSite is the application, with who is at its doors.
type crowdSite struct {
	*site
	metrics, door string
	pid           int // of the trusted process
}

func TestCrowds(t *testing.T) {
	for name, uid := range users() {
		for _, listen := range []string{"socket", "127.0.0.1:0"} {
			t.Run(name+" "+strings.TrimSuffix(listen, ":0"), func(t *testing.T) { testCrowds(t, uid, listen) })
		}
	}
}

func testCrowds(t *testing.T, uid uint32, listen string) {
	s := &crowdSite{site: newSite(t, "crowd", strings.Replace(crowdApp, "METRICS", listen, 1), uid)}
	// The program of metrics is beside the other one.
	if out, err := exec.Command("cp", filepath.Join(s.dir, "cofferdam"), filepath.Join(s.dir, "cofferdam-telemetry")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	_, errs, code := s.run("up", "-d")
	if strings.Contains(errs, "not supported by this host") {
		t.Skipf("needs isolation: %s", errs)
	}
	if code != 0 {
		t.Fatalf("up: %d\n%s", code, errs)
	}
	for line := range strings.Lines(errs) {
		words := strings.Fields(line)
		if i := strings.Index(line, "--unix-socket "); i >= 0 {
			s.metrics = strings.Fields(line[i:])[1]
		} else if len(words) == 2 && words[0] == "metrics" {
			s.metrics = strings.TrimSuffix(strings.TrimPrefix(words[1], "http://"), "/metrics")
		}
	}
	if doors := s.doors(); len(doors) != 1 || s.metrics == "" {
		t.Fatalf("the doors are %q and %q\n%s", doors, s.metrics, errs)
	} else {
		s.door = doors[0]
	}
	s.pid = s.trusted()
	if listen == "socket" && os.Getuid() == 0 {
		// Another user does not even get to it.
		cmd := s.attack("say nothing", s.metrics, 23458)
		got, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(chan string, 1)
		go func() { b, _ := io.ReadAll(got); said <- string(b) }()
		time.Sleep(300 * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if got := <-said; got != "" {
			t.Errorf("another user reaches %s: %s", s.metrics, got)
		}
	}
	s.honest(t, "before") // what is counted below is there
	before := s.open(t)
	targets := []string{s.metrics}
	if listen != "socket" {
		targets = append(targets, s.door)
	}
	for how := range crowds {
		for _, at := range targets {
			who := uid
			if at == s.door || listen != "socket" {
				who = 0
				if os.Getuid() == 0 {
					who = 23458 // anybody on the host
				}
			}
			what := how + " at " + at
			cmd := s.attack(how, at, who)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("at it\n"))); err != nil {
				t.Fatalf("%s: it does not begin: %v", what, err)
			}
			for range 2 {
				s.honest(t, what)
			}
			// Each connection that the gateway has or has just had is two sockets of the trusted process, or three
			// while it is made.
			if files := s.open(t); files > before+3*(monitor.MaxRelays+128) {
				t.Errorf("%s: the trusted process has %d files open, %d before", what, files, before)
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	if kib := s.memory(t); kib > 160<<10 {
		t.Errorf("the trusted process has grown to %d KiB", kib)
	}
	for end := time.Now().Add(60 * time.Second); s.open(t) > before+8; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the trusted process keeps %d files open, %d before", s.open(t), before)
		}
	}
	out, errs, _ := s.run("ps", "--format", "json")
	var all []supervisor.Status
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("ps: %v %s", err, errs)
	}
	for _, st := range all {
		if st.Restarts != 0 {
			t.Errorf("%s was started again: %+v", st.Service, st.LastExit)
		}
	}
	if out, _, code := s.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %s", out)
	}
}

// attack is a process of somebody else's.
func (s *crowdSite) attack(how, at string, uid uint32) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.dir, "tenant"), "crowd", how, at)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 && os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	s.t.Cleanup(func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	return cmd
}

// honest is somebody from another address who asks for metrics, and one who uses the door. If they are turned away they
// come again, a few times.
func (s *crowdSite) honest(t *testing.T, while string) {
	t.Helper()
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if filepath.IsAbs(s.metrics) {
			return new(net.Dialer).DialContext(ctx, "unix", s.metrics)
		}
		return dialer.DialContext(ctx, "tcp4", s.metrics)
	}}}
	s.tries(t, while+": metrics", func() error {
		res, err := client.Get("http://localhost/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != http.StatusOK || !strings.Contains(string(body), "cofferdam_uptime_seconds")) {
			err = errors.New(res.Status)
		}
		return err
	})
	s.tries(t, while+": the door", func() error {
		c, err := dialer.Dial("tcp4", s.door)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		got := make([]byte, 5)
		_, err = io.ReadFull(c, got)
		if err == nil && string(got) != "hello" {
			err = fmt.Errorf("%q", got)
		}
		return err
	})
}

func (s *crowdSite) tries(t *testing.T, what string, do func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = do(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: %v", what, err)
}

// trusted is the pid of the process that decides.
func (s *crowdSite) trusted() int {
	s.t.Helper()
	out, errs, _ := s.run("ps", "--format", "json")
	var all []supervisor.Status
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		s.t.Fatalf("ps: %v %s", err, errs)
	}
	for _, st := range all {
		if st.Pid != 0 {
			return parentOf(s.t, parentOf(s.t, st.Pid)) // of the init is the spawner, and of that
		}
	}
	s.t.Fatalf("nothing runs: %s", out)
	return 0
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	parent, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

// open is how many files the trusted process has open.
func (s *crowdSite) open(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// memory is what it has resident, in KiB.
func (s *crowdSite) memory(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nVmHWM:")
	fmt.Sscan(rest, &kib)
	return kib
}
