package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"cofferdam/sdk"
)

const (
	// keptFor is how long a connection to a service may be used again, from when it was made. What
	// the monitor has decided on it (who may, for whom, which instance) is no older than this.
	keptFor = time.Second

	// glance is how often it is looked whether the client is still there, while its service
	// is waited for; and laterGlance while it is for more of an answer that has begun.
	glance      = 100 * time.Millisecond
	laterGlance = time.Second
)

// far is a connection to a service. It belongs to one client, whose requests it carries one
// after the other as long as they are on the same behalf: whatever else a service sends
// on it, nobody else gets that.
type far struct {
	c      *client
	conn   net.Conn
	tcp    *net.TCPConn // the same; nil if it is none, which is so in tests only
	raw    syscall.RawConn
	to     string
	behalf behalf
	until  time.Time // see keptFor
	wakes  time.Time // its deadline for reading
	in     input
	used   bool // it has carried a request
	ask    ask  // of the next one
}

// reach returns a connection on which nothing was sent yet, or one that has been kept, if again
// says that it may be. A new one begins with line.
func (c *client) reach(again bool) (f *far, line string, err error) {
	x := &c.x
	if f := c.far; f != nil {
		if again && !(c.g.config.Each && x.principal != "") && f.to == x.to && f.behalf == x.behalf && x.start.Before(f.until) && f.raw != nil {
			return f, "", nil
		}
		c.dropFar()
	}
	ctx, cancel := context.WithDeadline(context.Background(), x.deadline)
	defer cancel()
	conn, line, err := c.g.connect(ctx, x.to, x.behalf)
	if err != nil {
		return nil, "", err
	}
	f = &far{c: c, conn: conn, to: x.to, behalf: x.behalf, until: time.Now().Add(keptFor)}
	f.in.c = f
	switch conn := conn.(type) {
	case *net.TCPConn:
		f.tcp = conn
	case *sdk.Conn:
		f.tcp = conn.TCPConn
	}
	if f.tcp != nil {
		f.raw, _ = f.tcp.SyscallConn()
	}
	conn.SetWriteDeadline(f.until.Add(c.g.config.Limits.timeout()))
	c.far = f
	return f, line, nil
}

// unanswered tells the monitor, as the connection ends, that all of a request was sent on it and nothing
// came.
func (f *far) unanswered() {
	switch conn := f.conn.(type) {
	case *sdk.Conn:
		conn.Unanswered()
	case *net.TCPConn:
		conn.SetLinger(0) // it sees the reset
	}
}

// dropFar closes the connection to a service, if there is one.
func (c *client) dropFar() {
	if f := c.far; f != nil {
		f.conn.Close()
		f.in.r, f.in.w = 0, 0
		f.in.release()
		c.far = nil
	}
}

// Read implements [io.Reader]. It waits as long as somebody waits for what it reads.
func (f *far) Read(p []byte) (int, error) {
	now := time.Now()
	f.c.goesOn(now)
	for ; ; now = time.Now() {
		if err := f.c.patient(now); err != nil {
			return 0, err
		}
		// A deadline that will do is not set anew: that costs more than it is worth.
		if next := f.c.nextLook(now); f.wakes.After(next) || f.wakes.Before(now.Add(glance/2)) {
			f.wakeAt(next)
		}
		n, err := f.read(p)
		if n > 0 {
			f.c.heard()
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, err
		}
		if f.c.sent() && f.c.gone() {
			return 0, errGone
		}
	}
}

// read reads what has come, after it has asked if that is still to be done.
func (f *far) read(p []byte) (int, error) {
	if f.ask.out == nil {
		return f.conn.Read(p)
	}
	n, err := f.ask.on(f.raw, p)
	if err == errRest {
		_, err = f.conn.Write(f.ask.out)
		f.ask.out = nil
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errLate
		}
		return f.conn.Read(p) // also of one that has not taken all: it may have said why
	}
	return n, err
}

func (f *far) wakeAt(t time.Time) {
	f.wakes = t
	f.conn.SetReadDeadline(t)
}

// nextLook is when it is looked again whether to wait on.
func (c *client) nextLook(now time.Time) time.Time {
	next := now.Add(glance)
	if c.x.begun() {
		next = now.Add(laterGlance)
	}
	if at := c.silentAt(); !at.IsZero() && at.Before(next) {
		next = at
	}
	if c.x.deadline.Before(next) {
		next = c.x.deadline
	}
	return next
}

// silentAt is when a service that was sent all of a request has taken too long to begin its answer, zero if
// that is not so.
func (c *client) silentAt() time.Time {
	most := c.g.config.Limits.answer()
	if most == 0 || c.x.heard || !c.sent() || c.x.whole.IsZero() {
		return time.Time{}
	}
	return c.x.whole.Add(most)
}

// patient tells why a service is waited for no longer.
func (c *client) patient(now time.Time) error {
	x := &c.x
	if at := c.silentAt(); !at.IsZero() && !now.Before(at) {
		return errSilent
	}
	if x.begun() {
		if err := c.mayGoOn(now); err != nil {
			return err
		}
	}
	if !now.Before(x.deadline) {
		return errLate
	}
	if s := x.sending; s != nil && s.failed() {
		return errBody
	}
	return nil
}

var (
	errGone = errors.New("the client has gone")
	errLate = errors.New("the time for the request is over")
	errBody = errors.New("the body did not come whole")
)
