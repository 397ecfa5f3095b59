package monitor

import (
	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// terms are what labels have to do with a call. A call without them is public:
// so is its caller, its endpoint and all that goes with it.
//
// Who may learn what of a call, besides its caller's own mistakes (its grant, its
// bounds, what it names, and the two labels of the endpoint, which it is told
// whole and at once):
//
//	what happens                          who learns        if
//	the call is delivered                 callee            ↓ request ⊑ callee, when it is sent
//	an answer, of whatever code           caller            callee ⊑ₚ answer, when it comes; ↓ answer ⊑ caller
//	it is withdrawn, or the caller ends   callee            caller ⊑ₚ request, when it does; otherwise it
//	                                                        goes on, and nobody hears of its end
//	its deadline passes                   both              always: it was set at the start
//	all servers are full, the queue is    caller            quiet does not hold, and each server ⊑ answer
//	the callee is lost (interrupted)      caller            quiet does not hold, and callee ⊑ answer
//	another is asked in its place then    that one          the same, and callee ⊑ the label that it started at
//	one was not asked, but another        that one          callee ⊑ₚ the label that it started at: it may answer
//	                                                        at others, but is asked no more
//	a program per call fails, prints      caller            quiet does not hold, and the program ⊑ answer;
//	too much, or is not started                             never of a gate
//	the service is broken or stopped      caller            quiet does not hold, and none of its instances
//	                                                        has ended above its label
//
// Here callee ⊑ₚ is with what the callee owns: its answer is an act of its
// program, which was given the privilege to answer. That it is full or lost is
// none, so nothing is released with it. Of what the caller may not learn it sees
// that the deadline passes, and the code Deadline.
type terms struct {
	endpoint guard.Endpoint
	with     label.Privileges // of the caller
	shown    label.Formula
	gives    []object
	inside   Flow // what the service is to the caller, or a program that is started for the call
	key      Key  // of the instance that is to answer, see [service.meets]
	rests    lasting
	trace    wire.Trace // that the caller says it is part of

	// quiet says that the caller may learn nothing of what becomes of the call
	// before it is answered: its requests are not at a label that it can read
	// answers of, or the service is not.
	quiet bool
}

// endpoint is that of the call.
func (k *call) endpoint() guard.Endpoint {
	if k.terms == nil {
		return guard.Endpoint{}
	}
	return k.terms.endpoint
}

func (k *call) with() label.Privileges {
	if k.terms == nil {
		return label.Privileges{}
	}
	return k.terms.with
}

func (k *call) key() Key {
	if k.terms == nil {
		return Key{}
	}
	return k.terms.key
}

// plain tells whether neither the call nor the state of any of these has a label.
func (k *call) plain(all ...*Env) bool {
	if k.terms != nil {
		return false
	}
	for _, e := range all {
		if e.at() != (guard.State{}) {
			return false
		}
	}
	return true
}

// decideTerms is decide for a call that is granted by v, and in which labels may
// have a part. Its error is the caller's to read.
func (k *call) decideTerms(v Verdict, name string, f *wire.Frame) ([]byte, error) {
	e, md := k.from.env, k.method
	var a wire.Ask
	body := f.Body
	if f.Flags != 0 {
		fields, rest, err := wire.CutFields(f.Body)
		if err == nil {
			a, err = wire.ParseAsk(wire.OpCall, fields)
		}
		if err != nil {
			return nil, err
		}
		body = rest
	}
	g := k.has.grants[KindCall][name]
	t := &terms{shown: a.Shown, trace: a.Trace}
	err := t.agree(e, &g, &a, md)
	if err != nil {
		v = Verdict{Rule: v.Rule + ": " + err.Error()}
	} else {
		k.terms, k.num = t, md.calls.Add(1)
	}
	if logErr := e.m.concludeLabels(e, opCall, name, k.num, v, labelsOf(e.at(), t.with, t.endpoint)); err == nil {
		err = logErr
	}
	if err == nil && len(body)+t.fieldBytes() > wire.MaxBody {
		err = wire.ErrTooLarge
	}
	return body, err
}

// agree finds the labels of a call and compares the caller with them.
func (t *terms) agree(e *Env, g *Grant, a *wire.Ask, md *method) (err error) {
	if t.with, err = e.may(g, a.Privileges()); err != nil {
		return err
	}
	if err := e.mayName(label.Privileges{Out: a.Shown}); err != nil {
		return err
	}
	if t.gives, err = e.objects(a.Handles); err != nil {
		return err
	}
	as, key, err := md.of.meets(e.id.Principal, e.at().Label)
	if err != nil {
		return err
	}
	t.inside, t.key = as.Flow, key
	own := as.method(md.Name)
	if gate := own.Gate; gate != nil {
		if err := e.at().Enter(a.Shown, *gate); err != nil {
			return err
		}
		if t.inside.State, err = t.inside.Inside(e.at().Label); err != nil {
			return err
		}
		t.endpoint, t.quiet = guard.Endpoint{Request: t.inside.Label, Answer: gate.Output}, true
		return nil
	}
	t.endpoint = as.endpoint(own)
	t.quiet = quiet(&as, t.endpoint)
	return e.at().Connect(t.with, t.endpoint)
}

// quiet tells whether who may read the answers of an endpoint may know nothing else
// of it: not what becomes of requests, or of the service.
func quiet(as *Service, to guard.Endpoint) bool {
	return !to.Request.FlowsTo(to.Answer) || !as.Flow.Label.FlowsTo(to.Answer)
}

// told is what the callee is told with the call, with handles of its own.
func (t *terms) told(handles []uint64) []byte {
	told := wire.Told{Label: t.endpoint.Request, Shown: t.shown, Handles: handles}
	return told.Append(nil)
}

// fieldBytes is how many bytes that takes of a body.
func (t *terms) fieldBytes() int {
	if fields := t.told(make([]uint64, len(t.gives))); len(fields) > 0 {
		return len(wire.AppendFields(nil, fields))
	}
	return 0
}

// labelsOf is what a record says of the labels of an endpoint. nil if all are public.
func labelsOf(s guard.State, p label.Privileges, e guard.Endpoint) *audit.Labels {
	if s == (guard.State{}) && p == (label.Privileges{}) && e == (guard.Endpoint{}) {
		return nil
	}
	l := &audit.Labels{Subject: s.Label.String(), Clearance: s.Clearance.String(), Object: e.Request.String()}
	if e.Answer != e.Request {
		l.Answer = e.Answer.String()
	}
	if p.Out != label.True {
		l.Out = p.Out.String()
	}
	if p.In != label.True {
		l.In = p.In.String()
	}
	return l
}

// mayAnswer tells whether what e answers to k may reach its caller now.
func (k *call) mayAnswer(e *Env) error {
	caller := k.from.env
	if k.plain(e, caller) {
		return nil
	}
	if err := e.serves(k.endpoint()); err != nil {
		return err
	}
	if err := caller.mayName(k.with()); err != nil {
		return err
	}
	return caller.at().Read(label.Privileges{In: k.with().In}, k.endpoint().Answer)
}

// rest books a call that is made with privileges as one that lasts as long as its
// caller owns them. At which labels it does is asked when something becomes of it.
func (k *call) rest() {
	if k.with() == (label.Privileges{}) {
		return
	}
	k.terms.rests = lasting{
		name:  "call of " + k.method.of.Name + "." + k.method.Name,
		with:  k.with(),
		holds: func(guard.State) error { return nil },
		cut:   k.unowned,
	}
	if k.from.env.flow.lasts(&k.terms.rests) != nil {
		k.unowned()
	} else if k.done.Load() {
		k.from.env.flow.release(&k.terms.rests) // it has ended meanwhile
	}
}

// unowned ends a call whose caller does not own any more what it was made with.
func (k *call) unowned() {
	if !k.mayWithdraw() {
		k.from.settle(k.fromID, k, wire.Canceled, nil)
		k.unheard()
		return
	}
	if k.end(wire.Canceled) {
		k.from.settle(k.fromID, k, wire.Canceled, nil)
		k.release()
	}
}

// mayKnow tells whether the caller of k may know that something became of by,
// which its program did not say; without a by, of the service as such.
func (k *call) mayKnow(by *Env) bool {
	caller := k.from.env
	if by == nil {
		by = caller
	}
	if k.plain(by, caller) {
		return true
	}
	answer := k.endpoint().Answer
	if by != caller && !by.at().Label.FlowsTo(answer) {
		return false
	}
	quiet := k.terms != nil && k.terms.quiet
	return !quiet && caller.at().Read(label.Privileges{In: k.with().In}, answer) == nil
}

// mayWithdraw tells whether whoever is at k may know what its caller does now.
func (k *call) mayWithdraw() bool {
	caller := k.from.env
	return k.plain(caller) || caller.at().Label.FlowsUnder(label.Privileges{Out: k.with().Out}, k.endpoint().Request)
}
