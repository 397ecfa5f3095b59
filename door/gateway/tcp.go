package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TCP is a port of the host whose connections are led on to one of a service, byte for
// byte: nothing that passes is looked at.
type TCP struct {
	Number int    `json:"number,omitempty"` // by which the monitor knows it
	To     string `json:"to"`
	Port   int    `json:"port"`

	// Bounds of what a client can do. A zero field is its default.
	Connections int   `json:"connections,omitempty"` // default 256; more wait, not accepted
	PerPeer     int   `json:"per_peer,omitempty"`    // of them from one address, default 64; more are closed at once
	IdleMS      int64 `json:"idle_ms,omitempty"`     // over which nothing comes, default 10 min
}

func (d TCP) withDefaults() TCP {
	if d.Connections == 0 {
		d.Connections = 256
	}
	if d.PerPeer == 0 {
		d.PerPeer = 64
	}
	if d.IdleMS == 0 {
		d.IdleMS = 600_000
	}
	return d
}

// tcpDoor is one made ready.
type tcpDoor struct {
	TCP
	to   string // address of the service, with on whose behalf in front
	dial dialing
	log  func(msg string, args ...any)
	id   func() string

	mu    sync.Mutex
	peers map[netip.Prefix]int      // how many connections each has
	open  map[*net.TCPConn]struct{} // both ends of all of them
	ended bool
}

// serve leads on what comes to l until l is closed.
func (d *tcpDoor) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// There are no descriptors or no memory: that passes.
			time.Sleep(acceptPause)
			continue
		}
		go d.lead(c.(*cappedConn))
	}
}

// acceptPause is how long nobody is accepted when the kernel could not.
const acceptPause = 50 * time.Millisecond

// lead is one connection from its beginning to its end.
func (d *tcpDoor) lead(c *cappedConn) {
	defer c.Close()
	began := time.Now()
	near := c.Conn.(*net.TCPConn)
	var p pair
	err := errPeerCrowded
	peer := peerOf(near.RemoteAddr())
	if d.enter(peer, near) {
		err = d.connect(&p, near)
		d.leave(peer, near)
	}
	attrs := []any{
		"id", d.id(), "peer", near.RemoteAddr().String(), "service", d.TCP.To, "port", d.Port,
		"in", p.in, "out", p.out, "ms", float64(time.Since(began).Microseconds()) / 1000,
	}
	if err != nil {
		attrs = append(attrs, "error", bounded(err.Error()))
	}
	d.log("connection", attrs...)
}

var (
	errPeerCrowded = errors.New("its address has as many as it may have")
	errIdle        = errors.New("nothing came for too long")
	errEnded       = errors.New("the gateway has ended")
)

// connect reaches the service and moves bytes both ways.
func (d *tcpDoor) connect(p *pair, near *net.TCPConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	// It is a listener of the monitor's inside our own network: who waits for an
	// instance is the connection, not the dial.
	c, err := d.dial(ctx, "tcp", d.to)
	if err != nil {
		return err
	}
	defer c.Close()
	far := c.(*net.TCPConn)
	if !d.holds(far) {
		return errEnded
	}
	defer d.forget(far)
	p.idle = time.Duration(d.IdleMS) * time.Millisecond
	return p.run(near, far)
}

// dialTimeout is for a connection within our own network.
const dialTimeout = 10 * time.Second

// peerOf is who counts as one: an address of IPv4, or what one subscriber has of IPv6.
func peerOf(a net.Addr) netip.Prefix {
	addr := a.(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// enter counts a connection of peer, if it may have one more.
func (d *tcpDoor) enter(peer netip.Prefix, c *net.TCPConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || d.peers[peer] >= d.PerPeer {
		return false
	}
	d.peers[peer]++
	d.open[c] = struct{}{}
	return true
}

func (d *tcpDoor) leave(peer netip.Prefix, c *net.TCPConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.peers[peer]--; d.peers[peer] == 0 {
		delete(d.peers, peer)
	}
	delete(d.open, c)
}

// holds notes the other end of a connection, unless all have been closed.
func (d *tcpDoor) holds(c *net.TCPConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		d.open[c] = struct{}{}
	}
	return !d.ended
}

func (d *tcpDoor) forget(c *net.TCPConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, c)
}

// end closes all connections: when one would have come to its end is known to those who
// use it alone.
func (d *tcpDoor) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for c := range d.open {
		c.Close()
	}
}

// pair moves the bytes of one connection. Each end is closed for writing when the
// other has said that nothing more comes; what one does not take, the other is not
// asked for.
type pair struct {
	idle    time.Duration
	began   time.Time
	last    atomic.Int64 // when a byte moved, from began on
	in, out int64        // bytes from near and to it, once run has returned
}

// run returns when both directions have ended, or when one has broken or nothing has
// moved either way for so long: then both are closed.
func (p *pair) run(near, far *net.TCPConn) error {
	p.began = time.Now()
	var both sync.WaitGroup
	var once sync.Once
	var broken error
	move := func(dst, src *net.TCPConn, n *int64) {
		var err error
		if *n, err = p.move(dst, src); err != nil {
			once.Do(func() { broken = err })
			near.Close()
			far.Close()
		}
	}
	both.Go(func() { move(far, near, &p.in) })
	both.Go(func() { move(near, far, &p.out) })
	both.Wait()
	return broken
}

// chunk is how much of one direction is in our hands: little, for there are many.
const chunk = 16 << 10

func (p *pair) move(dst, src *net.TCPConn) (all int64, err error) {
	buf := make([]byte, chunk)
	for {
		n, err := p.each(src.SetReadDeadline, func() (int, error) { return src.Read(buf) })
		for left := buf[:n]; len(left) > 0; {
			n, err := p.each(dst.SetWriteDeadline, func() (int, error) { return dst.Write(left) })
			all, left = all+int64(n), left[n:]
			if err != nil {
				return all, err
			}
		}
		if err == io.EOF {
			dst.CloseWrite() // it may have gone: then the other direction says so
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// each does something until it has moved a byte, or ended, or until nothing has moved
// either way for too long.
func (p *pair) each(deadline func(time.Time) error, do func() (int, error)) (int, error) {
	for {
		left := p.idle - p.since()
		if left <= 0 {
			return 0, errIdle
		}
		if err := deadline(time.Now().Add(left)); err != nil {
			return 0, err
		}
		n, err := do()
		if n > 0 {
			p.moved()
		}
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case n > 0:
			return n, nil
		}
	}
}

func (p *pair) moved() { p.last.Store(int64(time.Since(p.began))) }

// since is how long ago a byte moved.
func (p *pair) since() time.Duration { return time.Since(p.began) - time.Duration(p.last.Load()) }
