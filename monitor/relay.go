package monitor

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Dialer connects to a port inside an instance.
type Dialer func(ctx context.Context, port int) (net.Conn, error)

// instance is one that takes connections.
type instance struct {
	env  *Env
	dial Dialer
}

// connectTimeout is how long a connection waits for an instance that takes it.
const connectTimeout = 10 * time.Second

// Listening says that e takes connections on the ports of its service.
func (e *Env) Listening(dial Dialer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	s := e.self
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialers = append(s.dialers, instance{e, dial})
	s.notify()
}

func (s *service) instanceGone(e *Env) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialers = slices.DeleteFunc(s.dialers, func(i instance) bool { return i.env == e })
	s.notify()
}

// connect dials the next instance, waiting for one within ctx, and says which
// it was.
func (s *service) connect(ctx context.Context, port int) (net.Conn, *Env, error) {
	for {
		s.mu.Lock()
		changed, state := s.changed, s.state
		var to instance
		if n := len(s.dialers); n > 0 {
			to = s.dialers[s.next%n]
			s.next++
		}
		s.mu.Unlock()
		if state != Up {
			return nil, nil, fmt.Errorf("connect to %s: %v", s.Name, state.code())
		}
		var err error
		if to.dial != nil {
			var c net.Conn
			if c, err = to.dial(ctx, port); err == nil {
				return c, to.env, nil
			}
			err = fmt.Errorf("connect to %s: %w", s.Name, err)
		}
		select {
		case <-changed: // also if the instance ended while it was dialled
			continue
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		default:
		}
		if err != nil {
			return nil, nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// relay is one connection between two environments. Each side is a TCP socket
// in the network of its own environment; the monitor moves the bytes.
type relay struct {
	near    net.Conn
	stop    context.CancelFunc // of the attempt to reach the other side
	through *passage           // whose rate applies, nil for none; set before run
	cut     chan struct{}      // closed by close

	mu     sync.Mutex // taken last, and alone
	closed bool
	far    net.Conn // nil until it is reached
}

func newRelay(near net.Conn, stop context.CancelFunc) *relay {
	return &relay{near: near, stop: stop, cut: make(chan struct{})}
}

// join adds the far side, and closes it if the relay has been cut meanwhile.
func (r *relay) join(far net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		far.Close()
		return false
	}
	r.far = far
	return true
}

// close cuts both sides.
func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	close(r.cut)
	r.stop()
	r.near.Close()
	if r.far != nil {
		r.far.Close()
	}
}

// Relay carries connections that programs of e make to l on to the port of
// service to, until l is closed. l lies in e's own network, so that whoever
// reaches it is e. Beyond MaxRelays connections are closed at once.
func (e *Env) Relay(l net.Listener, to string, port int) {
	e.accept(l, func(ctx context.Context, r *relay) { e.relay(ctx, r, to, port) })
}

// accept runs carry for each connection to l, within the bounds of e. When carry
// returns, the relay is closed.
func (e *Env) accept(l net.Listener, carry func(context.Context, *relay)) {
	for {
		near, err := l.Accept()
		if err != nil {
			if ended(err) {
				return
			}
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		r := newRelay(near, cancel)
		if !e.holdRelay(r) {
			r.close()
			continue
		}
		go func() {
			defer e.dropRelay(r)
			defer r.close()
			carry(ctx, r)
		}()
	}
}

func (e *Env) relay(ctx context.Context, r *relay, to string, port int) {
	target := e.m.services[to]
	if err := e.m.open(e, opConnect, portOf(to, port), e.m.calls.Add(1)); err != nil || target == nil {
		return
	}
	far, by, err := e.reach(ctx, target, port)
	if err != nil {
		refuse(r.near, target.HTTP == port)
		return
	}
	if !r.join(far) || !by.meet(r) {
		return
	}
	defer by.part(r)
	r.run() // ends by itself when either program does: the kernel closes its socket
}

// reach connects to the target itself, or, where one service speaks HTTP to
// another, to the door that puts the caller's name into each request: parsing
// HTTP is nothing for the monitor.
func (e *Env) reach(ctx context.Context, target *service, port int) (net.Conn, *Env, error) {
	door := e.m.policy.door
	if target.HTTP != port || e.id.Service == door.Service {
		return target.connect(ctx, port)
	}
	bridge := e.m.services[door.Service]
	if bridge == nil {
		return nil, nil, fmt.Errorf("no door that speaks HTTP")
	}
	far, by, err := bridge.connect(ctx, door.Port)
	if err != nil {
		return nil, nil, err
	}
	// A line fits into the empty buffer of a new socket: this does not wait.
	if _, err := fmt.Fprintf(far, "COFFERDAM %s %s %d\n", e.id.Service, target.Name, port); err != nil {
		far.Close()
		return nil, nil, err
	}
	return far, by, nil
}

// run moves bytes both ways until both directions have ended, or one has
// broken. A half-closed connection goes on in the other direction.
func (r *relay) run() {
	done := make(chan struct{})
	go func() {
		r.move(r.far, r.near)
		close(done)
	}()
	r.move(r.near, r.far)
	<-done
}

// move copies until src ends. Between TCP sockets the standard library splices
// inside the kernel, through a pipe that it recycles.
func (r *relay) move(dst, src net.Conn) {
	var err error
	if r.through == nil || r.through.grant.Rate.Bytes == Unlimited {
		_, err = io.Copy(dst, src)
	} else {
		err = r.through.copy(dst, src, r.cut)
	}
	if err != nil {
		r.close()
		return
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	r.close()
}

// unavailable is what HTTP callers get for a service that is down or broken:
// the monitor parses no HTTP, but it may say one fixed thing.
const unavailable = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

func refuse(near net.Conn, http bool) {
	defer near.Close()
	if !http {
		return
	}
	near.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(near, unavailable); err != nil {
		return
	}
	if tcp, ok := near.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
	// Unread bytes would turn the close into a reset that overtakes the answer.
	io.CopyN(io.Discard, near, 64<<10)
}

func (e *Env) holdRelay(r *relay) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.relays) >= MaxRelays {
		return false
	}
	e.relays[r] = struct{}{}
	return true
}

// meet books a connection that leads to e, so that it ends with e.
func (e *Env) meet(r *relay) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.inbound[r] = struct{}{}
	return true
}

func (e *Env) part(r *relay) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.inbound, r)
}

func (e *Env) dropRelay(r *relay) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.relays, r)
}
