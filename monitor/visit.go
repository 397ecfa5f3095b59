package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// visit is a connection of an environment to a port of a service, as it was decided
// on, with what lasts of it at both ends.
type visit struct {
	e    *Env
	r    *relay     // nil if its program gets the socket:
	h    *handed    // then this
	asks *wire.Dial // is what it was asked for with
	has  *rights    // of e, by which it is decided
	to   *service
	port int
	key  Key // of the instance

	principal string // for whom it is
	at        guard.Endpoint
	with      label.Privileges
	quiet     bool          // see terms
	meter     *meter        // nil if nothing is counted
	limit     time.Duration // see Grant.Deadline

	traffic *traffic // of the grant

	number  uint64 // that a door knows it by, 0 for none
	door    *Env   // to which it leads then
	release func() // of the instance, if it was started for the key; nil for nothing

	by                   *Env // the instance; nil until it was met, or if it is a door
	says, hears          lasting
	byAnswers, byListens lasting
}

// newVisit is one that is to be decided on.
func (e *Env) newVisit(r *relay, to string, port int) *visit {
	has := e.rights.Load()
	return &visit{e: e, r: r, has: has, to: has.policy.services[to], port: port, principal: e.id.Principal}
}

// visits decides whether programs of e may connect by v.r to a port of a service, which is nil
// if there is none.
func (e *Env) visits(ctx context.Context, v *visit, object string) (*visit, error) {
	to := v.to
	d := v.has.grants.decide(opConnect, object, len(e.id.Bound) > 0)
	num := e.m.calls.Add(1)
	if !d.Allowed || to == nil {
		if err := e.m.conclude(e, opConnect, object, num, d); err != nil {
			return v, err
		}
		return v, ErrDenied // the policy grants what is not there
	}
	g := v.has.grants[KindConnect][object]
	v.traffic, v.limit = g.traffic, g.Deadline
	detail, err := "", error(nil)
	if g.ForAnyone {
		detail, err = v.isFor(ctx)
	}
	if much := v.charge(object, d.toll); much != nil { // also of one that does not say for whom
		return v, much
	}
	if err == nil {
		err = v.agree(&g, object)
	}
	if err != nil {
		d = Verdict{Rule: d.Rule + ": " + err.Error()}
	}
	if logErr := e.m.concludeFor(e, v.principal, opConnect, object, num, d, detail, labelsOf(e.at(), v.with, v.at)); err == nil {
		err = logErr
	}
	return v, err
}

// charge counts the connection against the rates of its grant and of whom it is for.
func (v *visit) charge(object string, t *toll) error {
	e, total := v.e, v.e.total(KindConnect)
	who := e.payer
	if v.principal != e.id.Principal {
		if total = nil; v.principal != "" {
			total = v.has.policy.totals[KindConnect]
		}
		who = func() payer {
			p := e.payer()
			p.principal = v.principal
			return p
		}
	}
	if err := who().within(e, opConnect, object, 0, t, total); err != nil {
		return err
	}
	v.meter = e.meterOf(opConnect, object, who, t, total)
	return nil
}

// isFor takes off the line that says for whom the connection is.
func (v *visit) isFor(ctx context.Context) (detail string, err error) {
	line, err := v.line(ctx)
	if err != nil {
		return "", err
	}
	if v.principal, err = somebody(line); err != nil {
		return fmt.Sprintf("%q", printable(line)), err
	}
	return forWhom(v.principal), nil
}

// agree finds the labels of the connection, compares the caller with them, and books that it
// lasts.
func (v *visit) agree(g *Grant, object string) (err error) {
	e := v.e
	if v.with, err = e.may(g, label.Privileges{}); err != nil {
		return err
	}
	as, key, err := v.to.meets(v.principal, e.at().Label)
	if err != nil {
		return err
	}
	v.key, v.at = key, as.portEndpoint(v.port)
	v.quiet = quiet(&as, v.at)
	stop, gone := v.cuts()
	return e.lastAs("connection to "+object, v.with, v.at, stop, gone, &v.says, &v.hears)
}

// lastAs books both halves of a connection that e has made: what it says and what it
// hears. stop is called if what it says is to be cut, and gone if what it hears is.
func (e *Env) lastAs(name string, with label.Privileges, at guard.Endpoint, stop, gone func(), says, hears *lasting) error {
	out, in := label.Privileges{Out: with.Out}, label.Privileges{In: with.In}
	*says = lasting{
		name: name, with: out,
		holds: func(s guard.State) error { return s.Alloc(out, at.Request) },
		cut:   stop,
	}
	*hears = lasting{
		name: name + ", what it is answered", with: in,
		holds: func(s guard.State) error { return s.Read(in, at.Answer) },
		cut:   gone,
	}
	if err := e.flow.lasts(says); err != nil {
		return err
	}
	return e.flow.lasts(hears)
}

// line is that with which the connection begins, or would if it was relayed.
func (v *visit) line(ctx context.Context) (string, error) {
	switch {
	case v.h == nil:
		return v.r.near.line(ctx)
	case v.asks.Route != 0:
		return fmt.Sprintf("COFFERDAM for %s %d", hexOf(v.asks.Principal), v.asks.Route-1), nil
	case v.asks.Principal != "":
		return "COFFERDAM for " + hexOf(v.asks.Principal), nil
	}
	return "", errors.New("for nobody")
}

