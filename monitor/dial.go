package monitor

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"cofferdam/label"
	"cofferdam/wire"
)

// SendsCopies says that programs of e cannot pass on memory by reference (see executor.Spec.Sendfile): what they
// have sent is not theirs to change. So they may be handed sockets, and the kernel may move what they send. It
// comes before any of them runs.
func (e *Env) SendsCopies() { e.copies.Store(true) }

// Hands says how to connect to e for a program of another environment that is to have the
// socket. It comes before Listening.
func (e *Env) Hands(hand Dialer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hand = hand
}

// direct tells whether a connection may be one of which a program has the socket.
func (r *rights) direct(object string) bool { return r.grants[KindConnect][object].Direct }

// dial decides on a connection to a port of a service that a program wants to have the socket of.
// Where that is not to be had, it is told to connect by the name, and nothing is decided.
func (c *conn) dial(f *wire.Frame) bool {
	if c.isHanded(f.ID) {
		return false
	}
	asks, err := wire.ParseDial(f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	object := strings.ToValidUTF8(string(f.NameBytes), "�")
	service, portText, _ := strings.Cut(object, ":")
	port, _ := strconv.Atoi(portText)
	v := c.env.newVisit(nil, service, port)
	v.asks = &asks
	if !v.handable(object) {
		return c.reply(f.ID, wire.OK, nil)
	}
	timeout := connectTimeout
	if f.Timeout > 0 {
		timeout = min(timeout, f.Timeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	v.h = &handed{e: c.env, stop: cancel, fd: -1}
	if code := c.ask(f.ID, v.h); code != wire.OK {
		cancel()
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	if !c.env.holdRelay(v.h) {
		cancel()
		c.settle(f.ID, v.h, wire.Busy, nil)
		time.Sleep(c.env.calmly(connectionWorth))
		return true
	}
	go c.hand(ctx, v, f.ID, object)
	return true
}

// handable tells whether the program may have the socket of v: if the manifest lets it, no byte has to be
// counted, and at both ends the label is the only one that there can be. What is refused
// anyhow is.
func (v *visit) handable(object string) bool {
	e := v.e
	g, granted := v.has.grants[KindConnect][object]
	if !granted || v.to == nil {
		return true
	}
	door := &v.has.policy.Door
	asDoor := door.Service == e.id.Service
	totals := v.has.policy.totals[KindConnect]
	switch {
	case !g.Direct || !e.copies.Load():
		return false
	case v.to.HTTP == v.port && !asDoor:
		return false // the door puts the caller's name into each request
	case g.Deadline > 0:
		return false // it is to be seen whether it reads
	case g.Out != label.True || g.In != label.True:
		return false
	case g.toll.countsBytes() || totals.countsBytes():
		return false
	case !e.flow.isFixed():
		return false
	}
	principal, at := e.id.Principal, e.at().Label
	switch {
	case asDoor && door.People != nil:
		if v.asks.Route == 0 {
			return false // of a connection between services, whose labels are another's
		}
		people, err := door.People(int(v.asks.Route-1), v.to.Name, v.asks.Principal)
		if err != nil {
			return true
		}
		principal, at = v.asks.Principal, people.Request
	case g.ForAnyone:
		principal = v.asks.Principal
	case v.asks.Principal != "" || v.asks.Route != 0:
		return false
	}
	as, _, err := v.to.meets(principal, at)
	return err != nil || as.Flow.isFixed()
}

// countsBytes tells whether t limits what passes.
func (t *toll) countsBytes() bool { return t != nil && len(t.bytes) > 0 }

// isFixed tells whether what starts so has the one label for good, but for privileges that
// others give it.
func (f *Flow) isFixed() bool { return f.Label == f.Clearance && f.Owns == label.True }

// isFixed tells that of one as it is now.
func (f *flow) isFixed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.state.Load()
	return now.Label == now.Clearance && f.authority() == label.True
}

// hand makes the connection, and hands its socket to who has asked.
func (c *conn) hand(ctx context.Context, v *visit, id uint64, object string) {
	e, h := c.env, v.h
	defer h.stop()
	decide := e.visits
	if door := &v.has.policy.Door; door.People != nil && door.Service == e.id.Service {
		decide = e.visitsFor
	}
	v, err := decide(ctx, v, object)
	h.is(use{opConnect, object, v.has})
	if e.rights.Load() != v.has {
		e.cutUngranted()
	}
	if err == nil && v.meter != nil {
		err = wire.ErrUnavailable // whoever counts bytes came meanwhile
	}
	if err == nil {
		err = v.connectByHand(ctx)
	}
	if err != nil {
		v.end()
	} else {
		err = c.give(ctx, h, id) // and with the connection the visit ends
	}
	if err != nil {
		h.cut()
		c.refuseHand(id, h, err)
	}
}

// refuseHand answers a request for a socket, if it has not been withdrawn.
func (c *conn) refuseHand(id uint64, h *handed, err error) {
	if !c.claim(id, h) {
		return
	}
	f := &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: id}}
	if much := (*tooMuch)(nil); errors.As(err, &much) {
		f.Code, f.Timeout, f.Body = wire.Limited, much.wait, much.limit.text
		c.env.calmly(connectionWorth)
	} else {
		f.Code, f.Body = refusalOf(err)
	}
	c.send(nil, f)
}

// connectByHand connects to the instance. Who may not know why there is none waits for as long as
// he would for anybody.
func (v *visit) connectByHand(ctx context.Context) error {
	far, by, err := v.lead(ctx, v.h, v.dial)
	if err != nil {
		if why := (*lost)(nil); errors.As(err, &why) && !v.mayKnow(why.by) {
			<-ctx.Done()
		}
		return wire.ErrUnavailable
	}
	if v.met(by) != nil {
		by.part(v.h)
		far.Close()
		return wire.ErrUnavailable // it has changed since it was chosen, at its own request
	}
	err = v.h.attach(far, v.over(by))
	if err != nil {
		by.part(v.h)
		if errors.Is(err, errTooManyHanded) {
			v.e.self.counts.hit(limitConnections)
			return wire.ErrBusy
		}
		return wire.ErrUnavailable
	}
	v.traffic.opens()
	return nil
}

// over is what becomes of v when its connection is.
func (v *visit) over(by *Env) func() {
	h, request := v.h, &carried{by: by, port: v.port, heard: by.heard.Load()}
	return func() {
		by.part(h)
		v.traffic.carriedBy(h)
		if h.carried.any {
			by.heard.Add(1)
		}
		if v.e.id.Service == v.has.policy.Door.Service && v.to.HTTP == v.port {
			request.sent = h.lastOut
			request.answered(h.carried.any, h.unanswered)
		}
		v.end()
	}
}

// opens and carriedBy count a connection that is handed.
func (t *traffic) opens() {
	if t != nil {
		t.total.Add(1)
		t.open.Add(1)
	}
}

func (t *traffic) carriedBy(h *handed) {
	if t != nil {
		t.open.Add(-1)
		t.out.Add(h.carried.sent)
		t.in.Add(h.carried.received)
	}
}

// give sends the socket of h in reply to the request with this id, if that has not been
// withdrawn. It waits for who is slow to read.
func (c *conn) give(ctx context.Context, h *handed, id uint64) error {
	f := &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: id, Flags: wire.FlagSocket}}
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := h.lend(func(fd int) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.asked[id] != request(h) {
				return errGone
			}
			if err := c.out.sendWith(f, fd); err != nil {
				return err
			}
			delete(c.asked, id)
			c.env.inFlight.Add(-1)
			if c.handed == nil {
				c.handed = make(map[uint64]*handed)
			}
			c.handed[id] = h
			return nil
		})
		if err != errFull {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return wire.ErrBusy
		}
	}
}

// takeHanded takes the connection that was asked for under id out of the books.
func (c *conn) takeHanded(id uint64) *handed {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.handed[id]
	delete(c.handed, id)
	return h
}

// isHanded tells whether there is a connection that was asked for under id.
func (c *conn) isHanded(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handed[id] != nil
}

// spokeSince tells whether something has come from e since then by a connection that leads to
// it and of which another has the socket.
func (e *Env) spokeSince(t time.Time) bool {
	var all []*handed
	e.mu.Lock()
	for l := range e.inbound {
		if h, ok := l.(*handed); ok {
			all = append(all, h)
		}
	}
	e.mu.Unlock()
	for _, h := range all {
		if h.receivedSince(t) {
			return true
		}
	}
	return false
}
