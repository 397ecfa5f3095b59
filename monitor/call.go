package monitor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// call is one request on its way from an environment to a service and back.
// Exactly one of reply, deadline, withdrawal and loss ends it.
type call struct {
	due
	num    uint64 // among those of its method: of others its servers are not to know
	from   *conn
	fromID uint64
	method *method
	has    *rights       // of its caller, by which it was decided
	terms  *terms        // nil without labels
	traced *traced       // nil of what nobody traces
	toll   *toll         // of its grant
	astray chan struct{} // see stray; nil of a service with one instance for all
	began  time.Duration // see Monitor.clock
	queued time.Duration // when it began to wait for somebody who answers; zero if it did not

	done atomic.Bool

	mu       sync.Mutex
	at       *conn              // the connection it was sent to, or is just being sent to
	id       uint64             // its id there
	sentAt   time.Time          // when it was sent there
	heard    uint64             // what had come from the instance by then, see overdue.go
	body     []byte             // kept while queued, and while it may be repeated
	sent     bool               // all of it is on its way to at
	ended    bool               // withdrawn or too late: at is to be told, once it was sent
	repeated bool               // an instance was lost while at it, or its answer was withheld
	stop     context.CancelFunc // of a program per call
	over     context.CancelFunc // called at its end; nil for nothing
	alone    bool               // nobody waits for it any more, and it goes on: see unheard
}

// decide is the decision on a call, which was asked for in f. It returns the body
// that is the callee's.
func (k *call) decide(name string, f *wire.Frame) ([]byte, error) {
	e, md := k.from.env, k.method
	v := k.has.grants.decide(opCall, name, len(e.id.Bound) > 0)
	if !v.Allowed {
		return nil, e.m.conclude(e, opCall, name, 0, v)
	}
	if k.toll = v.toll; k.toll != nil || k.has.policy.totals != nil {
		if err := e.within(opCall, name, k.toll, len(f.Body)); err != nil {
			return nil, err
		}
	}
	if f.Flags != 0 || !md.public || e.at() != (guard.State{}) {
		return k.decideTerms(v, name, f)
	}
	k.num = md.calls.Add(1)
	return f.Body, e.m.conclude(e, opCall, name, k.num, v)
}

// within sets the deadline.
func (k *call) within(timeout time.Duration) {
	md := k.method
	if timeout <= 0 {
		timeout = md.Deadline
	}
	if timeout <= 0 {
		timeout = DefaultDeadline
	}
	timeout = min(timeout, MaxDeadline)
	if md.Deadline > 0 {
		timeout = min(timeout, md.Deadline)
	}
	now := time.Now()
	k.began = now.Sub(k.from.env.m.epoch)
	k.due = due{now.Add(timeout), -1, k}
}

// start lets the time of a call run, once it is in the books of its caller.
func (k *call) start() {
	k.method.counts.running.Add(1)
	d := k.from.env.deadlines()
	d.add(&k.due)
	if k.done.Load() {
		d.remove(&k.due) // its caller has gone meanwhile
	}
	k.rest()
}

// finish answers the caller, once.
func (k *call) finish(code wire.Code, body []byte) { k.finishBy(nil, code, body) }

func (k *call) finishBy(r *reader, code wire.Code, body []byte) {
	if k.end(code) {
		k.method.counts.out.Add(uint64(len(body)))
		k.owe(len(body))
		k.from.settleWith(r, k.fromID, k, code, 0, body)
	}
}

// owe counts the bytes of the answer, which has passed: what its caller may not know is
// not counted.
func (k *call) owe(bytes int) {
	e := k.from.env
	if total := e.total(KindCall); k.toll != nil || total != nil {
		e.payer().owe(bytes, k.toll, total)
	}
}

// answer is finish with what by has answered, and the objects that it gives. An
// answer that may not flow to the caller is dropped.
func (k *call) answer(r *reader, by *Env, code wire.Code, body []byte, gives []object) {
	if err := k.mayAnswer(by); err != nil {
		k.withhold()
		v := Verdict{Rule: "labels: " + err.Error()}
		by.m.concludeLabels(by, opAnswer, k.method.of.Name+"."+k.method.Name, k.num, v, labelsOf(by.at(), by.given(), k.endpoint()))
		return
	}
	if k.terms == nil && gives == nil {
		k.finishBy(r, code, body)
		return
	}
	if !k.end(code) {
		return
	}
	k.method.counts.out.Add(uint64(len(body)))
	k.owe(len(body))
	caller := k.from.env
	handles, err := caller.holdObjects(gives)
	var flags uint16
	told := wire.Told{Label: k.endpoint().Answer, Handles: handles}
	if fields := told.Append(nil); len(fields) > 0 {
		flags, body = wire.FlagFields, append(wire.AppendFields(nil, fields), body...)
	}
	switch {
	case err != nil:
		code, flags, body = wire.Busy, 0, nil // its own table is full
	case len(body) > wire.MaxBody:
		caller.unhold(handles)
		code, flags, body = wire.TooLarge, 0, nil
	}
	k.from.settleWith(r, k.fromID, k, code, flags, body)
}

