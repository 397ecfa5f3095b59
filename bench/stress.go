package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"cofferdam/bench/own"
)

// stressManifest has a third environment that is stress-ng's, under the limits that
// everybody has who writes none.
const stressManifest = own.Pair + `
  stress:
    runtime: host
    command: [PLAYER, wait]
    files: [FILES]
    limits: {output: unlimited}
`

// hostile are the stressors, each group at once. Those that end with their environment
// because of its limits have to be started again, which is done.
var hostile = []struct{ name, args string }{
	{"processor", "--cpu 8 --matrix 2 --crypt 2"},
	{"scheduler", "--switch 4 --yield 4 --futex 2 --sem 2 --affinity 2"},
	{"processes", "--fork 4 --vfork 2 --exec 2 --zombie 1 --zombie-max 20"},
	{"memory", "--vm 2 --vm-bytes 64M --mmap 2 --mmap-bytes 32M --brk 1 --brk-bytes 32M --malloc 1 --malloc-bytes 16M --bigheap 1 --bigheap-bytes 48M"},
	{"caches", "--cache 2 --stream 1 --memcpy 2 --fault 2 --madvise 1"},
	{"sockets", "--pipe 4 --sockpair 2 --sock 2 --fifo 2 --poll 2 --udp 1"},
	{"files", "--hdd 2 --hdd-bytes 4M --dentry 2 --dentries 200 --dir 1 --dir-dirs 200 --rename 2 --link 1 --symlink 1 --flock 2 --fallocate 1 --fallocate-bytes 4M"},
	{"signals", "--itimer 1 --timer 2 --timerfd 1 --sigq 2 --sigfd 1 --kill 2 --eventfd 2 --epoll 1 --mq 1"},
	{"system-calls", "--get 2 --getrandom 2 --sysinfo 2 --procfs 2 --enosys 1 --msg 1 --shm 1 --shm-bytes 8M --rlimit 1"},
}

const stressSeconds = 6

// stressed measures what a neighbour notices: calls between two environments, one
// each 2 ms, while a third is under attack from inside, beside the same in quiet. It
// takes minutes, and is measured when it is asked for.
func stressed() []scenario {
	var all []scenario
	for _, h := range hostile {
		calls := func(a *own.App, n int) (own.Reading, error) { return a.Play("a", "call-paced", strconv.Itoa(n)) }
		beside := up("beside stress", "stress-ng "+h.args, stressManifest, func(a *own.App, n int) (own.Reading, error) {
			stop := stress(a, h.args)
			defer stop()
			time.Sleep(500 * time.Millisecond)
			return calls(a, n)
		})
		open := beside.open
		beside.open = func() (runner, error) {
			if err := found("stress-ng"); err != nil {
				return runner{}, err
			}
			return open()
		}
		all = append(all, scenario{
			name: "stress-" + h.name, what: "a call each 2 ms while a neighbour is under stress", unit: "µs", rounds: 3, count: 500, asked: true,
			contestants: []contestant{beside, up("quiet", "the same, without", stressManifest, calls)},
			ratios:      []pair{{of: "beside stress", to: "quiet", p99: true, most: 5}},
		})
	}
	return all
}

// stress runs stress-ng in its environment, again and again, until it is stopped.
func stress(a *own.App, args string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			words := append([]string{"exec", "stress", "--", "/usr/bin/stress-ng", "--temp-path", "/tmp", "--quiet", "--timeout", strconv.Itoa(stressSeconds)}, strings.Fields(args)...)
			cmd := a.Command(words...)
			if err := cmd.Start(); err != nil {
				return
			}
			ended := make(chan struct{})
			go func(cmd *exec.Cmd) { cmd.Wait(); close(ended) }(cmd)
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
