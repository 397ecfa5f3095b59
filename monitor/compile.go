package monitor

import (
	"fmt"
	"strings"

	"cofferdam/address"
	"cofferdam/wire"
)

// policy is a Policy made ready for questions. It is immutable.
type policy struct {
	Policy
	bySubject map[string]grants
	byName    map[string]*Service
	byFrom    map[string]*Share // by the directory of the host
	totals    map[Kind]*toll    // of each principal; nil for none

	// Set by Enforce: what it is about, by name. What was there before is the same
	// object, unless it has become something else.
	services  map[string]*service
	mailboxes map[string]*mailbox
	owned     map[string][]*mailbox // of them, by the service that receives
}

// rights are what an environment may do under a policy. They are immutable.
type rights struct {
	policy *policy
	grants grants
}

// grants is what one service may do, by kind and object.
type grants map[Kind]map[string]Grant

// compile makes p ready for questions, or says what in it makes no sense.
func (p Policy) compile() (*policy, error) {
	c := compiler{
		policy: &policy{
			Policy: p, bySubject: make(map[string]grants), byName: make(map[string]*Service), byFrom: make(map[string]*Share),
			totals: newTotals(p.PerPrincipal),
		},
		tolls: make(map[string]*toll), shares: make(map[string]bool), boxes: make(map[string]*Mailbox),
	}
	for _, step := range []func() error{c.takeServices, c.takeShares, c.takeMailboxes, c.takeGrants} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c.policy, nil
}

// compiler is a policy in the making, and what is there for its grants to be of.
type compiler struct {
	*policy
	tolls  map[string]*toll // of methods, ports and mailboxes: what each that uses one pays
	shares map[string]bool
	boxes  map[string]*Mailbox
}

func (c *compiler) takeServices() error {
	for i := range c.Services {
		s := &c.Services[i]
		if c.byName[s.Name] != nil {
			return fmt.Errorf("policy: service %q stands twice", s.Name)
		}
		c.byName[s.Name] = s
		if err := s.check(); err != nil {
			return err
		}
		for _, md := range s.Methods {
			c.tolls[s.Name+"."+md.Name] = newToll(KindCall, &md.Rates)
		}
		for port, r := range s.PortRates {
			c.tolls[portOf(s.Name, port)] = newToll(KindConnect, &r)
		}
	}
	return nil
}

// check refuses names that do not fit a frame.
func (s Service) check() error {
	if !wire.ValidWord([]byte(s.Name)) || len(s.Name) > wire.MaxService {
		return fmt.Errorf("policy: service %q: not a name of at most %d bytes", s.Name, wire.MaxService)
	}
	for _, md := range s.Methods {
		if full := s.Name + "." + md.Name; !wire.ValidName([]byte(full)) {
			return fmt.Errorf("policy: method %q: not a name of at most %d bytes", full, wire.MaxName)
		}
	}
	return s.checkFlow()
}

func (c *compiler) takeShares() error {
	within := func(a, b *Share) error {
		return fmt.Errorf("policy: shares %q and %q lie one within the other", a.Name, b.Name)
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		if other := c.byFrom[s.From]; other != nil {
			return within(other, s)
		}
		c.shares[s.Name], c.byFrom[s.From] = true, s
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		above := s.From[:max(strings.LastIndexByte(s.From, '/'), 0)]
		if other := c.shareAt(above); other != nil && other != s {
			return within(other, s)
		}
	}
	return nil
}

func (c *compiler) takeMailboxes() error {
	for i := range c.Mailboxes {
		b := &c.Mailboxes[i]
		if err := b.check(c.byName[b.Owner]); err != nil {
			return err
		}
		if c.boxes[b.Name] != nil {
			return fmt.Errorf("policy: mailbox %q stands twice", b.Name)
		}
		c.boxes[b.Name] = b
		c.tolls[b.Name] = newToll(KindPost, &b.Rates)
	}
	return nil
}

func (c *compiler) takeGrants() error {
	for _, g := range c.Grants {
		if err := c.checkGrant(&g); err != nil {
			return err
		}
		byKind := c.bySubject[g.From]
		if byKind == nil {
			byKind = make(grants)
			c.bySubject[g.From] = byKind
		}
		if byKind[g.Kind] == nil {
			byKind[g.Kind] = make(map[string]Grant)
		}
		if _, dup := byKind[g.Kind][g.To]; dup {
			return fmt.Errorf("policy %s: %s %q is granted to %q twice", g.Rule, g.Kind, g.To, g.From)
		}
		if err := c.fill(&g); err != nil {
			return err
		}
		byKind[g.Kind][g.To] = g
	}
	return nil
}

// checkGrant refuses a grant of what is not there, and one that gives more than its line says.
func (c *compiler) checkGrant(g *Grant) error {
	from := c.byName[g.From]
	if from == nil {
		return fmt.Errorf("policy %s: no service %q", g.Rule, g.From)
	}
	if err := g.owned(from.Flow.Owns); err != nil {
		return err
	}
	for _, door := range []Door{c.Door, c.Egress} {
		if g.Kind == KindConnect && door.Service != "" && g.To == portOf(door.Service, door.Port) {
			return fmt.Errorf("policy %s: connect %q: whoever reaches the door itself could say who it is", g.Rule, g.To)
		}
	}
	if g.ForAnyone && g.Kind != KindConnect && g.Kind != KindShare {
		return fmt.Errorf("policy %s: %s %q: for anyone goes with connections and shares", g.Rule, g.Kind, g.To)
	}
	if g.Kind == KindShare {
		into, share, other := strings.Cut(g.To, ":")
		if !other {
			into, share = g.From, g.To
		}
		if c.byName[into] == nil || !c.shares[share] {
			return fmt.Errorf("policy %s: no share %q", g.Rule, g.To)
		}
	}
	return g.checkMail(c.boxes)
}

// fill sets what is worked out of a grant once, so that no operation has to.
func (c *compiler) fill(g *Grant) (err error) {
	provided, there := c.tolls[g.To]
	g.void = g.Kind == KindCall && !there
	g.toll = newToll(g.Kind, &g.Rates)
	if g.Kind == KindCall || g.Kind == KindPost || g.Kind == KindPut || g.Kind == KindConnect && !c.passesOn(g) {
		g.toll = g.toll.and(provided)
	}
	if g.Kind == KindEgress {
		if g.endpoint, err = address.ParseEndpoint(g.To); err != nil {
			return fmt.Errorf("policy %s: egress %q: %w", g.Rule, g.To, err)
		}
	}
	if g.Kind == KindEgress || g.Kind == KindConnect {
		g.traffic = new(traffic)
	}
	return nil
}

// passesOn tells whether g is one by which the door passes on HTTP: a connection between services
// was counted when it was made, and what people send is counted by the door.
func (p *policy) passesOn(g *Grant) bool {
	name, _, _ := strings.Cut(g.To, ":")
	to := p.byName[name]
	return g.From == p.Door.Service && to != nil && g.To == portOf(name, to.HTTP)
}
