package manager

import (
	"context"
	"slices"
	"sync"
	"time"
)

// turns lets the use_theories of one tenant begin: one at a time in each session,
// so many within a time, and otherwise first come first served.
type turns struct {
	now   func() time.Time
	each  time.Duration
	burst int

	mu      sync.Mutex
	queue   []*turn
	busy    map[string]bool // sessions
	full    time.Time       // when all of the burst can be had again
	waiting bool            // a timer runs, for the next one
}

// turn is a place in the queue.
type turn struct {
	session string
	moved   chan struct{} // has room for one: its place has changed, or its turn has come
	come    bool
}

func newTurns(each time.Duration, burst int, now func() time.Time) *turns {
	return &turns{now: now, each: each, burst: burst, busy: make(map[string]bool)}
}

// stand takes the next place in the queue, for a command in the session. Whoever has it leaves.
func (t *turns) stand(session string) *turn {
	me := &turn{session: session, moved: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, me)
	t.next()
	return me
}

// wait returns when the turn of me has come, which lasts until it leaves. Whenever something
// changes while it waits, it says how many go before.
func (t *turns) wait(ctx context.Context, me *turn, before func(n int)) error {
	for last := -1; ; {
		t.mu.Lock()
		come, place := me.come, slices.Index(t.queue, me)
		t.mu.Unlock()
		if come {
			return nil
		}
		if place != last {
			before(place)
			last = place
		}
		select {
		case <-me.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave gives up a place, or a turn that has come.
func (t *turns) leave(me *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if me.come {
		delete(t.busy, me.session)
	} else {
		t.queue = slices.DeleteFunc(t.queue, func(x *turn) bool { return x == me })
	}
	t.next()
}

// next lets those begin that may, and tells the others. The caller holds mu.
func (t *turns) next() {
	for i := 0; i < len(t.queue); {
		me, now := t.queue[i], t.now()
		if t.busy[me.session] {
			i++
			continue
		}
		if t.full.Before(now) {
			t.full = now
		}
		// The bucket holds what it would take until full.
		if wait := t.full.Add(t.each).Sub(now) - time.Duration(t.burst)*t.each; wait > 0 {
			t.later(wait)
			break
		}
		t.full = t.full.Add(t.each)
		t.queue = slices.Delete(t.queue, i, i+1)
		t.busy[me.session], me.come = true, true
		me.tell()
	}
	for _, me := range t.queue {
		me.tell()
	}
}

func (me *turn) tell() {
	select {
	case me.moved <- struct{}{}:
	default: // it is about to look anyhow
	}
}

// later calls next after a while, once. The caller holds mu.
func (t *turns) later(wait time.Duration) {
	if t.waiting {
		return
	}
	t.waiting = true
	time.AfterFunc(wait, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting = false
		t.next()
	})
}
