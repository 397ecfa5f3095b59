package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/supervisor"
)

// replacementsEnv is how many instances the tests here kill, or start.
const replacementsEnv = "COFFERDAM_TEST_REPLACEMENTS"

// named answers with the name of its instance.
func named(ctx context.Context) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"name": func(context.Context, sdk.Caller, []byte) ([]byte, error) { return []byte(c.Self().Instance), nil },
	})
}

// pace calls every millisecond, and prints each answer that comes from another
// instance than the last, with when it came and how long it took when nothing happened.
func pace(ctx context.Context, method string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	last, took := "", make([]time.Duration, 0, 1<<10)
	for {
		time.Sleep(time.Millisecond) // who never sleeps has to wait for the processor
		began := time.Now()
		got, err := c.Call(ctx, method, nil)
		if err != nil {
			continue
		}
		if len(took) == cap(took) {
			took = took[:0]
		}
		took = append(took, time.Since(began))
		if last != string(got) {
			last = string(got)
			slices.Sort(took)
			fmt.Println(last, time.Now().UnixNano(), took[len(took)/2].Nanoseconds())
		}
	}
}

// TestStandbyTimes kills an instance again and again, and measures from the signal to
// the next answer that a caller gets, who calls every millisecond. COFFERDAM_TEST_REPLACEMENTS says how often.
func TestStandbyTimes(t *testing.T) {
	times := 5
	if n, err := strconv.Atoi(os.Getenv(replacementsEnv)); err == nil {
		times = n
	}
	for _, tt := range []struct {
		name, more string
	}{
		{"with a standby", "warm: 1,"},
		{"without", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, `
  bank: {{program}named], `+tt.more+` restart: {intensity: 1000, period: 1m, backoff: 1ms, backoff_max: 1ms}, provides: [{call: name}]}
  front: {{program}pace, bank.name], uses: [{call: bank.name}]}
`)
			var all []time.Duration
			var call time.Duration
			for range times {
				var now supervisor.Status
				a.eventually("it stands", func() bool {
					now = a.status("bank")
					return now.State == supervisor.Ready && (tt.more == "" || len(a.spares("bank")) == 1)
				})
				time.Sleep(20 * time.Millisecond) // nothing goes on but calls
				seen := strings.Count(a.output(), "\n")
				killed := time.Now()
				syscall.Kill(now.Pid, syscall.SIGKILL)
				a.eventually("another one answers", func() bool { return strings.Count(a.output(), "\n") > seen })
				lines := strings.Split(strings.TrimSpace(a.output()), "\n")
				words := strings.Fields(lines[len(lines)-1])
				at, _ := strconv.ParseInt(words[len(words)-2], 10, 64)
				took, _ := strconv.ParseInt(words[len(words)-1], 10, 64)
				all, call = append(all, time.Unix(0, at).Sub(killed)), time.Duration(took)
			}
			slices.Sort(all)
			t.Logf("%d times: median %v, 90th percentile %v, slowest %v; a call takes %v", times, all[times/2], all[times*9/10], all[times-1], call)
		})
	}
}

// TestClaimTimes measures how long it takes until somebody's instance serves who had none.
func TestClaimTimes(t *testing.T) {
	times := 5
	if n, err := strconv.Atoi(os.Getenv(replacementsEnv)); err == nil {
		times = n
	}
	for _, tt := range []struct{ name, more string }{{"warm", "warm: 2,"}, {"cold", ""}} {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, `
  each: {{program}named], instances: per-principal, label: 'True %% {principal}', owns: '{principal}', `+tt.more+` max_instances: 8, idle: 50ms, stop_grace_period: 100ms, provides: [{call: name, from: []}]}
`)
			var all []time.Duration
			for i := range times {
				a.eventually("nobody has one", func() bool {
					s := a.sup.Status()
					return tt.more == "" && len(s) == 0 || tt.more != "" && len(s) == 2 && len(a.spares("each")) == 2
				})
				began := time.Now()
				a.mustUse(fmt.Sprint("p", i))()
				all = append(all, time.Since(began))
			}
			slices.Sort(all)
			t.Logf("%d times: median %v, 90th percentile %v, slowest %v", times, all[times/2], all[times*9/10], all[times-1])
		})
	}
}
