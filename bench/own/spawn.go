package own

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"cofferdam/sdk"
)

// Snippets is the manifest of a service that has a template run, once for each
// request, a program in an environment of its own: COMMAND, under LIMITS.
const Snippets = `version: 1
name: bench-snippets
allow_degraded: [cgroup]
services:
  host:
    runtime: host
    command: [PLAYER, wait]
    files: [FILES]
    uses: [{spawn: snippet}]
    limits: {memory: 256M, cpus: unlimited}
  snippet:
    template: true
    runtime: host
    command: [COMMAND]
    limits: {LIMITS, wall: 10s, output: 256K}
`

// Spawn has the template of [Snippets] run n times by so many at once: with one it
// measures the time of each, in ms, with a pause before it, and otherwise how many there are in a second.
func (a *App) Spawn(workers, n int, pause time.Duration, want string) (Reading, error) {
	return a.Play("host", "spawn", strconv.Itoa(workers), strconv.Itoa(n), pause.String(), want)
}

func spawns(ctx context.Context, workers, n int, pause time.Duration, want string) (Reading, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return Reading{}, err
	}
	spawn := func() error {
		exit, err := c.Spawn(ctx, "snippet", sdk.SpawnOptions{})
		if err == nil && string(exit.Stdout) != want {
			err = fmt.Errorf("it printed %q, %q, and ended by %s", exit.Stdout, exit.Stderr, exit.Cause)
		}
		return err
	}
	if workers == 1 {
		return Paced(n, pause, time.Millisecond, spawn)
	}
	return Rate(workers, n, time.Millisecond, func(int) error { return spawn() })
}
