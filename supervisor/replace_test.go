package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/sdk"
)

// replacementsEnv is how many instances TestReplacementTime kills.
const replacementsEnv = "COFFERDAM_TEST_REPLACEMENTS"

// hammer calls server.pid, one call after the other, until it has seen so many instances
// come and go. It prints how long each change took, from the last answer of the one that was killed to the first of the
// next, and how long a call takes otherwise.
func hammer(ctx context.Context, changes int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ask := func() string {
		for {
			if out, err := c.Call(ctx, "server.pid", nil); err == nil {
				return string(out)
			}
		}
	}
	fmt.Println("ready")
	before, last := ask(), time.Now()
	var calm []time.Duration
	for changes > 0 {
		began := time.Now()
		who := ask()
		now := time.Now()
		if who != before {
			fmt.Println("change", now.Sub(last).Microseconds())
			changes--
		} else if len(calm) < 100_000 {
			calm = append(calm, now.Sub(began))
		}
		before, last = who, now
	}
	slices.Sort(calm)
	fmt.Println("call", calm[len(calm)/2].Microseconds())
	return nil
}

// programsOf are the pids of what an init has started.
func programsOf(init int) (all []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", init))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// Who calls an instance that is killed is answered by the next one.
func TestReplacementTime(t *testing.T) {
	kills := 3
	if n, err := strconv.Atoi(os.Getenv(replacementsEnv)); err == nil {
		kills = n
	}
	for _, tt := range []struct{ name, more string }{{"without a spare", ""}, {"with a spare", "warm: 1, "}} {
		t.Run(tt.name, func(t *testing.T) { replacementTime(t, kills, tt.more) })
	}
}

func replacementTime(t *testing.T, kills int, more string) {
	a := start(t, fmt.Sprintf(`
  client: {{program}hammer, '%d'], stop_grace_period: 100ms, restart: "no", uses: [{call: server.pid}], depends_on: [server]}
  server: {{program}pids], %sstop_grace_period: 100ms, restart: {period: 1ms, intensity: 1000, backoff: 1ms},
    provides: [{call: pid, idempotent: true}]}
`, kills, more))
	a.awaitText("the output", a.output, "ready")
	for n := range kills {
		time.Sleep(200 * time.Millisecond) // so that there is a spare again
		for _, pid := range programsOf(a.status("server").Pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		a.awaitText("the output", func() string { return fmt.Sprint(strings.Count(a.output(), ": change ")) }, fmt.Sprint(n+1))
	}
	a.awaitText("the output", a.output, ": call ")
	var changes []int
	call := 0
	for line := range strings.Lines(a.output()) {
		if _, text, ok := strings.Cut(line, ": change "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(text))
			changes = append(changes, n)
		}
		if _, text, ok := strings.Cut(line, ": call "); ok {
			call, _ = strconv.Atoi(strings.TrimSpace(text))
		}
	}
	slices.Sort(changes)
	if len(changes) != kills {
		t.Fatalf("%d changes after %d kills", len(changes), kills)
	}
	t.Logf("from SIGKILL to the next answer, %d times: median %d µs, from %d to %d; a call takes %d µs otherwise",
		kills, changes[kills/2], changes[0], changes[kills-1], call)
}
