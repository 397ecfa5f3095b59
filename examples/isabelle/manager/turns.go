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

// wait returns when it is the turn of a command in the session, which lasts until
// done is called. Whenever something changes while it waits, it says how many go
// before.
func (t *turns) wait(ctx context.Context, session string, before func(n int)) (done func(), err error) {
	me := &turn{session: session, moved: make(chan struct{}, 1)}
	t.mu.Lock()
	t.queue = append(t.queue, me)
	t.next()
	last := -1
	for {
		if me.come {
			t.mu.Unlock()
			return sync.OnceFunc(func() { t.done(session) }), nil
		}
		place := slices.Index(t.queue, me)
		t.mu.Unlock()
		if place != last {
			before(place)
			last = place
		}
		select {
		case <-me.moved:
			t.mu.Lock()
		case <-ctx.Done():
			t.mu.Lock()
			if me.come { // at the last moment, and in vain
				t.mu.Unlock()
				t.done(session)
				return nil, ctx.Err()
			}
			t.queue = slices.DeleteFunc(t.queue, func(x *turn) bool { return x == me })
			t.next()
			t.mu.Unlock()
			return nil, ctx.Err()
		}
	}
}

func (t *turns) done(session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, session)
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
