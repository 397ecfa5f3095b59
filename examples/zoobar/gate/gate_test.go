package gate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cofferdam/examples/zoobar/gate"
)

var narrow = gate.Limits{Places: 2, PlacesPerKey: 1, Queue: 3, QueuePerKey: 2, Patience: time.Second}

func enter(t *testing.T, g *gate.Gate, key string) (leave func()) {
	t.Helper()
	leave, err := g.Enter(t.Context(), key)
	if err != nil {
		t.Fatalf("Enter(%q) = %v", key, err)
	}
	return leave
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(narrow)
		leave := enter(t, g, "a")
		begun := time.Now()
		if _, err := g.Enter(t.Context(), "a"); !errors.Is(err, gate.ErrPatience) {
			t.Errorf("Enter of a key inside = %v, want ErrPatience", err)
		}
		if waited := time.Since(begun); waited != time.Second {
			t.Errorf("waited %v, want 1s", waited)
		}
		enter(t, g, "b")() // another key is not held up
		leave()
		enter(t, g, "a")()
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(narrow)
		leaveA, leaveB := enter(t, g, "a"), enter(t, g, "b")
		var order []string
		var wg sync.WaitGroup
		wait := func(key string) {
			wg.Go(func() {
				leave := enter(t, g, key)
				order = append(order, key)
				leave()
			})
			synctest.Wait()
		}
		wait("a")
		wait("a")
		if _, err := g.Enter(t.Context(), "a"); !errors.Is(err, gate.ErrFull) {
			t.Errorf("third waiter of one key = %v, want ErrFull", err)
		}
		wait("c")
		if _, err := g.Enter(t.Context(), "d"); !errors.Is(err, gate.ErrFull) {
			t.Errorf("fourth waiter = %v, want ErrFull", err)
		}
		leaveB() // c enters, past those who wait for a
		synctest.Wait()
		leaveA()
		wg.Wait()
		if got := fmt.Sprint(order); got != "[c a a]" {
			t.Errorf("entered in the order %s, want [c a a]", got)
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	g := gate.New(narrow)
	defer enter(t, g, "a")()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Enter(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Enter = %v, want context.Canceled", err)
	}
}

func TestNeverMoreInside(t *testing.T) {
	limits := gate.Limits{Places: 3, PlacesPerKey: 2, Queue: 100, QueuePerKey: 100, Patience: time.Minute}
	g := gate.New(limits)
	var inside, most atomic.Int64
	var perKey [4]atomic.Int64
	var wg sync.WaitGroup
	for i := range 80 {
		wg.Go(func() {
			key := i % len(perKey)
			leave, err := g.Enter(t.Context(), fmt.Sprint(key))
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if n := perKey[key].Add(1); n > 2 {
				t.Errorf("%d inside with one key", n)
			}
			time.Sleep(time.Millisecond)
			perKey[key].Add(-1)
			inside.Add(-1)
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d inside at once, want at most 3", most.Load())
	}
}
