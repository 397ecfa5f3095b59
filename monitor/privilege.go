package monitor

import (
	"maps"
	"slices"
	"sync/atomic"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// Bounds of what an environment owns by handles.
const (
	MaxPrivileges = 64 // handles of privileges that others gave it
	maxPassed     = 64 // times that a privilege is passed on by delegating of it
)

// privilege is one that was delegated. Whoever has a handle of it owns what it says;
// nobody does once it has been revoked, or anything that it was made of has.
//
// It lasts as long as who delegated it has a handle of it: no power outlives
// whoever could take it back. To take it back is to tell those who have it, so it is
// also at an end when that would be told lower than it may: when the label of who
// delegated it rises above the one that it did so at.
type privilege struct {
	tie    leash
	what   label.Formula
	passed int // how often, at most
	last   *lasting

	parents atomic.Pointer[[]*privilege] // what it takes beside the manifest
	revoked atomic.Bool
	aliveAt atomic.Uint64 // the number of revocations for which it was found alive
}

func (*privilege) kind() string    { return "privilege" }
func (*privilege) size() int       { return 0 }
func (p *privilege) leash() *leash { return &p.tie }

func (p *privilege) gone(by *Env) {
	switch {
	case &by.flow != p.tie.by:
		by.cutUnowned()
	case p.tie.slack():
		by.takeBack(p)
	}
}

// alive tells whether p gives anything after so many revocations. It is asked for
// at each use, so that a revocation need not find those whom it concerns: how many
// they are, nobody can tell from how long it takes.
func (p *privilege) alive(revocations uint64) bool {
	if p.revoked.Load() {
		return false
	}
	if p.aliveAt.Load() == revocations {
		return true
	}
	if parents := p.parents.Load(); parents != nil {
		for _, parent := range *parents {
			if !parent.alive(revocations) {
				p.end()
				return false
			}
		}
	}
	p.aliveAt.Store(revocations)
	return true
}

// end is for one that is dead: it keeps nothing of what it was made of.
func (p *privilege) end() {
	p.revoked.Store(true)
	p.parents.Store(nil)
}

// power is what a flow owns, guarded by its mu.
type power struct {
	given       label.Formula // by the manifest; fixed
	owns        label.Formula // that, and what privileges give; see authority
	asOf        uint64        // the number of revocations for which owns is true
	revocations *atomic.Uint64
	privileges  map[uint64]*privilege // by handle: those that others gave

	resting atomic.Int64 // how much of what lasts is done with privileges
}

func newPower(given label.Formula, revocations *atomic.Uint64) power {
	return power{given: given, owns: given, revocations: revocations, privileges: make(map[uint64]*privilege)}
}

// authority is what f owns now.
func (f *flow) authority() label.Formula {
	if now := f.revocations.Load(); f.asOf != now && len(f.privileges) > 0 {
		f.reckon(now)
	}
	return f.owns
}

func (f *flow) reckon(now uint64) {
	f.owns, f.asOf = f.given, now
	for _, p := range f.privileges {
		if p.alive(now) {
			f.owns = f.owns.And(p.what)
		}
	}
}

// gain adds what p gives to what f owns. It reports false if that would be too
// much. To who delegated it p gives nothing.
func (f *flow) gain(h uint64, p *privilege) bool {
	if p.tie.by == f {
		return true
	}
	owns := f.authority()
	if p.alive(f.revocations.Load()) {
		owns = owns.And(p.what)
	}
	if len(f.privileges) >= MaxPrivileges || len(owns.Clauses()) > label.MaxClauses {
		return false
	}
	f.owns, f.privileges[h] = owns, p
	return true
}

// lose takes away what the handle h gave, if it is one of a privilege.
func (f *flow) lose(h uint64) {
	if f.privileges[h] != nil {
		delete(f.privileges, h)
		f.reckon(f.revocations.Load())
	}
}

// mayName tells whether f owns the privileges that it names.
func (f *flow) mayName(p label.Privileges) error {
	for _, want := range []label.Formula{p.Out, p.In} {
		if owns := f.authority(); !owns.Implies(want) {
			return refused("you own %s, which does not imply %s", owns, want)
		}
	}
	return nil
}

// rest is what of q takes privileges that others gave: a set that together with
// what the manifest gave implies q. If there is none, f does not own q.
func (f *flow) rest(q label.Formula) ([]*privilege, error) {
	missing := without(q, f.given)
	var parents []*privilege
	now := f.revocations.Load()
	for _, h := range slices.Sorted(maps.Keys(f.privileges)) {
		p := f.privileges[h]
		if missing == label.True {
			break
		}
		if less := without(missing, p.what); less != missing && p.alive(now) {
			missing = less
			parents = append(parents, p)
		}
	}
	if missing != label.True {
		return nil, refused("you own %s, which does not imply %s", f.authority(), q)
	}
	return parents, nil
}

// without is what of q is left for others than who has p. A clause that several
// privileges imply together is implied by one of them alone.
func without(q, p label.Formula) label.Formula {
	return label.New(q, label.True).Missing(label.Privileges{Out: p}, label.Public).Out
}

// newPrivilege makes a privilege of what e owns, for those who are at a label that
// at flows to, with being what lets e tell them that it is taken back.
func (e *Env) newPrivilege(q label.Formula, with label.Privileges, at label.Label) (*privilege, error) {
	f := &e.flow
	f.mu.Lock()
	parents, err := f.rest(q)
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	p := &privilege{what: q}
	p.tie.by = f
	p.parents.Store(&parents)
	for _, parent := range parents {
		p.passed = max(p.passed, parent.passed+1)
	}
	if p.passed > maxPassed {
		return nil, refused("%s was passed on %d times before it came to you", q, maxPassed)
	}
	p.last = &lasting{
		name:  "the privilege " + q.String() + " that you delegated",
		with:  with,
		holds: func(s guard.State) error { return s.Kill(with, at) },
		cut:   func() { e.takeBack(p) },
	}
	return p, f.lasts(p.last)
}

// takeBack revokes p, which e delegated.
func (e *Env) takeBack(p *privilege) {
	e.flow.release(p.last)
	p.end()
	e.m.revocations.Add(1)
	e.m.cutRevoked()
}

// cutRevoked does so for all environments. One goroutine does it for all that is
// revoked meanwhile.
func (m *Monitor) cutRevoked() {
	if m.unchecked.Add(1) > 1 {
		return
	}
	go func() {
		for n := int64(1); ; {
			m.mu.Lock()
			envs := slices.Collect(maps.Values(m.envs))
			m.mu.Unlock()
			for _, e := range envs {
				e.cutUnowned()
			}
			if m.unchecked.CompareAndSwap(n, 0) {
				return
			}
			n = m.unchecked.Load()
		}
	}()
}

// cutUnowned has cut what e does with a privilege that it does not own any more.
func (e *Env) cutUnowned() {
	f := &e.flow
	if f.resting.Load() == 0 {
		return
	}
	var cuts []*lasting
	f.mu.Lock()
	for l := range f.lasting {
		if l.cut != nil && f.mayName(l.with) != nil {
			f.strike(l)
			cuts = append(cuts, l)
		}
	}
	f.mu.Unlock()
	for _, l := range cuts {
		l.cut()
	}
}

// delegate makes a privilege of what e owns.
func (e *Env) delegate(a *wire.Ask) (wire.Told, error) {
	at := e.at().Label
	p, err := e.newPrivilege(a.Privilege, a.Privileges(), at)
	if err := e.decided(opDelegate, a.Privilege.String(), e.labels(a, at), err); err != nil {
		if p != nil {
			e.takeBack(p)
		}
		return wire.Told{}, err
	}
	h, err := e.holdObject(p)
	if err != nil {
		e.takeBack(p)
		return wire.Told{}, err
	}
	return wire.Told{Handles: []uint64{h}}, nil
}

// revoke takes a privilege back from all who have it. Whether anybody had it, the
// asker is not told, nor could it tell from the time that it takes.
func (e *Env) revoke(a *wire.Ask) (wire.Told, error) {
	p, err := held[*privilege](e, a.Handles[0])
	if err == nil && p.tie.by != &e.flow {
		err = wire.ErrDenied
	}
	object := "privilege"
	if err == nil {
		object = p.what.String()
	}
	if err := e.decided(opRevoke, object, nil, err); err != nil {
		return wire.Told{}, err
	}
	e.takeBack(p)
	return e.dropHandles(a)
}
