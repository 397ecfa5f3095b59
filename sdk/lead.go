package sdk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"cofferdam/wire"
)

// Of those that wait for something to come from the monitor one is the leader:
// it reads, and hands to the others what is theirs. To wake another goroutine
// costs more than all the rest of a call, so the leader is, where possible, the
// one that the next frame is for: a caller leads while it waits for its reply, a
// worker leads while it waits for a request and then runs the handler itself.
//
// Nobody leads while a leader runs a handler, so it should be over soon: it does
// not run one that took longer than slowAfter the last time, but wakes a worker
// for it. And against surprises a timer looks every lookEvery, while there are
// requests, whether somebody has led since; if not, another worker does. (A timer
// for each request would wake a thread each time.) Without a server nobody leads
// while nobody waits.
const (
	slowAfter = 50 * time.Microsecond
	lookEvery = 10 * time.Millisecond
)

// take makes the caller of take the leader, if there is none.
func (c *Client) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.led {
		return false
	}
	c.led = true
	return true
}

// takeOr is take, or else it lets whoever releases the lead give it to a.
func (c *Client) takeOr(a *asked) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.led {
		a.waiting = true
		return false
	}
	c.led = true
	return true
}

// release makes somebody else the leader who waits for a reply, or nobody.
func (c *Client) release() {
	c.mu.Lock()
	for _, a := range c.asked {
		if a.waiting {
			a.waiting = false
			a.answer <- reply{lead: true}
			c.mu.Unlock()
			return
		}
	}
	c.led = false
	if s := c.server; s != nil && c.err == nil {
		s.leads++
		if !s.watching {
			s.watching = true
			s.watch.Reset(lookEvery)
		}
	}
	c.mu.Unlock()
}

// disturb makes the leader look up from its reading, whoever it is.
func (c *Client) disturb() { c.socket.Disturb() }

// next reads one frame and hands on what is in it; the leader calls it. If the
// frame is a request and here is set, next may return it for the leader to run,
// when no other frame is waiting to be read. It returns nil, nil as well when
// the leader was disturbed.
func (c *Client) next(here bool) (*request, error) {
	f, err := c.r.Next()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		// First this, then the leader looks at its context, so that a disturbance
		// in between is not lost. One that was meant for an earlier leader is harmless.
		c.socket.Calm()
		return nil, nil
	case err != nil:
		return nil, err
	case wire.Ops[f.Op].From&wire.Monitor == 0:
		return nil, fmt.Errorf("monitor sent a %v", f.Op)
	case f.Op == wire.OpReply:
		return nil, c.answer(&f)
	}
	c.mu.Lock()
	s := c.server
	c.mu.Unlock()
	switch {
	case s == nil:
		return nil, fmt.Errorf("monitor sent a %v to a client that does not serve", f.Op)
	case f.Op == wire.OpCancel:
		s.cancel(f.ID)
		return nil, nil
	}
	caller, err := c.callers.parse(&f)
	if err != nil {
		return nil, err
	}
	told, body, err := opened(&f)
	if err != nil {
		return nil, fmt.Errorf("monitor sent a call: %w", err)
	}
	f.Body = body
	if told != nil {
		caller.Label, caller.Shown, caller.Handles, caller.Trace = told.Label, told.Shown, c.handles(told.Handles), told.Trace
	}
	return s.accept(&f, caller, here && c.r.Buffered() == 0)
}

// answer hands a reply to who waits for it; nobody does if it was withdrawn.
func (c *Client) answer(f *wire.Frame) error {
	told, body, err := opened(f)
	if err != nil {
		return err
	}
	r := reply{code: f.Code, told: told, body: c.r.Keep(body), after: f.Timeout}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.asked[f.ID]; a != nil {
		delete(c.asked, f.ID)
		a.answer <- r
		return nil
	}
	c.discard(r.tells().Handles)
	return nil
}

// opened is what a call or a reply tells before its body, which is a view of f; nil
// for nothing.
func opened(f *wire.Frame) (*wire.Told, []byte, error) {
	if f.Flags&wire.FlagFields == 0 {
		return nil, f.Body, nil
	}
	fields, body, err := wire.CutFields(f.Body)
	if err != nil {
		return nil, nil, err
	}
	told, err := wire.ParseTold(fields)
	told.Data = nil // a view, and for no one
	return &told, body, err
}