// cuts are how it ends if its maker may not say any more, or may not hear.
func (v *visit) cuts() (stop, gone func()) {
	if v.h != nil {
		return v.h.cut, v.h.cut
	}
	r, held := v.r, &v.e.held
	return func() { r.out.stop(held) }, r.nearGone
}

// byCuts is the same of who it leads to.
func (v *visit) byCuts() (stop, gone func()) {
	if v.h != nil {
		return v.h.cut, v.h.cut
	}
	r, held := v.r, &v.by.held
	r.in.heard = &v.by.heard
	return func() { r.in.stop(held) }, r.farGone
}

// met books both halves at the other end.
func (v *visit) met(by *Env) error {
	if v.by = by; v.by.self != v.to {
		return nil // the door: what it leads to is checked when it connects
	}
	stop, gone := v.byCuts()
	name := fmt.Sprintf("connection from %s to port %d", v.e.id.Service, v.port)
	v.byAnswers = lasting{
		name:  name,
		holds: func(s guard.State) error { return s.Answer(by.given(), v.at.Answer) },
		cut:   stop,
	}
	v.byListens = lasting{
		name:  name + ", what it is asked",
		holds: func(s guard.State) error { return s.Read(by.given(), v.at.Request) },
		cut:   gone,
	}
	if err := by.flow.lasts(&v.byAnswers); err != nil {
		return err
	}
	return by.flow.lasts(&v.byListens)
}

// end releases what lasted.
func (v *visit) end() {
	v.e.flow.release(&v.says)
	v.e.flow.release(&v.hears)
	if v.by != nil {
		v.by.flow.release(&v.byAnswers)
		v.by.flow.release(&v.byListens)
	}
	v.letGo()
}

// lead connects by how, and books l at who it leads to. That one may have ended, or been retired, since it
// was chosen: then it was told that nothing leads to it, and the next one is looked for.
func (v *visit) lead(ctx context.Context, l link, how func(context.Context) (net.Conn, *Env, error)) (net.Conn, *Env, error) {
	for {
		far, by, err := how(ctx)
		if err != nil || by.meet(l) {
			return far, by, err
		}
		far.Close()
		v.letGo()
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(seekPause):
		}
	}
}

// letGo releases what was reached, as far as it is only for being reached.
func (v *visit) letGo() {
	if v.number != 0 {
		v.e.m.bridged.remove(v.number)
		v.number = 0
	}
	if v.release != nil {
		v.release()
		v.release = nil
	}
}

// reach connects to the target itself, or, where one service speaks HTTP to
// another, to the door that puts the caller's name into each request: parsing
// HTTP is nothing for the monitor. The door is trusted not to mix what passes
// it, and is told nothing before the caller may speak to the target.
func (v *visit) reach(ctx context.Context) (net.Conn, *Env, error) {
	door := v.has.policy.Door
	if v.to.HTTP != v.port || v.e.id.Service == door.Service {
		return v.dial(ctx)
	}
	bridge := v.has.policy.services[door.Service]
	if bridge == nil {
		return nil, nil, &lost{nil, errors.New("no door that speaks HTTP")}
	}
	far, by, err := bridge.connect(ctx, door.Port, Key{}, guard.Endpoint{}, byRelay)
	if err != nil {
		return nil, nil, err
	}
	// A line fits into the empty buffer of a new socket: this does not wait.
	if _, err := io.WriteString(far, v.prefaceTo(by)); err != nil {
		far.Close()
		return nil, nil, &lost{by, err}
	}
	return far, by, nil
}

// dial connects to the instance with the key, which is started if there is none. That one
// has ended is known here before it is to whoever starts them: one that cannot be
// reached is looked for again.
func (v *visit) dial(ctx context.Context) (net.Conn, *Env, error) {
	way := byRelay
	if v.h != nil {
		way = byHand
	}
	if v.to.Instances == Shared {
		return v.to.connect(ctx, v.port, v.key, v.at, way)
	}
	for until := time.Now().Add(seekFor); ; {
		asked, done := v.e.turn(ctx, portOf(v.to.Name, v.port), v.key.Principal)
		release, err := v.e.m.spawner.Instance(asked, v.to.Name, v.key)
		done()
		if ctx.Err() != nil && err != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			return nil, nil, &lost{nil, err}
		}
		c, by, err := v.to.connect(ctx, v.port, v.key, v.at, way)
		if err == nil {
			v.release = release
			return c, by, nil
		}
		release()
		if ctx.Err() != nil || time.Now().After(until) {
			return nil, nil, err
		}
		time.Sleep(seekPause)
	}
}

// seekFor is how long one is looked for that was there and cannot be reached.
const seekFor = time.Second

// refuse closes the connection because nobody is there. If the caller may not know
// why, it waits for as long as it would for anybody.
func (v *visit) refuse(ctx context.Context, err error) {
	answer := unreached
	if why := (*lost)(nil); errors.As(err, &why) {
		if v.mayKnow(why.by) {
			answer = unavailable
		} else {
			<-ctx.Done()
		}
	}
	if v.to.HTTP != v.port {
		answer = ""
	}
	refuse(v.r.near, answer)
}

// mayKnow is as that of a call.
func (v *visit) mayKnow(by *Env) bool {
	if by != nil && !by.at().Label.FlowsTo(v.at.Answer) {
		return false
	}
	return !v.quiet
}
