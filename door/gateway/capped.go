package gateway

import (
	"net"
	"sync"
)

// capped is a listener with a bound on open connections. Those beyond it wait,
// not accepted, in the kernel's queue.
type capped struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newCapped(l net.Listener, n int) *capped {
	return &capped{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *capped) Accept() (net.Conn, error) {
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
