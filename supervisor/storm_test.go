package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"cofferdam/supervisor"
)

// A storm of spawns beyond the budget waits its turn, and all of them succeed.
func TestSpawnStormWaits(t *testing.T) {
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: short}]}
  short: {{program}nap], template: true, limits: {memory: 64M, pids: 32}}
budget: {instances: 3}
`)
	done := make(chan string, 1)
	go func() { done <- a.exec("host", "storm", "short", "24") }()
	most, queued := 0, 0
	for {
		select {
		case got := <-done:
			if got != "24 of 24 ended well" {
				t.Errorf("%s", got)
			}
			if most == 0 || most > 2 || queued == 0 {
				t.Errorf("at most %d ran beside host, want 2; %d waited", most, queued)
			}
			return
		case <-time.After(2 * time.Millisecond):
		}
		running, waiting := 0, 0
		for _, st := range a.sup.Status() {
			switch {
			case st.State == supervisor.Queued:
				if waiting++; !strings.HasPrefix(st.Detail, "number ") || st.Service != "short" || st.Principal == "" {
					t.Errorf("in the queue: %+v", st)
				}
			case st.Service == "short":
				running++
			}
		}
		most, queued = max(most, running), max(queued, waiting)
	}
}
