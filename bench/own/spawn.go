package own

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"cofferdam/sdk"
)

// Snippets is the manifest of a service that has a template run, once for each
// request, a Python program in an environment of its own.
const Snippets = `version: 1
name: bench-python
allow_degraded: [cgroup]
services:
  host:
    runtime: host
    command: [PLAYER, wait]
    files: [FILES]
    uses: [{spawn: python}]
    limits: {memory: 256M, cpus: unlimited}
  python:
    template: true
    runtime: host
    command: [/usr/bin/python3, -I, -c, "SNIPPET"]
    limits: {memory: 64M, pids: 1, wall: 10s, output: 256K}
`

// Spawn has the template of [Snippets] run n times by so many at once: with one it
// measures the time of each, in ms, and otherwise how many there are in a second.
func (a *App) Spawn(workers, n int, want string) (Reading, error) {
	return a.Play("host", "spawn", strconv.Itoa(workers), strconv.Itoa(n), want)
}

func spawns(ctx context.Context, workers, n int, want string) (Reading, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return Reading{}, err
	}
	spawn := func() error {
		exit, err := c.Spawn(ctx, "python", sdk.SpawnOptions{})
		if err == nil && string(exit.Stdout) != want {
			err = fmt.Errorf("it printed %q, %q, and ended by %s", exit.Stdout, exit.Stderr, exit.Cause)
		}
		return err
	}
	if workers == 1 {
		return Times(n, time.Millisecond, spawn)
	}
	return Rate(workers, n, time.Millisecond, func(int) error { return spawn() })
}
