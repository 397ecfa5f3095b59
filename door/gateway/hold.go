package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Requests whose instance ends.
//
// A request is held, and its client waits, for as long as nobody answers and it may be
// sent again: always if not a byte of it has reached an instance, which the monitor
// says; once, if it is safe (RFC 9110 section 9.2.1) and its instance ended before it
// began to answer. Any other is answered for by a page that says whether it may have been done.
//
// A connection that is kept may have been ended by the service just now, which is
// no different from an instance that ends. So what is not safe is never sent on one.

const (
	// maxKept is the longest body that is read whole before an instance is looked for,
	// and kept until there is an answer.
	maxKept = 64 << 10

	// The pause between two attempts to find an instance.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second

	// headerUnreached is in the answer that the monitor gives for an instance which
	// it has not found in time: nothing of the request has reached one.
	headerUnreached = "Cofferdam-Unreached"
)

var (
	// errNobody: no instance was found; nothing was done.
	errNobody = errors.New("no instance was found")

	// errSilent: the answer has not begun in time; it may have been done.
	errSilent = errors.New("no answer within the time for one")

	// errLost: the instance that was at it ended; it may have been done.
	errLost = errors.New("the instance that was at it has ended")
)

// carry brings the request to an instance and its answer back.
func (c *client) carry() {
	x := &c.x
	repeats, err := c.keep()
	if err == nil {
		err = c.find(repeats)
	}
	if err == nil {
		err = c.relay()
	}
	if x.sending != nil {
		x.sending.stop(c)
	}
	if b := x.body; b != nil && !b.ended {
		x.last, x.unread = true, true
	}
	if c.far != nil && !c.leavesFar(err) {
		c.dropFar()
	}
	switch {
	case err == nil:
	case x.sent:
		// All that can be said to who has seen the beginning: the rest is missing.
		x.cut = fmt.Errorf("%w: %w", errCutShort, err)
		x.cause = x.cut
	default:
		c.failed(err)
	}
}

// find looks for an instance until one has begun to answer. repeats says that the request can be sent
// more than once.
func (c *client) find(repeats bool) error {
	x := &c.x
	lost := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		reached, err := c.try(!lost && repeats && safe(c.req.method))
		switch {
		case err == nil, err == errDenied:
			return err
		case reached && (lost || !errors.Is(err, errLost) || !repeats || !safe(c.req.method)):
			return err
		case reached:
			lost = true // and at once the next one, who may be there already
			continue
		case !repeats:
			return errNobody
		}
		if left := time.Until(x.deadline); left <= pause {
			time.Sleep(left)
			if lost {
				return fmt.Errorf("%w, and no other was found in time", errLost)
			}
			return errNobody
		}
		time.Sleep(pause)
		if c.gone() {
			return errGone
		}
	}
}

// try sends the request once, and reads the head of the answer. It tells whether anything of it may have
// reached an instance; the error is an errLost if that ended without a word.
func (c *client) try(again bool) (reached bool, err error) {
	x := &c.x
	x.heard, x.sending, x.whole = false, nil, time.Time{}
	f, line, err := c.reach(again && !x.socket && c.x.body == nil && len(c.kept) <= pieceSize)
	if err != nil {
		return false, err
	}
	if err = c.send(f, line); errors.Is(err, os.ErrDeadlineExceeded) {
		err = errLate
	} else {
		err = c.hear(f) // also from one that has not taken all: it may have said why
	}
	if err == errNoisy {
		c.dropFar() // of which nothing was sent on it
		return c.try(false)
	}
	unreached := err == nil && len(c.res.values(headerUnreached)) > 0
	if err == nil && !unreached {
		return true, nil
	}
	if err == errSilent {
		f.unanswered()
	}
	if x.sending != nil {
		f.conn.SetDeadline(time.Unix(1, 0))
		x.sending.stop(c)
	}
	c.dropFar()
	if unreached {
		return false, errNobody
	}
	if !x.heard && !ours(err) && x.bodyErr == nil {
		err = fmt.Errorf("%w: %v", errLost, err)
	}
	return true, err
}

// ours tells whether err is for our own reasons, and not for those of the service.
func ours(err error) bool {
	return err == errSilent || err == errLate || err == errGone || err == errBody
}

// send sends the request, or begins to.
func (c *client) send(f *far, line string) error {
	x := &c.x
	length := int64(len(c.kept))
	if x.body != nil && !x.body.ended {
		length = -1
		if !x.body.chunked {
			length = c.req.length
		}
	}
	c.out = c.appendRequest(append(c.out[:0], line...), length)
	if x.body != nil && !x.body.ended {
		x.sending = c.startSending(f, length < 0)
		return nil
	}
	if len(c.kept) > pieceSize {
		x.sending = c.startSending(f, false)
		return nil
	}
	c.out = append(c.out, c.kept...)
	if f.used {
		f.ask.out = c.out
		x.whole = time.Now()
		return nil
	}
	f.used = true
	_, err := f.conn.Write(c.out)
	x.whole = time.Now()
	return err
}

// sent tells whether all of the request was sent.
func (c *client) sent() bool {
	s := c.x.sending
	if s == nil {
		return true
	}
	select {
	case <-s.done:
		if s.err == nil && c.x.whole.IsZero() {
			c.x.whole = s.at
		}
		return true
	default:
		return false
	}
}

