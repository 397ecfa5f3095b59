package gateway

import (
	"errors"
	"time"
)

// Answers that take long: downloads, events, what a program thinks of bit by bit. One goes on for as long as
// pieces of it come within the timeout of each other, up to the time for a stream. Whoever brings
// one about could hold a connection for as long, the service by sending little and the client by reading little. So
// a client that takes its time has to read so much in it; and while connections are scarce, no answer takes longer
// than the timeout.

// leastRead is what a client has to read, in bytes for each second that it lets us wait beyond the timeout.
const leastRead = 1 << 10

var (
	errLong  = errors.New("the answer took longer than a stream may")
	errSlow  = errors.New("the client has read too slowly")
	errYield = errors.New("the answer took longer than the timeout, and connections are scarce")
)

// begins notes that the answer has begun, and has a body.
func (c *client) begins() {
	x := &c.x
	x.came = time.Now()
	x.end = x.came.Add(c.g.config.Limits.stream())
	c.mayWrite(x.came.Add(c.g.config.Limits.timeout()))
}

// mayWrite gives the client until then, at least, to read what it is sent.
func (c *client) mayWrite(until time.Time) {
	if c.writeBy.Before(until) {
		c.writeBy = until.Add(c.g.config.Limits.timeout() / 8) // so that it is not set anew with each
		c.tcp.SetWriteDeadline(c.writeBy)
	}
}

// begun tells whether more of an answer is waited for.
func (x *exchange) begun() bool { return !x.end.IsZero() }

// goesOn gives an answer that has begun time for its next piece, and its client for reading that.
func (c *client) goesOn(now time.Time) {
	x := &c.x
	if !x.begun() {
		return
	}
	x.slow += now.Sub(x.came) // which was spent on writing
	timeout := c.g.config.Limits.timeout()
	if x.deadline = now.Add(timeout); x.end.Before(x.deadline) {
		x.deadline = x.end
	}
	c.mayWrite(now.Add(2 * timeout)) // of which the piece may take one to come
}

// heard notes that something of the answer has come.
func (c *client) heard() {
	c.x.heard = true
	if c.x.begun() {
		c.x.came = time.Now()
	}
}

// mayGoOn tells why an answer that has begun is to end.
func (c *client) mayGoOn(now time.Time) error {
	x, timeout := &c.x, c.g.config.Limits.timeout()
	switch {
	case !now.Before(x.end):
		return errLong
	case x.slow > timeout+time.Duration(x.bytes/leastRead)*time.Second:
		return errSlow
	case now.Sub(x.start) > timeout && c.entry.l.crowded():
		return errYield
	}
	return nil
}
