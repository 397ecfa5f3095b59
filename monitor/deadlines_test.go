package monitor

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Calls expire in the order of their deadlines and not before, whatever comes
// and goes between them.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(nil, bank(), newFakeSpawner())
		if err != nil {
			t.Fatal(err)
		}
		from := &conn{env: &Env{m: m}}
		from.env.flow.start(Flow{}, &m.revocations)
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		var kept, dropped []*call
		for i := range 1000 {
			k := &call{num: uint64(i), from: from, method: m.policy.Load().services["bank"].methods["balance"]}
			k.within(time.Duration(1+random.IntN(5000)) * time.Millisecond)
			k.start()
			if random.IntN(2) == 0 {
				dropped = append(dropped, k)
				continue
			}
			kept = append(kept, k)
		}
		for _, k := range dropped {
			k.cancel()
		}
		m.deadlines.mu.Lock()
		if n := len(m.deadlines.heap); n != len(kept) {
			t.Errorf("%d calls wait for their deadline, want %d", n, len(kept))
		}
		m.deadlines.mu.Unlock()
		for at := start; at.Before(start.Add(5100 * time.Millisecond)); at = at.Add(7 * time.Millisecond) {
			time.Sleep(time.Until(at))
			synctest.Wait()
			now := time.Now()
			for _, k := range kept {
				if due := !k.deadline.After(now); k.done.Load() != due {
					t.Fatalf("at %v a call due at %v: done %v", now.Sub(start), k.deadline.Sub(start), k.done.Load())
				}
			}
		}
		m.deadlines.mu.Lock()
		defer m.deadlines.mu.Unlock()
		if n := len(m.deadlines.heap); n != 0 || !m.deadlines.armed.IsZero() {
			t.Errorf("%d calls are left, armed for %v", n, m.deadlines.armed)
		}
	})
}
