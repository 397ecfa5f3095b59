package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"cofferdam/address"
	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// Bounds of one environment's ways out.
const (
	MaxProxied = 64 // connections through the door at a time, each of which takes two relays

	maxTries    = 4               // addresses of a name that one connection tries
	tryTimeout  = 4 * time.Second // for each
	askTimeout  = 15 * time.Second
	maxEndpoint = address.MaxName + len(":65535")
)

// ViaProxy is the object of a record about the proxy itself, when nobody has asked yet for
// what it is to lead to.
const ViaProxy = "proxy"

var errViaProxy = errors.New("the proxy takes no grant and no privilege: who is not public connects by the name that is granted")

// Egress carries connections that programs of e make to l on to the endpoint
// host:port, until l is closed. See [Env.Relay] for l.
func (e *Env) Egress(l net.Listener, to string) {
	e.accept(l, func(ctx context.Context, r *relay) {
		through := &passage{env: e}
		defer through.end()
		far, code := e.leave(ctx, to, through, r, nil)
		if code == wire.OK && r.join(far) {
			r.at(through.meter)
			defer through.grant.traffic.counts(r)()
			r.run()
		}
	})
}

// leave opens a connection to the endpoint to, if that is granted: it decides on
// the name, finds its addresses, and decides on each of them right before it is
// dialled. Nothing but a literal address is ever dialled.
//
// The program is at the near side of r, and what it may not say any more is cut
// there; cut, if there is one, is called besides. What becomes of an attempt is of the
// label of answers, and so is what a name leads to: that it was asked for is known to
// the resolver as well, at most once in pinFloor.
func (e *Env) leave(ctx context.Context, to string, pass *passage, r *relay, cut func()) (net.Conn, wire.Code) {
	num := e.m.calls.Add(1)
	has := e.rights.Load()
	v := has.grants.decide(opEgress, to, len(e.id.Bound) > 0)
	if !v.Allowed {
		e.m.refuse(e, to, num, v, "", nil)
		return nil, wire.Denied
	}
	grant := has.grants[KindEgress][to]
	pass.grant = grant
	r.is(use{opEgress, to, has})
	if e.rights.Load() != has {
		e.cutUngranted()
	}
	if err := pass.agree(r, cut); err != nil {
		e.m.refuse(e, to, num, Verdict{Rule: v.Rule + ": " + err.Error()}, "", pass.labels())
		return nil, wire.Denied
	}
	if e.within(opEgress, to, grant.toll, 0) != nil {
		return nil, wire.Busy
	}
	pass.meter = e.meterOf(opEgress, to, e.payer, grant.toll, e.total(KindEgress))
	labels := pass.labels()
	addrs := []netip.Addr{grant.endpoint.Addr}
	if grant.endpoint.Name != "" {
		var err error
		if addrs, err = e.m.lookup(ctx, grant.endpoint.Name); err != nil {
			e.m.noteLabels(e, opEgress, to, num, v, "not resolved: "+err.Error(), labels)
			return nil, wire.Unavailable
		}
	}
	code := wire.Denied
	for _, addr := range addrs[:min(len(addrs), maxTries)] {
		addr = addr.Unmap()
		class := e.m.classOf(addr)
		v := grant.leadsTo(addr, class)
		detail := fmt.Sprintf("address %s, %s", addr, class)
		if !v.Allowed {
			e.m.refuse(e, to, num, v, detail, labels)
			continue
		}
		if e.m.noteLabels(e, opEgress, to, num, v, detail, labels) != nil {
			break
		}
		code = wire.Unavailable
		far, err := e.m.dial(ctx, netip.AddrPortFrom(addr, grant.endpoint.Port))
		if err == nil {
			return far, wire.OK
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, code
}

// refuse records a refusal, for which its subject waits (see ration).
func (m *Monitor) refuse(e *Env, to string, call uint64, v Verdict, detail string, labels *audit.Labels) {
	m.noteLabels(e, opEgress, to, call, v, detail, labels)
	time.Sleep(e.records.take(time.Now()))
}

// leadsTo decides whether a granted name may lead to this address, which is of
// that class. It depends on nothing else.
func (g Grant) leadsTo(addr netip.Addr, class address.Class) Verdict {
	switch class {
	case address.Public:
		return Verdict{Allowed: true, Rule: g.Rule}
	case address.Private, address.LinkLocal, address.Loopback:
		if g.Private {
			return Verdict{Allowed: true, Rule: g.Rule}
		}
		return Verdict{Rule: fmt.Sprintf("%s: leads to an address that is %s, without private: true", g.Rule, class)}
	case address.Metadata:
		if g.Private && g.endpoint.Addr == addr {
			return Verdict{Allowed: true, Rule: g.Rule}
		}
		return Verdict{Rule: g.Rule + ": leads to an address of cloud metadata, which only its own grant reaches, with private: true"}
	}
	return Verdict{Rule: g.Rule + ": leads to an address that is no machine's"}
}

// classOf is the class of an address on this host: what is the host's own, were
// it public for others, is its loopback.
func classOf(addr netip.Addr) address.Class {
	class := address.ClassOf(addr)
	if class != address.Public {
		return class
	}
	if own, err := isOwn(addr); own || err != nil {
		return address.Loopback
	}
	return class
}

func dialOut(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var d net.Dialer
	return d.DialTCP(ctx, "tcp", netip.AddrPort{}, to)
}

// passage is one connection's use of a grant.
type passage struct {
	env   *Env
	grant Grant
	meter *meter // nil if nothing is counted

	with        label.Privileges
	says, hears lasting
}

// agree compares the environment with the labels of the grant, and books that the
// connection lasts.
func (p *passage) agree(r *relay, cut func()) (err error) {
	g := &p.grant
	if p.with, err = p.env.may(g, label.Privileges{}); err != nil {
		return err
	}
	at := guard.Endpoint{Request: g.Request, Answer: g.Answer}
	stop := func() {
		r.out.stop(&p.env.held)
		if cut != nil {
			cut()
		}
	}
	return p.env.lastAs("connection to "+g.To, p.with, at, stop, r.nearGone, &p.says, &p.hears)
}

func (p *passage) labels() *audit.Labels {
	return labelsOf(p.env.at(), p.with, guard.Endpoint{Request: p.grant.Request, Answer: p.grant.Answer})
}

func (p *passage) end() {
	p.env.flow.release(&p.says)
	p.env.flow.release(&p.hears)
}

// Proxy hands connections that programs of e make to l to the door, which finds
// out, by whatever protocol the program speaks, where it wants to go. The door
// gets two connections for each: one leads to the program, and on the other it
// may ask, once, for an endpoint, which is then what that one leads to. The
// question is decided with the grants of e, whoever asks it: the door itself
// has none.
//
// What the program says to the door, which reads it, takes no privilege of a grant:
// nobody knows which one it will be. So whoever is above the door, which is public,
// leaves by the names that it was granted.
func (e *Env) Proxy(l net.Listener) {
	e.accept(l, func(ctx context.Context, r *relay) {
		if e.proxied.Add(1) <= MaxProxied {
			e.proxy(ctx, r)
		}
		e.proxied.Add(-1)
	})
}

func (e *Env) proxy(ctx context.Context, r *relay) {
	var toDoor passage
	toDoor.env = e
	defer toDoor.end()
	if p := e.rights.Load().policy; p.services[p.Egress.Service] != nil {
		at := p.services[p.Egress.Service].portEndpoint(p.Egress.Port)
		if err := e.lastAs("connection to the proxy", label.Privileges{}, at, func() { r.out.stop(&e.held) }, r.nearGone, &toDoor.says, &toDoor.hears); err != nil {
			v := Verdict{Rule: fmt.Sprintf("labels: %v; %v", err, errViaProxy)}
			e.m.refuse(e, ViaProxy, 0, v, "", labelsOf(e.at(), label.Privileges{}, at))
			return
		}
	}
	num := e.m.pairs.Add(1)
	asking, by, err := e.toDoor(ctx, "remote", num)
	if err != nil {
		return
	}
	askCtx, cancel := context.WithCancel(context.Background())
	out, err := e.m.newRelay(asking, cancel)
	if err != nil {
		return
	}
	defer e.m.orphans.remove(out)
	defer out.close()
	if !e.holdRelay(out) {
		return
	}
	defer e.dropRelay(out)
	if !by.meet(out) {
		return
	}
	defer by.part(out)

	far, by2, err := e.toDoor(ctx, "client", num)
	if err != nil || !r.join(far) || !by2.meet(r) {
		return
	}
	defer by2.part(r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer out.close()
		e.answerDoor(askCtx, out, r)
	}()
	r.run()
	out.close() // the door has nothing to ask for a program that has gone
	<-done
}

// toDoor opens a connection to the door and says what it is, in a line that
// fits into the empty buffer of a new socket.
func (e *Env) toDoor(ctx context.Context, what string, num uint64) (net.Conn, *Env, error) {
	door, port, err := e.rights.Load().policy.egressDoor()
	if err != nil {
		return nil, nil, err
	}
	c, by, err := door.connect(ctx, port, Key{}, guard.Endpoint{}, byRelay)
	if err != nil {
		return nil, nil, err
	}
	if _, err := fmt.Fprintf(c, "COFFERDAM %s %d\n", what, num); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, by, nil
}

// answerDoor waits for the door's question on out, and lets out lead to what it
// asked for. The program is at the near side of client. When that is cut, out is the
// door's alone, so that it does not end with the program.
func (e *Env) answerDoor(ctx context.Context, out, client *relay) {
	out.near.SetReadDeadline(time.Now().Add(askTimeout))
	in := wire.NewReader(out.near)
	f, err := in.Next()
	if err != nil || f.Op != wire.OpCall || string(f.NameBytes) != "open" ||
		len(f.CallerBytes) != 0 || f.Call != 0 || len(f.Body) > maxEndpoint || in.Buffered() != 0 {
		return
	}
	to := strings.ToValidUTF8(string(f.Body), "\uFFFD")
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	through := &passage{env: e}
	defer through.end()
	far, code := e.leave(ctx, to, through, client, func() { e.dropRelay(out) })
	reply := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID, Code: code}})
	if code == wire.OK && !out.join(far) {
		return
	}
	out.near.SetReadDeadline(time.Time{})
	if _, err := out.near.Write(reply); err != nil || code != wire.OK { // fits: nothing was sent before but a line
		return
	}
	out.at(through.meter)
	defer through.grant.traffic.counts(out)()
	out.run()
}
