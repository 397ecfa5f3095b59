package monitor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/wire"
)

// call is one request on its way from an environment to a service and back.
// Exactly one of reply, deadline, withdrawal and loss ends it.
type call struct {
	num      uint64
	from     *conn
	fromID   uint64
	method   *method
	deadline time.Time

	done atomic.Bool
	slot int // in the deadlines, -1 if it is not there

	mu       sync.Mutex
	at       *conn              // the connection it was sent to, or is just being sent to
	body     []byte             // kept while queued, and while it may be repeated
	sent     bool               // all of it is on its way to at
	ended    bool               // withdrawn or too late: at is to be told, once it was sent
	repeated bool               // an instance was lost while at it
	stop     context.CancelFunc // of a program per call
}

func newCall(num uint64, from *conn, fromID uint64, md *method, timeout time.Duration) *call {
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
	return &call{num: num, from: from, fromID: fromID, method: md, deadline: time.Now().Add(timeout), slot: -1}
}

// start lets the time of a call run, once it is in the books of its caller.
func (k *call) start() {
	d := &k.from.env.m.deadlines
	d.add(k)
	if k.done.Load() {
		d.remove(k) // its caller has gone meanwhile
	}
}

// finish answers the caller, once.
func (k *call) finish(code wire.Code, body []byte) {
	if k.end() {
		k.from.settle(k.fromID, k, code, body)
	}
}

// refuse ends a call that nobody takes. For one that an instance was lost with,
// the codes that mean "nothing was done" would be a lie.
func (k *call) refuse(code wire.Code) {
	k.mu.Lock()
	if k.repeated {
		code = wire.Interrupted
	}
	k.mu.Unlock()
	k.finish(code, nil)
}

// end takes the call out of everybody's hands and reports whether this did it.
func (k *call) end() bool {
	if !k.done.CompareAndSwap(false, true) {
		return false
	}
	k.from.env.m.deadlines.remove(k)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from.env.held.give(len(k.body))
	k.body = nil
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
func (k *call) place(at *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.sent = at, false
}

// delivered notes that the call has been sent. It reports whether it has ended
// meanwhile and the instance is to be told: that must not overtake the call.
func (k *call) delivered() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent = true
	return k.ended
}

// expired ends a call whose time is up. One that never reached an instance has
// done nothing, and says so.
func (k *call) expired() {
	if !k.end() {
		return
	}
	k.mu.Lock()
	code := wire.Deadline
	if k.at == nil && k.stop == nil && !k.repeated {
		code = wire.Unavailable
	}
	k.mu.Unlock()
	k.from.settle(k.fromID, k, code, nil)
	k.release()
}

// cancel withdraws the call: its caller no longer wants to hear of it.
func (k *call) cancel() {
	if k.end() {
		k.release()
	}
}

// release tells whoever works for the call to stop.
func (k *call) release() {
	k.mu.Lock()
	at, sent, stop := k.at, k.sent, k.stop
	k.ended = true
	k.mu.Unlock()
	if at != nil {
		at.forget(k)
		if sent {
			at.withdraw(k)
		}
	}
	if stop != nil {
		stop()
	}
}

// interrupted handles the loss of the instance that was at it. A method that
// is declared idempotent is asked once more, under the same call number, unless
// its caller already makes the monitor keep too much.
func (k *call) interrupted() {
	k.mu.Lock()
	again := k.method.Idempotent && !k.repeated && k.body != nil
	k.repeated = true
	k.at = nil
	body := k.body
	k.mu.Unlock()
	if again {
		k.method.dispatch(k, body)
		return
	}
	k.finish(wire.Interrupted, nil)
}

// runLines answers the call by a program of its own.
func (k *call) runLines(body []byte) {
	e := k.from.env
	if !e.startSpawn() {
		k.finish(wire.Busy, nil)
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), k.deadline)
	k.mu.Lock()
	k.stop = cancel
	k.mu.Unlock()
	if k.done.Load() {
		cancel() // it ended before there was anything to stop
	}
	go func() {
		defer e.endSpawn()
		defer cancel()
		out, err := e.m.spawner.Line(ctx, k.method.of.Name, k.method.Name, e.id, body)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			k.finish(wire.Deadline, nil)
		case errors.Is(err, wire.ErrBusy):
			k.finish(wire.Busy, nil)
		case err != nil:
			k.finish(wire.Failed, errorText(err))
		case len(out) > wire.MaxBody:
			k.finish(wire.TooLarge, nil)
		default:
			k.finish(wire.OK, out)
		}
	}()
}
