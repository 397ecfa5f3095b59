package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cofferdam/internal/linux"
)

const (
	headTime = 10 * time.Second // for a head, from its first byte; or less, see Limits.timeout
	idleTime = 30 * time.Second // between requests

	// lingerTime is how long what still comes is read and dropped, after an answer that ends a
	// connection: bytes that nobody reads turn its end into a reset, which may overtake the answer.
	lingerTime = 500 * time.Millisecond
)

// entry is a socket that requests come by, with the connections that have.
type entry struct {
	g       *Gateway
	l       *capped
	callers *tally // of the bridge: connections of each service, or of each principal that it runs for; nil outside

	accepted chan struct{} // closed when nothing more is
	draining atomic.Bool
	mu       sync.Mutex
	open     map[*client]struct{}
	none     chan struct{} // closed when draining and none are open
}

func (g *Gateway) entry(l *capped, callers *tally) *entry {
	return &entry{g: g, l: l, callers: callers, accepted: make(chan struct{}), open: make(map[*client]struct{}), none: make(chan struct{})}
}

// serve serves connections until the listener is closed.
func (e *entry) serve() {
	defer close(e.accepted)
	for {
		c, err := e.l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause) // there are no descriptors or no memory: that passes
			continue
		}
		if one := e.admit(c); one != nil {
			go one.serve()
		} else {
			c.Close()
		}
	}
}

func (e *entry) admit(conn net.Conn) *client {
	capped, ok := conn.(*cappedConn)
	if !ok {
		return nil
	}
	tcp, ok := capped.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	from := tcp.RemoteAddr()
	c := &client{entry: e, g: e.g, conn: conn, tcp: tcp, raw: raw, from: from.String(), peer: peerName(from)}
	c.who = "address " + c.peer
	if at, ok := from.(*net.TCPAddr); ok {
		c.addr = at.AddrPort().Addr().Unmap().String()
	}
	c.in.c = tcp
	c.read, c.say = c.readFirst, c.sayNow
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining.Load() {
		return nil
	}
	e.open[c] = struct{}{}
	return c
}

func (e *entry) leave(c *client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
	if len(e.open) == 0 && e.draining.Load() {
		close(e.none)
	}
}

// drain ends the connections that no request is on, and the others after theirs, or when
// done is closed.
func (e *entry) drain(done <-chan struct{}) {
	e.l.Close()
	<-e.accepted // who was accepted is served; who was not waits for the next gateway
	e.mu.Lock()
	e.draining.Store(true)
	if len(e.open) == 0 {
		close(e.none)
	}
	for c := range e.open {
		switch {
		case c.idle.Load() && !c.any.Load():
			c.lastCall()
		case c.idle.Load():
			c.tcp.SetReadDeadline(time.Unix(1, 0))
		case c.switched.Load():
			c.conn.Close() // when one would have come to its end is known to those who use it alone
		}
	}
	e.mu.Unlock()
	select {
	case <-e.none:
		return
	case <-done:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.open {
		c.conn.Close()
	}
}

// client is a connection that requests come on, one after the other. One goroutine serves
// it, and a second one carries the body of a request that is longer than what is kept.
type client struct {
	entry *entry
	g     *Gateway
	conn  net.Conn
	tcp   *net.TCPConn // the same
	raw   syscall.RawConn
	from  string  // its address and port
	addr  string  // its address
	peer  string  // whom it counts for
	who   string  // the same, as a route counts nobody in particular
	said  preface // of the bridge

	in       input
	read     func(fd uintptr) bool // readFirst
	readErr  error
	say      func(fd uintptr) bool // sayNow
	sayErr   error
	unsaid   []byte
	any      atomic.Bool // a request has come
	bare     bool        // nothing of it is left
	until    time.Time   // when the next one has to have come
	met      bool        // it is counted among those of its caller
	idle     atomic.Bool // no request is on it
	switched atomic.Bool // it is a web socket
	writeBy  time.Time   // its deadline for writing, or later

	far *far // the connection to a service that the last request left; nil for none

	// Of the request that is on it.
	x    exchange
	req  request
	res  response
	out  []byte // what is to be written
	kept []byte // its body
	line []byte // of the log
}

func (c *client) serve() {
	if c.entry.callers != nil {
		if !c.introduced() {
			c.end()
			return
		}
		c.met = true
	}
	c.goOnServing()
}

// goOnServing serves what comes until the end, or until nothing has come for a while: then another goroutine
// does, for this one would keep the stack that requests have needed.
func (c *client) goOnServing() {
	for {
		switch c.waits() {
		case quiet:
			go c.goOnServing()
			return
		case ended:
			c.end()
			return
		}
		if !c.serveOne() {
			if c.x.unread {
				c.linger()
			}
			c.end()
			return
		}
		c.forget()
	}
}

// end closes the connection, and what hangs on it.
func (c *client) end() {
	if c.met {
		c.entry.callers.end(c.said.who())
	}
	c.in.r, c.in.w = 0, 0
	c.in.release()
	c.dropFar()
	c.conn.Close()
	c.entry.leave(c)
}

// What waits has come to.
type waited int

const (
	ready waited = iota // a request
	quiet               // nothing for a while
	ended               // the end
)

// forget drops what one request has left.
func (c *client) forget() {
	if cap(c.out) > 2*pieceSize {
		c.out = nil
	}
	if cap(c.kept) > pieceSize {
		c.kept = nil
	}
	c.x = exchange{}
}

// waits waits for the beginning of a request, with as little in its hands as can be.
func (c *client) waits() waited {
	if len(c.in.waiting()) > 0 {
		if c.entry.draining.Load() {
			return ended
		}
		return ready
	}
	c.in.release()
	most := idleTime
	if !c.any.Load() {
		most = headTime
	}
	now := time.Now()
	if !c.bare {
		c.until = now.Add(min(c.g.config.Limits.timeout(), most))
	}
	at := c.until
	if c.any.Load() && !c.bare {
		if at = now.Add(keptFor); c.far != nil {
			at = c.far.until
		}
	}
	c.tcp.SetReadDeadline(at)
	c.idle.Store(true)
	if c.entry.draining.Load() {
		if c.any.Load() {
			return ended
		}
		c.lastCall()
	}
	err := c.raw.Read(c.read)
	c.idle.Store(false)
	switch {
	case err == nil && c.readErr == nil:
		c.bare = false
		return ready
	case err == nil || c.bare || !c.any.Load() || !errors.Is(err, os.ErrDeadlineExceeded) || c.entry.draining.Load():
		return ended
	}
	c.strip()
	return quiet
}

// lastCall is for a client that has connected and asked for nothing yet, when the gateway ends: its first
// request is on its way, and to nobody else.
func (c *client) lastCall() { c.tcp.SetReadDeadline(time.Now().Add(lingerTime)) }

// strip drops all that an idle connection can do without.
func (c *client) strip() {
	c.dropFar()
	c.out, c.kept, c.line = nil, nil, nil
	c.req, c.res = request{}, response{}
	c.bare = true
}

// readFirst reads what has come. As long as nothing has, it needs no buffer for it.
func (c *client) readFirst(fd uintptr) bool {
	buf := pieces.Get().(*[pieceSize]byte)
	n, err := readNow(fd, buf[:])
	if c.readErr = err; err != nil {
		pieces.Put(buf)
		return err != syscall.EAGAIN
	}
	c.in.buf, c.in.r, c.in.w = buf[:], 0, n
	return true
}

// gone tells whether the client has ended its side, or broken it: then nobody waits for an answer.
func (c *client) gone() bool {
	var n int
	var err error
	if c.raw.Control(func(fd uintptr) { n, err = peekNow(fd) }) != nil {
		return true
	}
	return n == 0 && err != syscall.EAGAIN
}

// linger lets the last answer arrive, though something may come that nobody reads.
func (c *client) linger() {
	if c.tcp.CloseWrite() != nil {
		return
	}
	c.tcp.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c.tcp, 256<<10)
}

