package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/sdk"
)

const pairManifest = `version: 1
name: bench-pair
allow_degraded: [cgroup]
services:
  a:
    command: [/app/bench, role-wait]
    files: [{from: bench, to: /app/bench}]
    uses: [{call: b.echo}, {connect: "b:9000"}]
    limits: {memory: 256M}
  b:
    command: [/app/bench, role-serve]
    files: [{from: bench, to: /app/bench}]
    provides: [{call: echo, from: [a]}]
    tcp: 9000
    limits: {memory: 256M}
`

// latency is what a measuring role prints.
type latency struct {
	MedianUS float64 `json:"median_us"`
	P99US    float64 `json:"p99_us,omitempty"`
}

// benchCall measures a round trip of 64 bytes: from a program in one
// environment through the monitor to one in another and back, beside the same
// between two processes over a Unix socket pair. It does so as the kernel places
// the processes, and on one core: on virtual machines to wake another core costs
// more than the rest.
func benchCall() ([]measurement, error) {
	free, err := benchCallOn("call, 64 B, round trip")
	if err != nil {
		return nil, err
	}
	back, err := onOneCore()
	if err != nil {
		return nil, err
	}
	defer back()
	one, err := benchCallOn("the same, all on one core")
	return append(free, one...), err
}

// onOneCore keeps this goroutine, and what it starts, on one core.
func onOneCore() (back func(), err error) {
	runtime.LockOSThread()
	var before, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	for cpu := 0; first.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		return nil, err
	}
	return func() {
		unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}, nil
}

func benchCallOn(name string) ([]measurement, error) {
	a, err := startApp(pairManifest, nil)
	if err != nil {
		return nil, err
	}
	defer a.stop()
	const calls = 4000
	return one(compare(name, "µs", "Unix socket pair, two Go programs", "≤ 3.0", 7,
		func() (float64, error) {
			var l latency
			err := a.exec("a", &l, "role-call", strconv.Itoa(calls))
			return l.MedianUS, err
		},
		func() (float64, error) { return directPair(calls) },
		func(r float64) bool { return r <= 3 }))
}

// roleServe answers echo, and sends zeros to whoever connects to port 9000.
func roleServe(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	if err != nil {
		return err
	}
	go sendBulk(l)
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"echo": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
	})
}

func roleCall(ctx context.Context, n int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), 64)
	return printLatency(n, func() error {
		got, err := c.Call(ctx, "b.echo", body)
		if err == nil && !bytes.Equal(got, body) {
			err = fmt.Errorf("echo gave %q", got)
		}
		return err
	})
}

func printLatency(n int, trip func() error) error {
	var us []float64
	for i := range n + n/10 {
		t := time.Now()
		if err := trip(); err != nil {
			return err
		}
		if i >= n/10 { // the first are for warming up
			us = append(us, float64(time.Since(t).Nanoseconds())/1000)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(latency{MedianUS: median(us)})
}

// directPair is the peer: two processes of this program and a socket pair.
func directPair(n int) (float64, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	defer near.Close()
	defer far.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	server := exec.Command(self, "role-direct-serve")
	server.ExtraFiles = []*os.File{far}
	if err := server.Start(); err != nil {
		return 0, err
	}
	far.Close()
	client := exec.Command(self, "role-direct-call", strconv.Itoa(n))
	client.ExtraFiles = []*os.File{near}
	out, err := client.Output()
	near.Close()
	server.Wait()
	if err != nil {
		return 0, err
	}
	var l latency
	err = json.Unmarshal(out, &l)
	return l.MedianUS, err
}

func inherited() (net.Conn, error) {
	f := os.NewFile(3, "pair")
	defer f.Close()
	return net.FileConn(f)
}

func roleDirectServe() error {
	c, err := inherited()
	if err != nil {
		return err
	}
	buf := make([]byte, 64)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func roleDirectCall(n int) error {
	c, err := inherited()
	if err != nil {
		return err
	}
	body, got := bytes.Repeat([]byte("x"), 64), make([]byte, 64)
	return printLatency(n, func() error {
		if _, err := c.Write(body); err != nil {
			return err
		}
		if _, err := c.Read(got); err != nil {
			return err
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("echo gave %q", got)
		}
		return nil
	})
}
