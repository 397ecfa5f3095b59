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
		var all []*conn
		for n := range uint64(40) {
			from := &conn{env: &Env{m: m, number: n}}
			from.env.flow.start(Flow{}, &m.revocations)
			all = append(all, from)
		}
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		var kept, dropped []*call
		for i := range 1000 {
			k := &call{num: uint64(i), from: all[i%len(all)], method: m.policy.Load().services["bank"].methods["balance"]}
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
		if n, _ := m.due(); n != len(kept) {
			t.Errorf("%d calls wait for their deadline, want %d", n, len(kept))
		}
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
		if n, armed := m.due(); n != 0 || armed {
			t.Errorf("%d calls are left, a timer runs: %v", n, armed)
		}
	})
}

// due is how many have a deadline to come, and whether a timer runs.
func (m *Monitor) due() (n int, armed bool) {
	for i := range m.deadlines {
		d := &m.deadlines[i]
		d.mu.Lock()
		n, armed = n+len(d.heap), armed || !d.armed.IsZero()
		d.mu.Unlock()
	}
	return n, armed
}
