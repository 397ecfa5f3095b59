package monitor

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Whether a connection that is not HTTP goes on.
//
// What is owed on such a connection is known to its ends alone: a server that has read all
// that it was sent may rightly wait for more. But what it was sent and has not read lies
// in its socket, for the kernel to see. So, where the manifest gives a deadline, an
// instance owes it to those who connect to it that what they send is read. A connection on which
// for so long nothing of that was read, and nothing has come from the instance, is overdue, and
// the instance
//
//   - is hung, if nothing at all has come from it since, unless it waits itself: for a call or
//     a child, as in overdue.go, or for the other end of a connection of its own, which
//     does not take what it is sent or has not answered what it was sent last;
//   - otherwise is slow; but after maxMisses deadlines in a row on one connection somebody at
//     its end is stuck.
//
// A client cannot bring that about at a server that reads. One that does not take what it is
// answered holds the server up, and for as long as it does nothing counts; and a
// connection of which one end is hidden from the other is watched no longer.

// Reading tells how many bytes that were written to a connection that a [Dialer] made have been
// read inside, which it may tell late, and how many not.
type Reading func(net.Conn) (read int64, unread int, err error)

// Watching says how it is known what e reads. Connections to an instance for which
// that was not called have no deadline.
func (e *Env) Watching(reading Reading) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reading = reading
}

// looks is how often a connection is looked at within its deadline, but for leastLook.
const (
	looks     = 10
	leastLook = 5 * time.Millisecond
)

// pace is how one connection goes on. It costs nothing while nothing is sent.
type pace struct {
	due
	e       *Env // to which it leads
	r       *relay
	from    string // instance of who connected
	port    int
	limit   time.Duration
	reading Reading

	given   atomic.Uint64 // counts what e is sent, and when it was
	came    atomic.Uint64 // counts what comes from e, and when its reader has taken that
	held    atomic.Bool   // what has come waits for its reader
	looking atomic.Bool   // it will be looked at

	mu     sync.Mutex
	over   bool
	read   int64     // what e was seen to have read
	seen   uint64    // came, when it was last looked at
	since  time.Time // when it was last seen to go on
	heard  uint64    // from e until then
	misses int       // deadlines in a row that it has passed
}

// watch watches r, which leads to e, until the function that it returns is called.
func (e *Env) watch(r *relay, from string, port int, limit time.Duration) (end func()) {
	e.mu.Lock()
	reading := e.reading
	e.mu.Unlock()
	if reading == nil {
		return func() {}
	}
	p := &pace{e: e, r: r, from: from, port: port, limit: min(limit, MaxDeadline), reading: reading}
	p.what, p.slot = p, -1
	r.out.pace, r.in.answers = p, p
	return p.end
}

func (p *pace) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.e.deadlines().remove(&p.due)
}

// gives notes that e is about to be sent something, or has been.
func (p *pace) gives() {
	p.given.Add(1)
	if p.looking.Swap(true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.goesOn()
	p.again()
}

// holds notes that something has come from e, which from now on waits for its reader, or does not
// any more.
func (p *pace) holds(now bool) {
	p.came.Add(1)
	p.held.Store(now)
}

// goesOn says that it does. The caller holds mu.
func (p *pace) goesOn() {
	p.since, p.heard, p.misses = time.Now(), p.e.heard.Load(), 0
}

// again has it looked at later. The caller holds mu.
func (p *pace) again() {
	if p.over {
		return
	}
	p.deadline = time.Now().Add(max(p.limit/looks, leastLook))
	p.e.deadlines().add(&p.due)
}

// expired implements the end of the wait of a [due].
func (p *pace) expired() { go p.look() } // not here: the kernel is asked

// look is the judgement on the connection.
func (p *pace) look() {
	given, came, held := p.given.Load(), p.came.Load(), p.held.Load()
	read, unread, err := p.reading(p.r.far.Conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.r.near.hidden.Load() || p.r.far.hidden.Load() {
		return
	}
	if err == nil && read > p.read {
		p.read = read
		p.e.heard.Add(1) // who reads is alive
		p.goesOn()
	}
	switch {
	case err != nil || held || came != p.seen: // or nothing is known against it
		p.seen = came
		p.goesOn()
	case unread == 0:
		p.looking.Store(false)
		if p.given.Load() == given || p.looking.Swap(true) {
			return // until more is sent
		}
	case time.Since(p.since) >= p.limit:
		p.overdue(unread)
	}
	p.again()
}

// overdue is the judgement on an instance that has not read in time. The caller holds mu.
func (p *pace) overdue(unread int) {
	e := p.e
	p.misses++
	hung := e.heard.Load() == p.heard && !e.spokeSince(p.since) && !e.waits() && !e.isHeldUp()
	what := fmt.Sprintf("of what %s has sent to port %d, %d bytes were not read within %v", p.from, p.port, unread, p.limit)
	switch {
	case hung:
		// Once, until it is heard of.
		if e.reported.Swap(p.heard+1) != p.heard+1 {
			e.unresponsive(what + ", and nothing came from it")
		}
	case p.misses >= maxMisses:
		p.misses = 0
		e.unresponsive(fmt.Sprintf("%s, nor in the %d times that before", what, maxMisses-1))
	}
	p.since, p.heard = time.Now(), e.heard.Load()
}

// isHeldUp tells whether e waits for the other end of a connection that it has made: it
// has written there last, and not been answered.
func (e *Env) isHeldUp() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.relays {
		if r.isOwed() {
			return true
		}
	}
	return false
}
