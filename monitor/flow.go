package monitor

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// Flow is what labels say of an environment when it starts. The zero value is
// that of one without labels: public, and with no power over what is not.
type Flow struct {
	guard.State
	Owns label.Formula
}

// flow is that side of an environment.
//
// Its label changes only by its own request, and nothing depends on a label that
// changed meanwhile: who lasts (see lasting) is asked under mu before it does.
type flow struct {
	state     atomic.Pointer[guard.State]
	container label.Label // of what it makes; fixed
	kept      store       // what its handles stand for, in bytes

	mu      sync.Mutex // taken last, but for that of one object; alone
	ended   bool
	owns    label.Formula // what the manifest gave it, and what others did
	handles map[uint64]object
	last    uint64   // the last handle given
	first   []uint64 // those that e started with; fixed
	lasting map[*lasting]struct{}
}

func (f *flow) start(by Flow) {
	f.state.Store(&by.State)
	f.container = by.Label
	f.owns = by.Owns
	f.handles = make(map[uint64]object)
	f.lasting = make(map[*lasting]struct{})
}

// at is the label and clearance that e has now.
func (e *Env) at() guard.State { return *e.flow.state.Load() }

// mayName tells whether e owns the privileges that it names.
func (e *Env) mayName(p label.Privileges) error {
	if p == (label.Privileges{}) {
		return nil
	}
	e.flow.mu.Lock()
	owns := e.flow.owns
	e.flow.mu.Unlock()
	for _, f := range []label.Formula{p.Out, p.In} {
		if !owns.Implies(f) {
			return refused("you own %s, which does not imply %s", owns, f)
		}
	}
	return nil
}

// refused is a refusal of class A that is not about a flow.
func refused(format string, args ...any) error {
	return wire.Error{Code: wire.Label, Message: fmt.Sprintf(format, args...)}
}

// lasting is something of an environment that goes on after it was decided on: a
// connection, a call, a mount. It holds at some labels and not at others.
type lasting struct {
	name  string // for whoever is refused because of it
	holds func(guard.State) error
	cut   func() // ends it, as of before the change; nil if it cannot be cut
}

// lasts books l if it holds now. Its owner must call release.
func (f *flow) lasts(l *lasting) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return wire.ErrUnavailable
	}
	if err := l.holds(*f.state.Load()); err != nil {
		return err
	}
	f.lasting[l] = struct{}{}
	return nil
}

func (f *flow) release(l *lasting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lasting, l)
}

// change makes to the state of e if all that lasts holds there too. What does not
// is named, or with force cut, before the change: so the other side learns of it
// what it could have learnt anyhow, and nothing after.
func (e *Env) change(to guard.State, force bool) error {
	f := &e.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	if to == *f.state.Load() {
		return nil
	}
	var names []string
	var cuts []*lasting
	for l := range f.lasting {
		if l.holds(to) == nil {
			continue
		}
		if force && l.cut != nil {
			cuts = append(cuts, l)
			continue
		}
		name := l.name
		if l.cut == nil {
			name += " (cannot be cut: start another environment at that label)"
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		if len(names) > maxNamed {
			names = append(names[:maxNamed], fmt.Sprintf("and %d more", len(names)-maxNamed))
		}
		return refused("at %s these would have to be cut: %s", to.Label, strings.Join(names, ", "))
	}
	for _, l := range cuts {
		delete(f.lasting, l)
		l.cut()
	}
	f.state.Store(&to)
	return nil
}

// maxNamed is how many things one refusal names.
const maxNamed = 8

// read is for an object with the label t that e wants to read: it must be able
// to, or, with ModeRaise, is raised until it is.
func (e *Env) read(a *wire.Ask, t label.Label) error {
	if a.Mode&wire.ModeRaise == 0 {
		return e.at().Read(a.Privileges(), t)
	}
	to, err := e.at().Taint(a.Privileges(), t)
	if err != nil {
		return err
	}
	return e.change(to, a.Mode&wire.ModeForce != 0)
}

// decided records what became of an operation on labels and returns what its
// asker is told: a refusal whole if it is of labels that the asker knows, and of all
// else only the code.
func (e *Env) decided(o op, object string, labels *audit.Labels, err error) error {
	v := Verdict{Allowed: err == nil, Rule: "labels"}
	if err != nil {
		v.Rule = err.Error()
	}
	if logErr := e.m.noteLabels(e, o, object, 0, v, "", labels); logErr != nil {
		time.Sleep(e.records.take(time.Now()))
		if v.Allowed {
			return logErr
		}
	}
	return err
}

// answerOf is what the asker of an operation on labels gets.
func answerOf(told *wire.Told, err error) (wire.Code, []byte) {
	var refusal *guard.Refusal
	var coded wire.Error
	switch {
	case err == nil:
		if body := told.Append(nil); len(body) <= wire.MaxBody {
			return wire.OK, body
		}
		return wire.TooLarge, nil
	case errors.As(err, &refusal), errors.Is(err, label.ErrBound):
		return wire.Label, errorText(err)
	case errors.As(err, &coded):
		if coded.Code == wire.Label {
			return wire.Label, errorText(errors.New(coded.Message))
		}
		return coded.Code, nil
	}
	return wire.Denied, nil
}