// refuse ends a call that nobody takes, because of the state of by (see mayKnow).
// For one that an instance was lost with, the codes that mean "nothing was done"
// would be a lie.
func (k *call) refuse(code wire.Code, body []byte, by *Env) {
	if !k.mayKnow(by) {
		k.withhold()
		return
	}
	k.mu.Lock()
	if k.repeated {
		code, body = wire.Interrupted, nil
	}
	k.mu.Unlock()
	k.finish(code, body)
}

// withhold leaves the call to its deadline: nobody is at it, and its caller must
// not see that.
func (k *call) withhold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.repeated = nil, true
}

// end takes the call out of everybody's hands and reports whether this did it. With
// that code it counts as ended.
func (k *call) end(code wire.Code) bool {
	if !k.done.CompareAndSwap(false, true) {
		return false
	}
	if k.traced != nil {
		k.traceEnds(code)
	}
	k.method.counts.over(code, k.from.env.m.clock()-k.began)
	k.from.env.deadlines().remove(&k.due)
	if k.with() != (label.Privileges{}) {
		k.from.env.flow.release(&k.terms.rests)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from.env.held.give(len(k.body))
	k.body = nil
	if k.alone {
		k.from.env.inFlight.Add(-1)
	}
	if k.over != nil {
		k.over()
	}
	return true
}

// keep copies the body for later. It reports false if that is more than may be
// kept for the caller.
func (k *call) keep(body []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.body != nil || k.done.Load() {
		return true
	}
	if !k.from.env.held.take(len(body)) {
		return false
	}
	k.body = append([]byte{}, body...)
	return true
}

// kept is the body that keep has copied, nil if there is none.
func (k *call) kept() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.body
}

// place notes where the call is about to be. It comes before sending, and those
// who end a call look at it afterwards, so that what may have reached an instance
// is never said not to have.
func (k *call) place(at *conn, id uint64, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.id, k.sent = at, id, false
	if at != nil {
		k.sentAt, k.heard = now, at.env.heard.Load()
	}
}

// delivered notes that the call has been sent. It reports whether it has ended
// meanwhile and the instance is to be told: that must not overtake the call. Then its
// answer is owed all the same.
func (k *call) delivered() (owed debt, ended bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent = true
	if k.ended {
		owed = k.debt(k.id)
	}
	return owed, k.ended
}

// expired ends a call whose time is up. One that never reached an instance has
// done nothing, and says so.
func (k *call) expired() {
	if !k.end(wire.Deadline) {
		return
	}
	k.mu.Lock()
	code := wire.Deadline
	if k.at == nil && k.stop == nil && !k.repeated && k.mayKnow(nil) {
		code = wire.Unavailable
	}
	k.mu.Unlock()
	k.from.settle(k.fromID, k, code, nil)
	k.release()
}

// cancel withdraws the call: its caller no longer wants to hear of it. If nobody
// may know that, it goes on as it would have.
func (k *call) cancel() {
	if !k.mayWithdraw() {
		k.unheard()
		return
	}
	if k.end(wire.Canceled) {
		k.release()
	}
}

// unheard lets a call go on that was withdrawn. It still counts as one of its
// caller's.
func (k *call) unheard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.done.Load() {
		k.alone = true
		k.from.env.inFlight.Add(1)
	}
}

// release tells whoever works for the call to stop.
func (k *call) release() {
	k.mu.Lock()
	at, id, sent, stop := k.at, k.id, k.sent, k.stop
	k.ended = true
	owed := k.debt(id)
	k.mu.Unlock()
	if at != nil {
		unanswered := at.forget(k, id)
		if sent {
			at.withdraw(id)
		}
		if sent && unanswered {
			at.owes(owed)
		}
	}
	if stop != nil {
		stop()
	}
}

// interrupted handles the loss of the instance that was at it. A method that
// is declared idempotent is asked once more, under the same call number, unless
// its caller already makes the monitor keep too much, or another instance would
// learn from it what has become of one that was above it.
func (k *call) interrupted(by *Env) {
	if !k.mayKnow(by) {
		k.withhold()
		return
	}
	k.mu.Lock()
	again := k.method.Idempotent && !k.repeated && k.body != nil && by.at().Label.FlowsTo(by.flow.container)
	k.repeated = true
	k.at = nil
	body := k.body
	k.mu.Unlock()
	switch {
	case again && k.astray != nil:
		k.stray()
		return
	case again:
		k.method.dispatch(nil, k, body)
		return
	}
	k.finish(wire.Interrupted, nil)
}
