package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/guard"
)

// Dialer connects to a port inside an instance.
type Dialer func(ctx context.Context, port int) (net.Conn, error)

// link is a connection that an environment has made: a relay, or one that is handed.
type link interface {
	cutUngranted(e *Env) bool // ends it if e may not go on with it
	nearGone()                // who made it has ended, or may not read any more
	farGone()                 // who it leads to has
	isOwed() bool             // who made it has written last, and not been answered
}

// instance is one that takes connections.
type instance struct {
	env        *Env
	dial, hand Dialer // hand is nil if its sockets are not for programs
}

// dialers are instances of which any is as good as another.
type dialers struct {
	of   []instance
	next int
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
	all := s.dialers[e.key]
	if all == nil {
		if all = new(dialers); s.dialers == nil {
			s.dialers = make(map[Key]*dialers)
		}
		s.dialers[e.key] = all
	}
	all.of = append(all.of, instance{e, dial, e.hand})
	s.notify()
}

func (s *service) instanceGone(e *Env) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropDialer(e)
	s.hidden = s.hidden || !e.at().Label.FlowsTo(e.flow.container)
	s.notify()
}

// dropDialer takes e out of those that take connections. Called with mu held.
func (s *service) dropDialer(e *Env) {
	all := s.dialers[e.key]
	if all == nil {
		return
	}
	all.of = slices.DeleteFunc(all.of, func(i instance) bool { return i.env == e })
	if len(all.of) == 0 {
		delete(s.dialers, e.key)
	}
}

// lost is why a connection could not be made: because of the state of by, or without one
// of the service as such.
type lost struct {
	by  *Env
	err error
}

func (l *lost) Error() string { return l.err.Error() }

