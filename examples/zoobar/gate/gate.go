// Package gate bounds how much happens at once, and how long anybody waits.
//
// A [Gate] has places. Whoever enters names a key (a user, say); one key can
// fill only its own share of the places and of the queue, so that it holds up
// nobody else. There is no wait without an end.
//
// Trusted: no. It keeps one service responsive.
package gate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrFull is returned to whom there is no room to wait.
var ErrFull = errors.New("too many requests at once; try again")

// ErrPatience is returned to who has waited long enough.
var ErrPatience = errors.New("waited too long for a place; try again")

// Limits of a gate. All must be at least 1, Patience positive.
type Limits struct {
	Places       int           // inside at once
	PlacesPerKey int           // of these, with the same key
	Queue        int           // waiting at once
	QueuePerKey  int           // of these, with the same key
	Patience     time.Duration // longest wait
}

// Gate lets a bounded number pass, first come first served among those that
// could enter. It is safe for concurrent use.
type Gate struct {
	limits Limits

	mu     sync.Mutex
	inside map[string]int // places taken, by key
	taken  int            // their sum
	queue  []*ticket      // none of them could enter now
}

type ticket struct {
	key   string
	ready chan struct{} // closed, under mu, when the place is theirs
}

// New returns an open gate.
func New(limits Limits) *Gate {
	return &Gate{limits: limits, inside: make(map[string]int)}
}

// Enter takes a place for key, waiting for one if need be. The caller must call
// leave exactly once. It returns [ErrFull] at once if the queue is full,
// [ErrPatience] after the longest wait, or the error of ctx.
func (g *Gate) Enter(ctx context.Context, key string) (leave func(), err error) {
	leave = func() { g.leave(key) }

	g.mu.Lock()
	if g.free(key) {
		g.take(key)
		g.mu.Unlock()
		return leave, nil
	}
	if len(g.queue) >= g.limits.Queue || g.waiting(key) >= g.limits.QueuePerKey {
		g.mu.Unlock()
		return nil, ErrFull
	}
	t := &ticket{key: key, ready: make(chan struct{})}
	g.queue = append(g.queue, t)
	g.mu.Unlock()

	patience := time.NewTimer(g.limits.Patience)
	defer patience.Stop()
	select {
	case <-t.ready:
		return leave, nil
	case <-patience.C:
		err = ErrPatience
	case <-ctx.Done():
		err = ctx.Err()
	}
	if g.giveUp(t) {
		return nil, err
	}
	return leave, nil // the place came at the same moment
}

func (g *Gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	if g.inside[key]--; g.inside[key] == 0 {
		delete(g.inside, key)
	}
	for i, t := range g.queue { // one place became free: at most one can enter
		if g.free(t.key) {
			g.queue = slices.Delete(g.queue, i, i+1)
			g.take(t.key)
			close(t.ready)
			return
		}
	}
}

// giveUp tells whether t was still waiting, and takes it out of the queue.
func (g *Gate) giveUp(t *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, t)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}

func (g *Gate) free(key string) bool {
	return g.taken < g.limits.Places && g.inside[key] < g.limits.PlacesPerKey
}

func (g *Gate) take(key string) {
	g.taken++
	g.inside[key]++
}

func (g *Gate) waiting(key string) int {
	n := 0
	for _, t := range g.queue {
		if t.key == key {
			n++
		}
	}
	return n
}
