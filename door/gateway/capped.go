package gateway

import (
	"io"
	"net"
	"sync"
)

// capped is a listener with a bound on open connections. Those beyond it wait,
// not accepted, in the kernel's queue. Beyond what one peer may have, they are turned away.
type capped struct {
	net.Listener
	peers  *tally // nil if peers are not counted
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newCapped(l net.Listener, n int) *capped {
	return &capped{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *capped) Accept() (net.Conn, error) {
	for {
		c, err := l.accept()
		if err != nil || l.peers == nil {
			return c, err
		}
		peer := peerName(c.RemoteAddr())
		if !l.peers.begin(peer) {
			// It fits into the empty buffer of a new connection: this does not wait.
			io.WriteString(c, crowded)
			c.Close()
			continue
		}
		counted := c.(*cappedConn)
		leave := counted.leave
		counted.leave = sync.OnceFunc(func() {
			l.peers.end(peer)
			leave()
		})
		return c, nil
	}
}

func (l *capped) accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &cappedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close implements [net.Listener].
func (l *capped) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// crowded tells whether three quarters of the connections are in use.
func (l *capped) crowded() bool { return len(l.slots) > cap(l.slots)*3/4 }

type cappedConn struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *cappedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
