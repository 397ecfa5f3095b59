package monitor

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"cofferdam/wire"
)

// use is what an environment does by a grant, and the rights that it was decided by. The
// zero value is what needs none.
type use struct {
	op     op
	object string
	has    *rights
}

// Cut is how much was ended by a policy that does not grant it any more.
type Cut struct {
	Calls, Connections, Waits, Children, Mounts int
}

// Any tells whether there was something.
func (c Cut) Any() bool { return c != (Cut{}) }

// Enforce makes p the policy, for all that is decided from now on and for all that
// goes on already: when it returns, nothing is open that p does not grant. Calls that
// were made by a grant which is gone end as canceled, connections are closed, children
// killed, and directories unmounted. With an error nothing has changed.
//
// A service, a mailbox and a rate that p has as it was go on with all that they hold.
// One that has changed starts anew: its instances up to then are asked nothing more, and those
// that are at the same labels may finish what they are at. If it becomes again what
// it was, they are there again.
func (m *Monitor) Enforce(p Policy) (Cut, error) {
	m.enforcing.Lock()
	defer m.enforcing.Unlock()
	next, err := p.compile()
	if err != nil {
		return Cut{}, err
	}
	before := m.policy.Load()
	if before == nil {
		before = &policy{}
	}
	m.mu.Lock()
	envs := slices.SortedFunc(maps.Values(m.envs), func(a, b *Env) int { return cmp.Compare(a.number, b.number) })
	running := make(map[string][]*Env)
	for _, e := range envs {
		running[e.id.Service] = append(running[e.id.Service], e)
	}
	next.succeed(m, before, running)
	m.policy.Store(next)
	for _, e := range envs {
		e.rights.Store(next.rightsAfter(e))
		for _, b := range next.owned[e.id.Service] {
			if b != before.mailboxes[b.name] {
				b.join(e)
			}
		}
	}
	m.mu.Unlock()

	var cut Cut
	for _, e := range envs {
		cut = cut.plus(e.cutUngranted())
	}
	for name, s := range before.services {
		if next.services[name] != s {
			s.retire()
		}
	}
	return cut, nil
}

// rightsAfter are those of e under p. One whose service is not there any more, or has become
// something else at other labels, has none.
func (p *policy) rightsAfter(e *Env) *rights {
	none := &rights{policy: p}
	now := p.services[e.id.Service]
	if now == nil {
		return none
	}
	as, has, err := p.rightsOf(now, e.id.Principal)
	switch {
	case err != nil:
		return none
	case now == e.self && (as.like(e.as) || e.self.Instances == PerLabel):
		return has
	case as.Flow == e.as.Flow && as.Instances == e.self.Instances && as.Instances != PerLabel:
		return has
	}
	return none
}

// succeed makes or takes over what p is about. running are the environments that there are, by service.
func (p *policy) succeed(m *Monitor, before *policy, running map[string][]*Env) {
	p.services, p.mailboxes, p.owned = make(map[string]*service), make(map[string]*mailbox), make(map[string][]*mailbox)
	for _, s := range p.Services {
		old := before.services[s.Name]
		switch there := old.orOf(running[s.Name], s); {
		case there != nil:
			p.services[s.Name] = there
		default:
			p.services[s.Name] = newService(m, s)
			p.services[s.Name].countsOn(old)
		}
	}
	for _, b := range p.Mailboxes {
		b.Rates = Rates{}
		box := before.mailboxes[b.Name]
		if box == nil || box.as != b || p.services[b.Owner] != before.services[b.Owner] {
			box = newMailbox(b)
		}
		p.mailboxes[b.Name] = box
		if b.Owner != "" {
			p.owned[b.Owner] = append(p.owned[b.Owner], box)
		}
	}
	known := make(map[*limit]bool)
	for from, byKind := range p.bySubject {
		for kind, byObject := range byKind {
			for to, g := range byObject {
				old, ok := before.bySubject[from][kind][to]
				if !ok {
					continue
				}
				g.toll.succeed(old.toll, known)
				g.traffic = old.traffic
				byObject[to] = g
			}
		}
	}
	for kind, t := range p.totals {
		t.succeed(before.totals[kind], known)
	}
}

// succeed lets each limit go on from where the one that it takes the place of was, unless
// it is among the known already.
func (t *toll) succeed(old *toll, known map[*limit]bool) {
	if t == nil || old == nil {
		return
	}
	for _, pair := range [][2][]*limit{{t.uses, old.uses}, {t.bytes, old.bytes}} {
		var taken []*limit
		for _, l := range pair[0] {
			i := slices.IndexFunc(pair[1], func(o *limit) bool {
				return o.key == l.key && o.Rate == l.Rate && !slices.Contains(taken, o)
			})
			if i < 0 {
				continue
			}
			taken = append(taken, pair[1][i])
			if !known[l] {
				l.tally, known[l] = pair[1][i].tally, true
			}
		}
	}
}

// orOf is old, or one that it has taken the place of and of which there are instances still, if
// it is as s says; nil if there is none.
func (old *service) orOf(running []*Env, s Service) *service {
	if old != nil && old.Service.like(s) {
		return old
	}
	for _, e := range running {
		if !e.retired.Load() && e.self.Service.like(s) {
			e.self.mu.Lock()
			e.self.state = Up
			e.self.notify()
			e.self.mu.Unlock()
			return e.self
		}
	}
	return nil
}

