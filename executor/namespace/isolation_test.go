package namespace_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"
)

// Every known way out is tried, and fails.
func TestMustNotWork(t *testing.T) {
	executortest.Run(t, func(t testing.TB) executor.Executor { return open(t) })
}

// Neighbours have different host ids, also those of other applications.
func TestHostIDsDiffer(t *testing.T) {
	a, b := open(t), open(t, func(o *namespace.Options) { o.App = "other" })
	for _, p := range a.Protections() {
		if p.Name == "uid-range" && p.Status != executor.Pass {
			t.Skip("needs subuid: ", p.Detail)
		}
	}
	seen := map[string]bool{}
	for _, e := range []*namespace.Executor{a, a, b, b} {
		p, err := e.Start(context.Background(), host("sleep", "3600"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Kill(executor.CausePolicy, "")
		var program int
		for _, pid := range descendants(p.Pid()) {
			program = pid
		}
		for _, pid := range []int{p.Pid(), program} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			_, uid, _ := strings.Cut(string(b), "\nUid:\t")
			uid, _, _ = strings.Cut(uid, "\t")
			if seen[uid] || uid == "0" {
				t.Errorf("process %d has host id %s, which another has too", pid, uid)
			}
			seen[uid] = true
		}
	}
}