// connect dials the next instance with that key which may be asked at an endpoint,
// waiting for one within ctx, and says which it was; way is byRelay or byHand. The error is
// of ctx, or a *lost.
func (s *service) connect(ctx context.Context, port int, key Key, at guard.Endpoint, way func(instance) Dialer) (net.Conn, *Env, error) {
	var since time.Time // when one could not be reached that was there
	for pause := seekPause; ; pause = min(2*pause, 10*seekPause) {
		s.mu.Lock()
		changed, state := s.changed, s.told()
		var to instance
		all := s.dialers[key]
		any := all != nil
		for i := 0; any && i < len(all.of); i++ {
			next := all.of[all.next%len(all.of)]
			all.next++
			if next.env.standsIn(next.env.at(), at) == nil {
				to = next
				break
			}
		}
		s.mu.Unlock()
		if state != Up {
			return nil, nil, &lost{nil, fmt.Errorf("connect to %s: %v", s.Name, state.code())}
		}
		if !any && s.Instances != Shared {
			return nil, nil, &lost{nil, fmt.Errorf("connect to %s: it has ended", s.Name)} // whoever starts them is to be asked
		}
		var err error
		if to.env != nil && way(to) == nil {
			return nil, nil, &lost{to.env, fmt.Errorf("connect to %s: its sockets are not for others", s.Name)}
		}
		if dial := way(to); dial != nil {
			var c net.Conn
			if c, err = dial(ctx, port); err == nil {
				return c, to.env, nil
			}
			err = &lost{to.env, fmt.Errorf("connect to %s: %w", s.Name, err)}
		}
		select {
		case <-changed: // also if the instance ended while it was dialled
			continue
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		default:
		}
		var again <-chan time.Time
		if err != nil {
			// It may be about to end, and another one about to begin.
			if since.IsZero() {
				since = time.Now()
			} else if time.Since(since) > seekFor {
				return nil, nil, err
			}
			again = time.After(pause)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func byRelay(i instance) Dialer { return i.dial }
func byHand(i instance) Dialer  { return i.hand }

// relay is one connection between two environments. Each side is a TCP socket
// in the network of its own environment; the monitor moves the bytes.
//
// Labels bind it at both ends for as long as it goes on: what an environment writes
// goes to the label of requests (of answers, if it was connected to), and what it reads
// comes from the other one. When its label rises above that of what it writes, what
// it has written is delivered, the other side sees that nothing more comes, and
// then the label changes. From then on its end is hidden: what it writes is
// read and dropped, and the other side sees of it neither that it does not read nor that
// it ends.
type relay struct {
	near    *side
	orphans *orphans
	stop    context.CancelFunc // of the attempt to reach the other side
	cut     chan struct{}      // closed by close
	out     stream             // near to far
	in      stream
	asks    atomic.Bool // what has come last was from near

	mu     sync.Mutex // taken last, and alone
	closed bool
	orphan atomic.Bool // it is, or was, among the orphans
	use    use         // what it is, once that is decided
	far    *side       // nil until it is reached
}

// newRelay takes c over. It is closed if it is not a socket, which is a bug.
func (m *Monitor) newRelay(c net.Conn, stop context.CancelFunc) (*relay, error) {
	near, err := newSide(c)
	if err != nil {
		stop()
		c.Close()
		return nil, err
	}
	r := &relay{near: near, orphans: &m.orphans, stop: stop, cut: make(chan struct{})}
	r.out.from, r.out.ended, r.in.ended = near, r.cut, r.cut
	r.out.asks, r.in.answered = &r.asks, &r.asks
	return r, nil
}

// join adds the far side, and closes it if the relay has been cut meanwhile.
func (r *relay) join(c net.Conn) bool {
	far, err := newSide(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || err != nil {
		c.Close()
		return false
	}
	r.far = far
	r.out.to, r.in.from, r.in.to = far, far, r.near
	return true
}

// is says what the relay is, so that it can be cut when that is not granted any more.
func (r *relay) is(u use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use = u
}

func (r *relay) isOwed() bool { return r.asks.Load() }

// at lets rates apply, before run.
func (r *relay) at(m *meter) { r.out.through, r.in.through = m, m }

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

// nearGone closes the relay because the near side has ended, or may not read any
// more: for the far side to see, unless it may not.
func (r *relay) nearGone() { r.gone(r.near) }

func (r *relay) farGone() {
	r.mu.Lock()
	far := r.far
	r.mu.Unlock()
	r.gone(far)
}

func (r *relay) gone(x *side) {
	if x != nil && x.hidden.Load() {
		r.orphans.add(r)
		x.Close()
		return
	}
	r.close()
}

// maxOrphans is how many relays may go on though the program at one end is gone.
const maxOrphans = 1024

// orphans are those relays. Of too many the oldest ends, which then is seen.
type orphans struct {
	mu  sync.Mutex // taken last, and alone
	all []*relay
}

func (o *orphans) add(r *relay) {
	r.orphan.Store(true)
	o.mu.Lock()
	var oldest *relay
	if o.all = append(o.all, r); len(o.all) > maxOrphans {
		oldest, o.all = o.all[0], o.all[1:]
	}
	o.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
}

func (o *orphans) remove(r *relay) {
	if !r.orphan.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = slices.DeleteFunc(o.all, func(x *relay) bool { return x == r })
}

// run moves bytes both ways until both directions have ended, or one has
// broken. A half-closed connection goes on in the other direction.
func (r *relay) run() {
	done := make(chan struct{})
	go func() {
		r.move(&r.out)
		close(done)
	}()
	r.move(&r.in)
	<-done
}

// move runs one direction, and shows its end to those who may see it.
func (r *relay) move(s *stream) {
	err := s.run()
	s.err = err
	if s.answers != nil {
		s.answers.end() // who has said all may leave what else comes
	}
	var unread *readerGone
	switch {
	case err == errCut:
		s.to.halfClose()
		s.discard()
	case errors.As(err, &unread) && s.to.hidden.Load():
		s.to.Close()
		s.discard()
	case err == io.EOF:
		s.to.halfClose()
	default:
		r.close()
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
		r, err := e.m.newRelay(near, cancel)
		if err != nil {
			continue
		}
		if !e.holdRelay(r) {
			r.close()
			time.Sleep(e.calmly(connectionWorth))
			continue
		}
		time.Sleep(e.calmly(0))
		go func() {
			defer e.m.orphans.remove(r)
			defer e.dropRelay(r)
			defer r.close()
			carry(ctx, r)
		}()
	}
}

func (e *Env) relay(ctx context.Context, r *relay, to string, port int) {
	v := e.newVisit(r, to, port)
	door := v.has.policy.Door
	forPeople := door.People != nil && door.Service == e.id.Service
	decide := e.visits
	if forPeople {
		decide = e.visitsFor
	}
	v, err := decide(ctx, v, portOf(to, port))
	defer v.end()
	if err == nil {
		r.is(use{opConnect, portOf(to, port), v.has})
	}
	if e.rights.Load() != v.has {
		e.cutUngranted()
	}
	if err != nil {
		var much *tooMuch
		if errors.As(err, &much) {
			e.calmly(connectionWorth)
		}
		switch {
		case v.to != nil && v.to.HTTP != port: // it speaks something else
		case much != nil:
			refuse(r.near, much.http())
		case forPeople:
			refuse(r.near, forbidden)
		}
		return
	}
	far, by, err := v.lead(ctx, r, v.reach)
	if err != nil {
		v.refuse(ctx, err)
		return
	}
	defer by.part(r)
	if !r.join(far) {
		return
	}
	if v.met(by) != nil {
		return // it has changed since it was chosen, at its own request
	}
	r.at(v.meter)
	r.out.moves, r.in.moves = e.copies.Load(), by.copies.Load()
	defer v.traffic.counts(r)()
	if v.limit > 0 && v.by.self == v.to {
		defer by.watch(r, e.id.Instance, port, v.limit)()
	}
	if e.id.Service == door.Service && v.to.HTTP == port {
		r.out.request = &carried{by: by, port: port}
	}
	r.run() // ends by itself when either program does: the kernel closes its socket
	if r.out.request != nil {
		r.out.request.ended(r)
	}
}

// What HTTP callers get for a service that is down or broken, and people for what
// is not for them: the monitor parses no HTTP, but it may say two fixed things.
const (
	unavailable = "HTTP/1.1 503 Service Unavailable" + noMore
	unreached   = "HTTP/1.1 503 Service Unavailable\r\nCofferdam-Unreached: yes" + noMore // nobody was there in time, and may be later
	forbidden   = "HTTP/1.1 403 Forbidden" + noMore
	noMore      = "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

// http is what they get who have connected too often.
func (t *tooMuch) http() string {
	seconds := int64((t.wait + time.Second - 1) / time.Second)
	return "HTTP/1.1 429 Too Many Requests\r\nRetry-After: " + strconv.FormatInt(max(seconds, 1), 10) + noMore
}

// refuse answers, unless that is "", and closes.
func refuse(near *side, answer string) {
	defer near.Close()
	if answer == "" {
		return
	}
	near.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(near, answer); err != nil {
		return
	}
	near.halfClose()
	// Unread bytes would turn the close into a reset that overtakes the answer.
	io.CopyN(io.Discard, near, 64<<10)
}

func (e *Env) holdRelay(r link) bool {
	most := e.mostRelays()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.relays) >= most {
		e.self.counts.hit(limitConnections)
		return false
	}
	e.relays[r] = struct{}{}
	return true
}

// mostRelays is how many connections it may have made at a time.
func (e *Env) mostRelays() int {
	most := MaxRelays
	if door := &e.rights.Load().policy.Door; door.Service == e.id.Service {
		most += door.Connections
	}
	return most
}

// meet books a connection that leads to e, so that it ends with e. Once e is retired none is: it may be
// stopped as soon as it is not [Env.Busy].
func (e *Env) meet(r link) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.retired.Load() {
		return false
	}
	e.inbound[r] = struct{}{}
	return true
}

func (e *Env) part(r link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.inbound, r)
}

func (e *Env) dropRelay(r link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.relays, r)
}
