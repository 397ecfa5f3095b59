package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"time"

	"cofferdam/sdk"
)

// stressManifest is pairManifest with a third environment that is stress-ng's, under
// the limits that everybody has who writes none.
const stressManifest = pairManifest + `
  stress:
    runtime: host
    command: [/app/bench, role-wait]
    files: [{from: bench, to: /app/bench}]
    limits: {output: unlimited}
`

// hostile are the stressors, each group at once. Those that end with their environment
// because of its limits have to be started again, which is done.
var hostile = []struct{ name, args string }{
	{"processor", "--cpu 8 --matrix 2 --crypt 2"},
	{"scheduler", "--switch 4 --yield 4 --futex 2 --sem 2 --affinity 2"},
	{"processes", "--fork 4 --vfork 2 --exec 2 --zombie 1 --zombie-max 20"},
	{"memory", "--vm 2 --vm-bytes 64M --mmap 2 --mmap-bytes 32M --brk 1 --brk-bytes 32M --malloc 1 --malloc-bytes 16M --bigheap 1 --bigheap-bytes 48M"},
	{"page cache and caches", "--cache 2 --stream 1 --memcpy 2 --fault 2 --madvise 1"},
	{"pipes and sockets", "--pipe 4 --sockpair 2 --sock 2 --fifo 2 --poll 2 --udp 1"},
	{"files", "--hdd 2 --hdd-bytes 4M --dentry 2 --dentries 200 --dir 1 --dir-dirs 200 --rename 2 --link 1 --symlink 1 --flock 2 --fallocate 1 --fallocate-bytes 4M"},
	{"signals and timers", "--itimer 1 --timer 2 --timerfd 1 --sigq 2 --sigfd 1 --kill 2 --eventfd 2 --epoll 1 --mq 1"},
	{"system calls", "--get 2 --getrandom 2 --sysinfo 2 --procfs 2 --enosys 1 --msg 1 --shm 1 --shm-bytes 8M --rlimit 1"},
}

const (
	stressSeconds = 6
	stressCalls   = 500
	stressPause   = 2 * time.Millisecond
)

// benchStress measures what a neighbour notices: calls between two environments, one
// each 2 ms, while a third is under attack from inside, beside the same in quiet.
func benchStress() ([]measurement, error) {
	if _, err := exec.LookPath("stress-ng"); err != nil {
		return nil, errors.New("stress-ng is not installed")
	}
	a, err := startApp(stressManifest, nil)
	if err != nil {
		return nil, err
	}
	defer a.stop()
	p99 := func() (float64, error) {
		var l latency
		err := a.exec("a", &l, "role-call-paced", strconv.Itoa(stressCalls))
		return l.P99US, err
	}
	var all []measurement
	for _, h := range hostile {
		m, err := compare("p99 of a call beside: "+h.name, "µs", "the same, quiet", "≤ 5.0", 3,
			func() (float64, error) {
				stop := a.stress(h.args)
				defer stop()
				time.Sleep(500 * time.Millisecond)
				return p99()
			},
			p99,
			func(r float64) bool { return r <= 5 })
		if err != nil {
			return all, err
		}
		fmt.Fprintf(os.Stderr, "  beside %s: %.0f µs, quiet %.0f µs\n", h.name, m.Ours, m.Peer)
		all = append(all, m)
	}
	return all, nil
}

// stress runs stress-ng in its environment, again and again, until it is stopped.
func (a *app) stress(args string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			words := append([]string{"exec", "stress", "--", "/usr/bin/stress-ng", "--temp-path", "/tmp", "--quiet", "--timeout", strconv.Itoa(stressSeconds)}, strings.Fields(args)...)
			cmd := a.command(words...)
			cmd.Stderr = nil
			if err := cmd.Start(); err != nil {
				return
			}
			ended := make(chan struct{})
			go func() { cmd.Wait(); close(ended) }()
			select {
			case <-ended:
				time.Sleep(20 * time.Millisecond)
			case <-ctx.Done():
				cmd.Process.Signal(os.Interrupt)
				<-ended
			}
		}
	}()
	return func() { cancel(); <-done }
}

// roleCallPaced calls with a pause between two calls, as somebody does who has other
// things to do.
func roleCallPaced(ctx context.Context, n int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), 64)
	var us []float64
	for range n {
		time.Sleep(stressPause)
		began := time.Now()
		got, err := c.Call(ctx, "b.echo", body)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("echo gave %q", got)
		}
		us = append(us, float64(time.Since(began).Nanoseconds())/1000)
	}
	sort.Float64s(us)
	return json.NewEncoder(os.Stdout).Encode(latency{MedianUS: us[n/2], P99US: us[n*99/100]})
}
