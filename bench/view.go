package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"cofferdam/sdk"
)

const viewManifest = `version: 1
name: bench-view
allow_degraded: [cgroup]
services:
  host:
    command: [/app/bench, role-wait]
    files: [{from: bench, to: /app/bench}]
    uses: [{spawn: python}]
    limits: {memory: 256M}
  python:
    template: true
    runtime: host
    command: [/usr/bin/python3, -I, /app/view.py]
    files: [{from: view.py, to: /app/view.py}]
    limits: {memory: 64M, pids: 1, wall: 5s, output: 256K}
`

const viewScript = "print('Hello, <i> visitor </i>')\n"
const viewAnswer = "Hello, <i> visitor </i>\n"

// benchView measures a Python program as a view of a profile runs it: spawned
// by a service through the monitor, its output returned. The peer runs the
// same script in a fresh sandbox.
func benchView() ([]measurement, error) {
	a, err := startApp(viewManifest, map[string]string{"view.py": viewScript})
	if err != nil {
		return nil, err
	}
	defer a.stop()
	script, err := filepath.Abs(filepath.Join(a.dir, "view.py"))
	if err != nil {
		return nil, err
	}
	const views = 30
	return one(compare("view of a Python profile", "ms", "bwrap --unshare-all … python3 -I", "≤ 1.5", 5,
		func() (float64, error) {
			var l latency
			err := a.exec("host", &l, "role-view", strconv.Itoa(views))
			return l.MedianUS / 1000, err
		},
		func() (float64, error) {
			return medianOf(views, func() error {
				out, err := bwrap("--ro-bind", script, "/app/view.py", "/usr/bin/python3", "-I", "/app/view.py")
				if err == nil && string(out) != viewAnswer {
					err = fmt.Errorf("the script printed %q", out)
				}
				return err
			})
		},
		func(r float64) bool { return r <= 1.5 }))
}

func roleView(ctx context.Context, n int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return printLatency(n, func() error {
		exit, err := c.Spawn(ctx, "python", sdk.SpawnOptions{})
		if err == nil && string(exit.Stdout) != viewAnswer {
			err = fmt.Errorf("the script printed %q, %q, and ended by %s", exit.Stdout, exit.Stderr, exit.Cause)
		}
		return err
	})
}

// runRole plays one of the programs inside.
func runRole(role string, args []string) error {
	ctx := context.Background()
	number := func() int {
		if len(args) == 0 {
			return 0
		}
		n, _ := strconv.Atoi(args[0])
		return n
	}
	switch role {
	case "role-wait":
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		return nil
	case "role-serve":
		return roleServe(ctx)
	case "role-call":
		return roleCall(ctx, number())
	case "role-call-paced":
		return roleCallPaced(ctx, number())
	case "role-direct-serve":
		return roleDirectServe()
	case "role-direct-call":
		return roleDirectCall(number())
	case "role-bulk":
		return roleBulk(args[0])
	case "role-bulk-serve":
		return roleBulkServe()
	case "role-view":
		return roleView(ctx, number())
	}
	return fmt.Errorf("no role %q; in %v", role, os.Args)
}