// countsOn lets s count on from where old was, which may be nil.
func (s *service) countsOn(old *service) {
	if old == nil {
		return
	}
	s.counts = old.counts
	for name, md := range s.methods {
		if was := old.methods[name]; was != nil {
			md.counts = was.counts
		}
	}
}

// like tells whether those who reach a service, and its instances, cannot tell it from t.
func (s Service) like(t Service) bool {
	if (s.For == nil) != (t.For == nil) {
		return false
	}
	for _, one := range []*Service{&s, &t} {
		one.For, one.Granted, one.PortRates, one.Methods = nil, nil, nil, slices.Clone(one.Methods)
		for i := range one.Methods {
			one.Methods[i].Rates = Rates{} // which are asked of the policy
		}
	}
	return reflect.DeepEqual(s, t)
}

// retire is for one that another one has taken the place of, or none: calls that wait
// for it have reached nobody.
func (s *service) retire() {
	s.mu.Lock()
	s.state = Stopped
	waiting := s.takeWaiting()
	s.notify()
	s.mu.Unlock()
	for _, k := range waiting {
		k.refuse(Stopped.code(), nil, nil)
	}
}

// still tells whether e may go on with something that it began.
func (e *Env) still(u use) bool {
	has := e.rights.Load()
	switch {
	case u.has == has, u.has == nil:
		return true
	case u.op == opRecv:
		b := has.policy.mailboxes[u.object]
		return b != nil && b.owner == e.id.Service
	}
	return has.grants.decide(u.op, u.object, len(e.id.Bound) > 0).Allowed &&
		has.grants[u.op.kind][u.object].lets(u.has.grants[u.op.kind][u.object])
}

// lets tells whether what was begun by old may go on by g.
func (g Grant) lets(old Grant) bool {
	return g.Out == old.Out && g.In == old.In && g.Request == old.Request && g.Answer == old.Answer &&
		(g.Private || !old.Private) && (g.ForAnyone || !old.ForAnyone)
}

// cutUngranted ends what e does by a grant that it does not have any more. Whoever
// begins something first books it and then looks whether the rights that it was decided
// by are still those of e: so it is found here, or it is not begun.
func (e *Env) cutUngranted() (cut Cut) {
	e.mu.Lock()
	conns, relays := slices.Collect(maps.Keys(e.conns)), slices.Collect(maps.Keys(e.relays))
	children := slices.Collect(maps.Keys(e.children))
	e.mu.Unlock()
	for _, c := range conns {
		cut = cut.plus(c.cutUngranted())
	}
	for _, r := range relays {
		if r.cutUngranted(e) {
			cut.Connections++
		}
	}
	for _, r := range children {
		if !e.still(r.use) {
			r.stop()
			cut.Children++
		}
	}
	has := e.rights.Load()
	for ref, dir := range e.references.all() {
		object := dir
		if ref.in != e {
			object = ref.in.id.Service + ":" + dir
		}
		to, share := has.policy.shareOf(object)
		if share == nil || !has.grants.decide(opMount, to, len(e.id.Bound) > 0).Allowed || !ref.in.shows(ref.alias, share) ||
			ref.in.self.Instances == PerPrincipal && ref.in != e && !e.speaksFor(has, to, ref.in.id.Principal) {
			ref.in.release(e, ref)
			cut.Mounts++
		}
	}
	return cut
}

func (c Cut) plus(d Cut) Cut {
	return Cut{c.Calls + d.Calls, c.Connections + d.Connections, c.Waits + d.Waits, c.Children + d.Children, c.Mounts + d.Mounts}
}

// cutUngranted is that of an environment for the requests on one connection.
func (c *conn) cutUngranted() (cut Cut) {
	e := c.env
	c.mu.Lock()
	asked := slices.Collect(maps.Values(c.asked))
	c.mu.Unlock()
	for _, r := range asked {
		switch r := r.(type) {
		case *call:
			md := r.method
			// One that an instance of its service is at which that has changed meanwhile
			// goes on, if no label has to do with it.
			now := e.rights.Load().policy.services[md.of.Name]
			goesOn := now == md.of || now != nil && r.terms == nil && r.isAtSomebody()
			if !goesOn || !e.still(use{opCall, md.of.Name + "." + md.Name, r.has}) {
				r.ungranted()
				cut.Calls++
			}
		case *wait:
			now := e.rights.Load().policy.mailboxes[r.box.name]
			if r.use.has != nil && (now != r.box || !e.still(r.use)) {
				r.cut()
				cut.Waits++
			}
		}
	}
	return cut
}

// isAtSomebody tells whether an instance has it.
func (k *call) isAtSomebody() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at != nil
}

// ungranted ends a call that its caller may not make any more. That is the operator's
// doing, and so for both sides to see.
func (k *call) ungranted() {
	if k.end(wire.Canceled) {
		k.from.settle(k.fromID, k, wire.Canceled, nil)
		k.release()
	}
}

// cutUngranted closes r if e may not go on with it.
func (r *relay) cutUngranted(e *Env) bool {
	r.mu.Lock()
	u, closed := r.use, r.closed
	r.mu.Unlock()
	if closed || e.still(u) {
		return false
	}
	r.close()
	return true
}

// all are those that there are, with the directories that they are of.
func (r *references) all() map[reference]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.dirs)
}

// shows tells whether what e is shown under alias is of that share, as it is.
func (e *Env) shows(alias string, share *Share) bool {
	e.mounts.mu.Lock()
	defer e.mounts.mu.Unlock()
	m := e.mounts.at[alias]
	return m != nil && *m.share == *share
}
