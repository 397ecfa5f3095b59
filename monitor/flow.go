package monitor

import (
	"errors"
	"fmt"
	"slices"
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

	mu      sync.Mutex // see the package for the order
	ended   bool
	handles map[uint64]object
	last    uint64   // the last handle given
	first   []uint64 // those that e started with; fixed
	lasting map[*lasting]struct{}
	power

	mailboxes int                  // that it has made and owns
	made      uint64               // that it has ever made
	postings  map[posting]struct{} // that are recorded
	posts     *limit
}

func (f *flow) start(by Flow, revocations *atomic.Uint64) {
	f.state.Store(&by.State)
	f.container = by.Label
	f.handles = make(map[uint64]object)
	f.lasting = make(map[*lasting]struct{})
	f.power = newPower(by.Owns, revocations)
	f.posts = newLimit(Rate{Amount: postsEach, Per: time.Second, Burst: postsEach}, "posts", "")
}

// at is the label and clearance that e has now.
func (e *Env) at() guard.State { return *e.flow.state.Load() }

// mayName tells whether e owns the privileges that it names.
func (e *Env) mayName(p label.Privileges) error {
	if p == (label.Privileges{}) {
		return nil
	}
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	return e.flow.mayName(p)
}

// refused is a refusal of class A that is not about a flow.
func refused(format string, args ...any) error {
	return wire.Error{Code: wire.Label, Message: fmt.Sprintf(format, args...)}
}

// lasting is something of an environment that goes on after it was decided on: a
// connection, a call, a mount. It holds at some labels and not at others, and as
// long as the privileges that it is exercised with are owned.
type lasting struct {
	name  string // for whoever is refused because of it
	with  label.Privileges
	holds func(guard.State) error

	// cut ends it, as of before the change; nil if it cannot be cut. It is called
	// once at most and without a lock held, so it may come just after release.
	cut  func()
	soft bool // it is cut without having to be asked for
}

// lasts books l if it holds now. Its owner must call release.
func (f *flow) lasts(l *lasting) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return wire.ErrUnavailable
	}
	if err := f.mayName(l.with); err != nil {
		return err
	}
	if err := l.holds(*f.state.Load()); err != nil {
		return err
	}
	f.book(l)
	return nil
}

func (f *flow) book(l *lasting) {
	f.lasting[l] = struct{}{}
	if l.with != (label.Privileges{}) {
		f.resting.Add(1)
	}
}

func (f *flow) release(l *lasting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strike(l)
}

func (f *flow) strike(l *lasting) {
	if _, booked := f.lasting[l]; !booked {
		return
	}
	delete(f.lasting, l)
	if l.with != (label.Privileges{}) {
		f.resting.Add(-1)
	}
}

// change makes of the state of e what next says, if all that lasts holds there
// too. What does not is named, or with force cut, before the change: so the other
// side learns of it what it could have learnt anyhow, and nothing after.
func (e *Env) change(force bool, next func(guard.State) (guard.State, error)) (guard.State, error) {
	for {
		to, cuts, err := e.flow.change(force, next)
		if err != nil || len(cuts) == 0 {
			return to, err
		}
		for _, l := range cuts {
			l.cut()
		}
	}
}

// change does it if there is nothing to be cut first.
func (f *flow) change(force bool, next func(guard.State) (guard.State, error)) (guard.State, []*lasting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Two requests of one environment at a time must not both start from the old state.
	from := *f.state.Load()
	to, err := next(from)
	if err != nil || to == from {
		return from, nil, err
	}
	var names []string
	var cuts []*lasting
	for l := range f.lasting {
		if l.holds(to) == nil {
			continue
		}
		if l.cut != nil && (force || l.soft) {
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
		slices.Sort(names)
		if len(names) > maxNamed {
			names = append(names[:maxNamed], fmt.Sprintf("and %d more", len(names)-maxNamed))
		}
		return from, nil, refused("at %s these would have to be cut: %s", to.Label, strings.Join(names, ", "))
	}
	if len(cuts) > 0 {
		for _, l := range cuts {
			f.strike(l)
		}
		return from, cuts, nil
	}
	f.state.Store(&to)
	return to, nil, nil
}

// maxNamed is how many things one refusal names.
const maxNamed = 8

// read is for an object with the label t that e wants to read: it must be able
// to, or, with ModeRaise, is raised until it is, which is recorded as any raise.
func (e *Env) read(a *wire.Ask, t label.Label) error {
	if a.Mode&wire.ModeRaise == 0 {
		return e.at().Read(a.Privileges(), t)
	}
	before := e.at()
	labels := e.labels(a, t)
	to, err := e.change(a.Mode&wire.ModeForce != 0, func(s guard.State) (guard.State, error) { return s.Taint(a.Privileges(), t) })
	if err != nil || to == before {
		return err
	}
	if labels != nil {
		labels.Object = to.Label.String()
	}
	return e.decided(opRaise, "", labels, nil)
}

// decided records what became of an operation on labels and returns what its
// asker is told: a refusal whole if it is of labels that the asker knows, and of all
// else only the code. What takes neither a grant nor a privilege is written to the
// log at the pace of the ration.
func (e *Env) decided(o op, object string, labels *audit.Labels, err error) error {
	v := Verdict{Allowed: err == nil, Rule: "labels"}
	if err != nil {
		v.Rule = err.Error()
	}
	err = e.concluded(o, object, v, labels, err)
	if v.Allowed && o.kind == "" && (labels == nil || labels.Out == "" && labels.In == "") {
		time.Sleep(e.records.take(time.Now()))
	}
	return err
}

// concluded is the end of decided, for a verdict that another rule may have led to.
func (e *Env) concluded(o op, object string, v Verdict, labels *audit.Labels, err error) error {
	logErr := e.m.noteLabels(e, o, object, 0, v, "", labels)
	if logErr != nil {
		time.Sleep(e.records.take(time.Now()))
	}
	if err == nil {
		err = logErr
	}
	return err
}

// answerOf is what the asker of an operation on labels gets.
func answerOf(told *wire.Told, err error) (wire.Code, []byte) {
	if err != nil {
		return refusalOf(err)
	}
	if body := told.Append(nil); len(body) <= wire.MaxBody {
		return wire.OK, body
	}
	return wire.TooLarge, nil
}

// refusalOf is that of an error.
func refusalOf(err error) (wire.Code, []byte) {
	var refusal *guard.Refusal
	var coded wire.Error
	switch {
	case errors.As(err, &refusal), errors.Is(err, label.ErrBound):
		return wire.Label, errorText(err)
	case errors.As(err, &coded):
		if coded.Code == wire.Label || coded.Code == wire.Malformed || coded.Code == wire.TooLarge {
			return coded.Code, errorText(errors.New(coded.Message))
		}
		return coded.Code, nil
	}
	return wire.Denied, nil
}
