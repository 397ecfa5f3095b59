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

	done  atomic.Bool
	timer *time.Timer

	mu       sync.Mutex
	at       *conn  // the connection it was sent to, if it was
	body     []byte // kept while queued, and while it may be repeated
	repeated bool
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
	k := &call{num: num, from: from, fromID: fromID, method: md, deadline: time.Now().Add(timeout)}
	k.mu.Lock() // the timer may fire before it is stored
	k.timer = time.AfterFunc(timeout, k.expired)
	k.mu.Unlock()
	return k
}

// finish answers the caller, once.
func (k *call) finish(code wire.Code, body []byte) {
	if !k.end() {
		return
	}
	k.from.settle(k.fromID, k, code, body)
}

// end takes the call out of everybody's hands and reports whether this did it.
func (k *call) end() bool {
	if !k.done.CompareAndSwap(false, true) {
		return false
	}
	k.mu.Lock()
	k.timer.Stop()
	k.body = nil
	k.mu.Unlock()
	return true
}

// sent notes where the call is now.
func (k *call) sent(c *conn) {
	k.mu.Lock()
	k.at = c
	k.mu.Unlock()
	if k.done.Load() {
		c.forget(k) // it ended between the two
	}
}

// expired ends a call whose time is up. One that never reached an instance has
// done nothing, and says so.
func (k *call) expired() {
	k.mu.Lock()
	at, stop := k.at, k.stop
	k.mu.Unlock()
	code := wire.Deadline
	if at == nil && stop == nil {
		code = wire.Unavailable
	}
	if !k.done.Load() {
		k.finish(code, nil)
		k.release(at, stop)
	}
}

// cancel withdraws the call: its caller no longer wants to hear of it.
func (k *call) cancel() {
	if !k.end() {
		return
	}
	k.mu.Lock()
	at, stop := k.at, k.stop
	k.mu.Unlock()
	k.release(at, stop)
}

func (k *call) release(at *conn, stop context.CancelFunc) {
	if at != nil {
		at.withdraw(k)
	}
	if stop != nil {
		stop()
	}
}

// interrupted handles the loss of the instance that was at it. A method that
// is declared idempotent is asked once more, under the same call number.
func (k *call) interrupted() {
	k.mu.Lock()
	again := k.method.Idempotent && !k.repeated && k.body != nil
	k.repeated = true
	k.at = nil
	body := k.body
	k.mu.Unlock()
	if again && !k.done.Load() {
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
	go func() {
		defer e.endSpawn()
		defer cancel()
		out, err := e.m.spawner.Line(ctx, k.method.of.Name, k.method.Name, e.id, body)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			k.finish(wire.Deadline, nil)
		case err != nil:
			k.finish(wire.Failed, []byte(err.Error()))
		case len(out) > wire.MaxBody:
			k.finish(wire.TooLarge, nil)
		default:
			k.finish(wire.OK, out)
		}
	}()
}
