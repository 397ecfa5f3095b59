package monitor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// Who does not respond.
//
// An instance owes an answer to each call that it was sent within the deadline that its
// method declares; what deadline the caller has chosen, and whether it still waits,
// plays no part. An instance that has not answered by then
//
//   - is hung, if nothing at all has come from it since it was sent the call: no answer,
//     no request, not one byte of a connection that leads to it. Unless it waits itself,
//     for a call or a child of its own;
//   - otherwise is slow, which is between it and its caller; but after maxMisses such calls
//     of one method on one connection, each sent when the one before was overdue already, with no
//     answer to that method in between, be it too late, somebody at its end is stuck.
//
// Who keeps it alive is told of an instance that is hung or that has somebody stuck.
//
// A caller cannot bring that about for one that answers what it is sent, and be it
// late: a call is sent when all of it is there, and an answer that its caller does not
// read is at the caller's expense (see outbox).

// maxMisses is how many calls of a method, one after the other, may pass their deadline on a
// connection.
const maxMisses = 3

// misses are those of a method on a connection.
type misses struct {
	count int
	last  time.Time
}

// debt is what one call has left behind that was sent to an instance and has ended, for its
// caller, without an answer.
type debt struct {
	method *method
	num    uint64
	from   string // instance of the caller
	id     uint64 // at the connection that it was sent to
	heard  uint64 // from the instance until then
	sent   time.Time
}

// watch waits until a call that its caller has given up passes the deadline of its
// method. One of each connection is enough to see that it is silent.
type watch struct {
	due
	c    *conn
	debt debt // its method is nil if there is none; guarded by conn.mu
}

// owes notes that a call was not answered, as long as its caller has waited.
func (c *conn) owes(d debt) {
	limit := d.method.deadline()
	left := time.Until(d.sent.Add(limit))
	// A call is sent a moment after its time has begun to run.
	if left <= limit/100 {
		c.overdue(d)
		return
	}
	w := &c.watch
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || w.debt.method != nil {
		return
	}
	w.debt, w.deadline = d, d.sent.Add(limit)
	c.env.deadlines().add(&w.due)
}

// expired implements the end of the wait of a [due].
func (w *watch) expired() {
	c := w.c
	c.mu.Lock()
	d := w.debt
	if time.Now().Before(w.deadline) {
		d = debt{} // what has expired was paid at the last moment, and there is another one
	} else {
		w.debt = debt{}
	}
	c.mu.Unlock()
	if d.method != nil {
		c.overdue(d)
	}
}

// paid takes in that an answer has come with this id: to the call k, or too late. The
// caller holds mu.
func (c *conn) paid(id uint64, k task) {
	if c.watch.debt.method != nil && c.watch.debt.id == id {
		c.env.deadlines().remove(&c.watch.due)
		c.watch.debt = debt{}
	}
	if call, ok := k.(*call); ok {
		delete(c.misses, call.method)
	} else {
		c.misses = nil // whichever it was
	}
}

// overdue is the judgement on an instance that has not answered in time.
func (c *conn) overdue(d debt) {
	e := c.env
	silent := e.heard.Load() == d.heard && !e.spokeSince(d.sent)
	hung := silent && !e.waits()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if c.misses == nil {
		c.misses = make(map[*method]misses)
	}
	missed := c.misses[d.method]
	if missed.count == 0 || d.sent.After(missed.last) { // and not one of many that were sent together
		missed = misses{missed.count + 1, time.Now()}
	}
	c.misses[d.method] = missed
	stuck := missed.count >= maxMisses
	if hung || stuck {
		c.misses = nil // and it is counted anew, should it go on
	}
	c.mu.Unlock()
	name := d.method.of.Name + "." + d.method.Name
	what := fmt.Sprintf("call %d of %s, from %s, was not answered within %v", d.num, name, d.from, d.method.deadline())
	switch {
	case hung:
		// Once, until it is heard of.
		if e.reported.Swap(d.heard+1) != d.heard+1 {
			e.unresponsive(what + ", and nothing else came from it")
		}
	case stuck:
		e.unresponsive(fmt.Sprintf("%s, nor were the %d before it on the same connection", what, maxMisses-1))
	}
}

func (e *Env) unresponsive(why string) {
	go e.m.spawner.Unresponsive(e.id, "unresponsive: "+why) // not here: it may take its time
}

// waits tells whether e itself waits for a call or a child. Messages are waited for as
// long as there are none, which says nothing.
func (e *Env) waits() bool {
	e.mu.Lock()
	conns := slices.Collect(maps.Keys(e.conns))
	e.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		for _, r := range c.asked {
			switch r.(type) {
			case *call, *spawning, *waiter:
				c.mu.Unlock()
				return true
			}
		}
		c.mu.Unlock()
	}
	return false
}

// deadline is the declared one.
func (md *method) deadline() time.Duration {
	if md.Deadline <= 0 {
		return DefaultDeadline
	}
	return min(md.Deadline, MaxDeadline)
}

// debt is what k leaves behind at the connection that it was sent to under id.
func (k *call) debt(id uint64) debt {
	return debt{method: k.method, num: k.num, from: k.from.env.id.Instance, id: id, heard: k.heard, sent: k.sentAt}
}

// givenUp is what an instance answers that does not work on a call any longer whose
// time is up, or that was withdrawn.
const givenUp = wire.Canceled

// carried are the requests over HTTP that the door has carried to an instance on one connection, one after the
// other. That all of one was sent is known to the door alone, for the monitor reads no HTTP: it
// resets the connection if no answer has begun within the time that the manifest gives for that,
// and otherwise never. What is true of a call is true of such a request.
type carried struct {
	by    *Env
	port  int
	heard uint64    // from by when the last of them was passed on
	sent  time.Time // which is when that was
}

// ended takes in how the connection ended.
func (q *carried) ended(r *relay) {
	q.answered(r.in.any, r.asks.Load() && errors.Is(r.out.err, unix.ECONNRESET))
}

// answered takes in whether something came, or the door gave up since nothing did.
func (q *carried) answered(any, givenUp bool) {
	e := q.by
	if any {
		e.mu.Lock()
		delete(e.silences, q.port)
		e.mu.Unlock()
	}
	if !givenUp || q.sent.IsZero() {
		return
	}
	hung := e.heard.Load() == q.heard && !e.spokeSince(q.sent) && !e.waits()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	missed := e.silences[q.port]
	if missed.count == 0 || q.sent.After(missed.last) {
		missed = misses{missed.count + 1, time.Now()}
	}
	stuck := missed.count >= maxMisses
	if hung || stuck {
		missed = misses{}
	}
	if e.silences == nil {
		e.silences = make(map[int]misses)
	}
	e.silences[q.port] = missed
	e.mu.Unlock()
	what := fmt.Sprintf("a request to port %d was not answered within %v", q.port, time.Since(q.sent).Round(time.Millisecond))
	switch {
	case hung:
		if e.reported.Swap(q.heard+1) != q.heard+1 {
			e.unresponsive(what + ", and nothing else came from it")
		}
	case stuck:
		e.unresponsive(fmt.Sprintf("%s, nor were the %d before it", what, maxMisses-1))
	}
}
