package namespace_test

import (
	"context"
	"strings"
	"testing"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// The kernel holds all environments together to the budget, those too that have no
// limit of their own.
func TestBudgetOfMemory(t *testing.T) {
	e := open(t, func(o *namespace.Options) { o.Budget.MemoryBytes, o.Warm = 64<<20, -1 })
	needGroup(t, e, "cgroup.memory")
	spec := probing(t, "memory")
	spec.Limits.MemoryBytes = executor.Unlimited
	if got := finish(t, e, spec); got.Cause != executor.CauseOOM || got.Key != "budget.memory" || got.Limit != "64MiB" {
		t.Errorf("%+v, want the budget of memory", got.Exit)
	}
	spec = probing(t, "memory")
	spec.Limits.MemoryBytes = 32 << 20
	if got := finish(t, e, spec); got.Cause != executor.CauseOOM || got.Key != "limits.memory" || got.Limit != "32MiB" {
		t.Errorf("%+v, want the limit of memory", got.Exit)
	}
}

func TestBudgetOfPids(t *testing.T) {
	e := open(t, func(o *namespace.Options) { o.Budget.Pids, o.Budget.Instances, o.Warm = 40, 2, -1 })
	needGroup(t, e, "cgroup.pids")
	sleeper := probing(t, "sleep")
	p, err := e.Start(context.Background(), sleeper)
	if err != nil {
		t.Fatal(err)
	}
	spec := probing(t, "threads")
	spec.Limits.Pids = 4000
	// 40 of programs, and what we need beside them.
	if got := finish(t, e, spec); !strings.Contains(got.stdout, "temporarily unavailable") || got.Usage.Pids > 40+64+8 {
		t.Errorf("%+v, want the budget of processes", got)
	}
	p.Kill(executor.CausePolicy, "enough")
	<-p.Done()
}
