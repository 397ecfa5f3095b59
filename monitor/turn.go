package monitor

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"cofferdam/label"
	"cofferdam/wire"
)

// Turn is a request of an environment for an instance that may have to be started first, and so may have
// to wait until others have ended. Whoever starts it finds it in the context, see [TurnOf].
type Turn struct {
	by        *Env
	name      string // what is asked for, as in a grant
	principal string // for whom
	number    uint64 // in the order of coming, of by's

	mu    sync.Mutex // taken last, but for those of whoever place asks
	place func(label.Label) (n, of int)
}

// Who is whom the request counts for where turns are given out: whom its environment runs for or,
// without one, the service and then for whom that says that it asks. It is known from
// the environment's socket. A nil t and one that was not made here are nobody's.
func (t *Turn) Who() (who, within string) {
	switch {
	case t == nil || t.by == nil:
		return "", ""
	case t.by.id.Principal != "":
		return "principal " + t.by.id.Principal, t.by.id.Service
	}
	return "service " + t.by.id.Service, t.principal
}

// Waits says how it is known where in a queue the request stands, and of how many, of those
// that may be known at a label; nil that it does not wait any more.
func (t *Turn) Waits(place func(label.Label) (n, of int)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.place = place
}

// Place is where it stands, 0 if it does not wait.
func (t *Turn) Place(at label.Label) (n, of int) {
	t.mu.Lock()
	place := t.place
	t.mu.Unlock()
	if place == nil {
		return 0, 0
	}
	return place(at)
}

// turns are those of an environment.
type turns struct {
	mu   sync.Mutex
	last uint64
	all  map[*Turn]struct{}
}

type turnKey struct{}

// TurnOf is the request that an instance is started for, nil if it is for none.
func TurnOf(ctx context.Context) *Turn {
	t, _ := ctx.Value(turnKey{}).(*Turn)
	return t
}

// WithTurn is a context that says that an instance is started for t.
func WithTurn(ctx context.Context, t *Turn) context.Context {
	return context.WithValue(ctx, turnKey{}, t)
}

// turn begins a request, which ends when done is called.
func (e *Env) turn(ctx context.Context, name, principal string) (with context.Context, done func()) {
	t := &Turn{by: e, name: name, principal: principal}
	q := &e.turns
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all == nil {
		q.all = make(map[*Turn]struct{})
	}
	q.last++
	t.number = q.last
	q.all[t] = struct{}{}
	return WithTurn(ctx, t), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.all, t)
	}
}

// tellTurns says which requests of e wait for others to end, and where they stand: among those
// that e may know of.
func (e *Env) tellTurns() []wire.Turn {
	e.turns.mu.Lock()
	all := make([]*Turn, 0, len(e.turns.all))
	for t := range e.turns.all {
		all = append(all, t)
	}
	e.turns.mu.Unlock()
	slices.SortFunc(all, func(a, b *Turn) int { return cmp.Compare(a.number, b.number) })
	var told []wire.Turn
	for _, t := range all {
		if len(told) == wire.MaxTurns {
			break // each place is asked for under a lock that others need
		}
		if n, of := t.Place(e.at().Label); n > 0 {
			told = append(told, wire.Turn{Name: t.name, Principal: t.principal, Place: n, Of: of})
		}
	}
	return told
}
