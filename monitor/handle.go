package monitor

import (
	"fmt"

	"cofferdam/wire"
)

// Bounds of what one environment holds.
const (
	MaxHandles  = 4096    // of all kinds
	handleBytes = 256     // what one of them costs beside what it stands for
	maxValue    = 1 << 20 // bytes of a labeled value or a capsule; no frame has more
)

// object is what a handle stands for. It is shared by all who have a handle of it.
type object interface {
	kind() string
	size() int    // bytes, counted against each of its holders, who may learn it thereby
	gone(by *Env) // one of its holders has dropped it, or ended
}

// leash is what an environment has of something that it has given away or
// started: when it has no handle of it any more, that ends.
type leash struct {
	by    *flow // fixed
	count int   // handles that by has; guarded by by.mu
}

// tied is an object that has one.
type tied interface{ leash() *leash }

// held counts a handle of f in or out. The caller holds f.mu.
func (l *leash) held(f *flow, n int) {
	if f == l.by {
		l.count += n
	}
}

// slack tells whether its owner has let go.
func (l *leash) slack() bool {
	l.by.mu.Lock()
	defer l.by.mu.Unlock()
	return l.count == 0
}

// traveller is an object whose holder cannot give it away as it is.
type traveller interface {
	object
	travels() object // what another gets instead
}

// holdObject gives e a handle of o. It fails if that would be too many, which depends on
// nothing but what e has already.
func (e *Env) holdObject(o object) (uint64, error) {
	f := &e.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hold(o)
}

// holdObjects gives e handles of all, or of none of them.
func (e *Env) holdObjects(all []object) ([]uint64, error) {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	return e.flow.holdAll(all, nil)
}

// holdAll is holdObjects for who holds mu. What cannot be held for the reason
// but is left out, and 0 in its place.
func (f *flow) holdAll(all []object, but error) ([]uint64, error) {
	if len(all) == 0 {
		return nil, nil
	}
	handles := make([]uint64, 0, len(all))
	for _, o := range all {
		h, err := f.hold(o)
		if err != nil && err != but {
			for _, h := range handles {
				f.forget(h)
			}
			return nil, err
		}
		handles = append(handles, h)
	}
	return handles, nil
}

// errOwnsEnough is for a privilege that would be too much beside what is owned.
var errOwnsEnough = fmt.Errorf("a privilege too much: %w", wire.ErrBusy)

func (f *flow) hold(o object) (uint64, error) {
	switch {
	case f.ended:
		return 0, wire.ErrUnavailable
	case len(f.handles) >= MaxHandles || !f.kept.take(o.size()+handleBytes):
		return 0, wire.ErrBusy
	}
	f.last++
	if p, ok := o.(*privilege); ok && !f.gain(f.last, p) {
		f.kept.give(o.size() + handleBytes)
		return 0, errOwnsEnough
	}
	if t, ok := o.(tied); ok {
		t.leash().held(f, 1)
	}
	f.handles[f.last] = o
	return f.last, nil
}

// forget takes a handle out of the table. The caller holds mu, and tells the
// object afterwards, unless nobody knew of the handle yet.
func (f *flow) forget(h uint64) object {
	o := f.handles[h]
	if o != nil {
		delete(f.handles, h)
		f.kept.give(o.size() + handleBytes)
		f.lose(h)
		if t, ok := o.(tied); ok {
			t.leash().held(f, -1)
		}
	}
	return o
}

// unhold takes handles out of the table again that nobody has heard of.
func (e *Env) unhold(handles []uint64) {
	if len(handles) == 0 {
		return
	}
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	for _, h := range handles {
		e.flow.forget(h)
	}
}

// held is what a handle of e stands for. One that e does not have and one of
// something else are the same error.
func held[T object](e *Env, h uint64) (T, error) {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	o, ok := e.flow.handles[h].(T)
	if !ok {
		return o, wire.ErrDenied
	}
	return o, nil
}

// objects are what another gets for these handles of e: all of them, or it is an
// error.
func (e *Env) objects(handles []uint64) ([]object, error) {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	all := make([]object, len(handles))
	for i, h := range handles {
		if all[i] = e.flow.handles[h]; all[i] == nil {
			return nil, wire.ErrDenied
		}
		if t, ok := all[i].(traveller); ok {
			all[i] = t.travels()
		}
	}
	return all, nil
}

// dropHandles gives handles up. Those that e does not have are none of its business.
func (e *Env) dropHandles(a *wire.Ask) (wire.Told, error) {
	for _, h := range a.Handles {
		e.flow.mu.Lock()
		o := e.flow.forget(h)
		e.flow.mu.Unlock()
		if o != nil {
			o.gone(e)
		}
	}
	return wire.Told{}, nil
}

// endFlow gives up all that e holds.
func (e *Env) endFlow() {
	f := &e.flow
	f.mu.Lock()
	f.ended = true
	all := make([]object, 0, len(f.handles))
	for h := range f.handles {
		all = append(all, f.forget(h))
	}
	f.mu.Unlock()
	for _, o := range all {
		o.gone(e)
	}
}