// write writes all of b to the client.
func (c *client) write(b []byte) error {
	c.unsaid, c.sayErr = b, nil
	err := c.raw.Write(c.say)
	c.unsaid = nil
	return cmp.Or(err, c.sayErr)
}

// sayNow writes what there is room for.
func (c *client) sayNow(fd uintptr) (all bool) {
	for len(c.unsaid) > 0 {
		n, err := linux.WriteNow(int(fd), c.unsaid)
		if err != nil {
			if err == syscall.EAGAIN {
				return false
			}
			c.sayErr = os.NewSyscallError("send", err)
			return true
		}
		c.unsaid = c.unsaid[n:]
	}
	return true
}

// serveOne serves one request, and tells whether another one may come on this connection.
func (c *client) serveOne() (again bool) {
	start := time.Now()
	limits := &c.g.config.Limits
	c.any.Store(true)
	x := &c.x
	*x = exchange{id: c.g.newID(), caller: callerOutside, start: start, deadline: start.Add(limits.timeout())}
	if c.entry.callers != nil {
		x.caller = c.said.caller
	}
	if whole := x.deadline.Add(slack); c.writeBy.Before(whole) || c.writeBy.After(whole.Add(limits.timeout())) {
		c.writeBy = whole.Add(limits.timeout() / 8) // so that it is not set anew with each
		c.tcp.SetWriteDeadline(c.writeBy)
	}
	if !headIsThere(c.in.waiting()) {
		c.tcp.SetReadDeadline(start.Add(min(limits.timeout(), headTime)))
	}
	text, err := c.in.head(limits.HeaderBytes + 4<<10)
	status := 0
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		status = http.StatusRequestTimeout
	case errors.Is(err, errHeadLong):
		status = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, errHead):
		status = http.StatusBadRequest
	case err != nil:
		return false // it has gone
	}
	defer c.record()
	if status != 0 {
		c.req = request{}
		x.cause, x.last, x.unread = err, true, true
		c.turnAway(status)
		return false
	}
	if status = c.req.parse(text); status != 0 {
		x.cause, x.last, x.unread = errHead, true, true // where it ends is not known
		c.turnAway(status)
		return false
	}
	c.serveRequest()
	return !x.last && x.cut == nil
}

// headIsThere tells whether a whole head has come, as is usual.
func headIsThere(b []byte) bool { return bytes.Contains(b, []byte("\r\n\r\n")) }