// hear reads the head of the answer.
func (c *client) hear(f *far) error {
	for range maxBefore {
		text, err := f.in.head(maxResponseHeader)
		if err != nil {
			return err
		}
		if err := c.res.parse(text); err != nil {
			return err
		}
		switch {
		case c.res.status == http.StatusSwitchingProtocols:
			if !c.x.socket || !c.switches() {
				return errSwitches
			}
			return nil
		case c.res.status >= 200:
			return nil
		}
		// What a service says ahead of its answer (status 103) is for nobody: headers that are not looked at.
	}
	return errBefore
}

const (
	// maxBefore is how many times a service may say that its answer is about to come, less one.
	maxBefore = 6

	// maxResponseHeader is what a service may send ahead of a body, in bytes.
	maxResponseHeader = 64 << 10
)

var (
	errBefore   = errors.New("the service announces its answer without end")
	errSwitches = errors.New("the service switches to another protocol")
)

// leavesFar tells whether the connection to the service can carry another request.
func (c *client) leavesFar(err error) bool {
	x, f := &c.x, c.far
	return err == nil && !c.res.close && !x.last && len(f.in.waiting()) == 0 &&
		(x.sending == nil || x.sending.err == nil) && (x.body == nil || x.body.ended)
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// keep reads the body if it is short, and tells whether the request can be sent more than once.
func (c *client) keep() (repeats bool, err error) {
	x := &c.x
	c.kept = c.kept[:0]
	if x.body.ended {
		x.body = nil
		return true, nil
	}
	c.goOn()
	if x.body.left > maxKept {
		return false, nil
	}
	for len(c.kept) <= maxKept {
		piece, err := x.body.next()
		if err != nil && x.body.ended {
			x.body = nil
			return true, nil
		}
		if err != nil {
			x.bodyErr = err
			return false, errBody
		}
		c.kept = append(c.kept, piece...)
	}
	return false, nil
}

// goOn lets the client send its body, and gives it as long as the request has.
func (c *client) goOn() {
	x := &c.x
	if x.body.left > int64(len(c.in.waiting())) || x.body.chunked {
		c.tcp.SetReadDeadline(x.deadline)
	}
	if c.req.expects && !x.continued {
		x.continued = true
		c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// sending is a body on its way to a service, in a goroutine of its own: the service may answer before it
// has read all, or nothing at all.
type sending struct {
	done    chan struct{}
	stopped atomic.Bool
	at      time.Time // when it was done; read after done, as all that follows
	err     error     // of the connection to the service
	bodyErr error     // of the client
}

func (c *client) startSending(f *far, chunked bool) *sending {
	s := &sending{done: make(chan struct{})}
	out, kept := c.out, c.kept
	c.out = nil // it is s's until the end
	b := c.x.body
	go func() {
		defer close(s.done)
		defer func() { s.at = time.Now() }()
		if chunked {
			out = frame(out, kept)
		} else {
			out = append(out, kept...)
		}
		if _, s.err = f.conn.Write(out); s.err != nil || b == nil {
			return
		}
		for {
			piece, err := b.next()
			if err != nil {
				if !b.ended {
					s.bodyErr = err
				} else if chunked {
					_, s.err = f.conn.Write([]byte(lastChunk))
				}
				return
			}
			if chunked {
				out = frame(out[:0], piece)
				piece = out
			}
			if _, s.err = f.conn.Write(piece); s.err != nil {
				return
			}
		}
	}()
	return s
}

// failed tells whether the client did not send what it had announced.
func (s *sending) failed() bool {
	select {
	case <-s.done:
		return s.bodyErr != nil
	default:
		return false
	}
}

// stop ends it, if it goes on, and takes in how it went.
func (s *sending) stop(c *client) {
	select {
	case <-s.done:
	default:
		s.stopped.Store(true)
		c.tcp.SetReadDeadline(time.Unix(1, 0))
		if c.far != nil {
			c.far.conn.SetWriteDeadline(time.Unix(1, 0))
		}
		<-s.done
	}
	if s.bodyErr != nil && !s.stopped.Load() {
		c.x.bodyErr = s.bodyErr
	}
}

// failed answers for a service that did not. The cause goes to the log.
func (c *client) failed(err error) {
	x := &c.x
	x.cause = err
	no, maybe := field{headerDone, "no"}, field{headerDone, "maybe"}
	switch {
	case errors.Is(err, errUnavailable), errors.Is(err, errNobody):
		c.page(http.StatusServiceUnavailable, field{"Retry-After", "2"}, no)
	case errors.Is(err, errRedirects), errors.Is(err, errDenied):
		c.page(http.StatusForbidden)
	case errors.Is(err, errOrigin):
		c.page(http.StatusForbidden)
	case errors.Is(x.bodyErr, errTooLong):
		c.page(http.StatusRequestEntityTooLarge)
	case errors.Is(x.bodyErr, os.ErrDeadlineExceeded):
		c.page(http.StatusRequestTimeout)
	case errors.Is(err, errLate), errors.Is(err, errSilent), errors.Is(err, os.ErrDeadlineExceeded):
		c.page(http.StatusGatewayTimeout, maybe)
	case errors.Is(err, errGone), x.bodyErr != nil && !isBad(x.bodyErr):
		x.status, x.last = statusClientGone, true
	case x.bodyErr != nil:
		c.page(http.StatusBadRequest)
	default:
		c.page(http.StatusBadGateway, maybe)
	}
}

// isBad tells a body that is none from one that has broken off.
func isBad(err error) bool { return errors.Is(err, errChunk) }
