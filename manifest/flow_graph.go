package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"cofferdam/guard"
	"cofferdam/label"
)

// placeKind is what a place is.
type placeKind string

// The places that data can be at.
const (
	atService placeKind = "service" // an instance of one, or of a template
	atVolume  placeKind = "volume"
	atShare   placeKind = "share"
	atMailbox placeKind = "mailbox"
	atOutside placeKind = "outside" // a machine outside
	atPeople  placeKind = "people"  // whoever uses the gateway
	atMade    placeKind = "made"    // the mailboxes that an instance makes while it runs
)

// place is somewhere that data can be, for one principal. An instance with the
// labels of its caller is one place for each service that may call it.
type place struct {
	kind      placeKind
	name      string
	principal string
	via       string // the service that calls or spawns it, and the method if that is a gate
}

// flowNode is a place and what leads from it and to it.
type flowNode struct {
	place
	number int           // of its making
	svc    *Service      // of an instance
	label  label.Label   // of what has one label
	state  guard.State   // of an instance: the lowest label it may start with, and the highest clearance
	owns   label.Formula // what the manifest gives an instance, if it is used
	shows  label.Formula // the same, if it is not used either
	power  string        // who is named when that is used: the service or the gate
	pairs  []given       // privileges that may have been delegated to it
	sits   []label.Label // of what it has mounted for writing: its label cannot rise above

	out, in []*link
	options []option // of privileges to use; nil until they are asked for
}

// given is a privilege of an instance, and whose it is.
type given struct {
	by   string
	what label.Formula
}

// link is one way for data from one place to another, and back if it is asked and
// answers.
type link struct {
	kind     linkKind
	from, to *flowNode
	pair     guard.Endpoint // of a meeting
	port     int            // of a route
	gate     *Gate
	rule     string // the place of the grant, and what it grants, for notes
}

type linkKind string

const (
	toMeet   linkKind = "meet"   // a call or a connection, with the labels of an endpoint
	toOwn    linkKind = "own"    // a call or a connection to an instance with the label of its caller
	toGate   linkKind = "gate"   // a call of a gate
	toSpawn  linkKind = "spawn"  // of a template
	toPost   linkKind = "post"   // into a mailbox
	toPut    linkKind = "put"    // into a mailbox, learning of its state
	toTake   linkKind = "take"   // out of a mailbox; from is who takes
	toOwner  linkKind = "recv"   // out of a mailbox, as the owner; from is the owner
	toMount  linkKind = "mount"  // of a volume or a share, to read; from is who mounts
	toWrite  linkKind = "write"  // of a volume or a share
	toLeave  linkKind = "egress" // to a machine outside, and back
	toPeople linkKind = "route"  // from is who answers, pair what the person may send and get
	toShow   linkKind = "show"   // a directory is shown to another service; pair has the label of its share
	toMade   linkKind = "made"   // into and out of mailboxes made while it runs
)

// Two principals that the manifest does not name stand for all of them: what
// flows from one to the other flows between any two.
const (
	somebody     = principalMark
	somebodyElse = "another " + principalMark
	nobody       = ""
)

// Bounds of the analysis of one manifest. Beyond them it says so, which is an
// error where something is asserted.
const (
	maxFlowNodes = 4096
	maxFlowSteps = 4 << 20 // of the report
	maxSteps     = 1 << 19 // of all assertions, whenever the manifest is read
)

// flowGraph is the manifest as a graph.
type flowGraph struct {
	app    *App
	grants []Grant
	nodes  map[place]*flowNode
	order  []*flowNode // as they were made
	made   int

	without func(owner string) bool // whose privileges are not used
	avoid   func(name string) bool  // services and gates through which nothing passes
	steps   *int                    // that are left
	keeps   bool                    // nobody gives a privilege away
	tokens  bool                    // what is followed is no data, but handles
	known   map[*flowNode]circle    // for tokens: whom those reach that were asked about
	err     error                   // what is too large
}

// newFlowGraph builds the graph in which the privileges of some are not used,
// some services and gates are not passed through, and everybody may keep
// their privileges for themselves.
func newFlowGraph(a *App, steps *int, without, avoid func(string) bool, keeps bool) (*flowGraph, error) {
	g := &flowGraph{keeps: keeps, app: a, grants: a.Grants(), nodes: make(map[place]*flowNode), steps: steps, without: without, avoid: avoid}
	for _, s := range a.Services {
		if s.ofCaller() || s.Template || avoid(s.Name) {
			continue
		}
		for _, p := range g.principalsOf(s) {
			g.instance(s, p, "", "")
		}
	}
	g.people()
	for i := 0; i < len(g.order); i++ { // those made on the way as well
		if n := g.order[i]; n.kind == atService {
			g.links(n)
		}
	}
	g.shows()
	g.settle()
	g.delegate()
	return g, g.err
}

// principals are all that are told apart.
func (a *App) flowPrincipals() []string {
	all := []string{somebody, somebodyElse}
	for _, p := range a.Principals {
		if p.Person {
			all = append(all, p.Name)
		}
	}
	return all
}

func (g *flowGraph) principalsOf(s *Service) []string {
	if s.perPrincipal() {
		return g.app.flowPrincipals()
	}
	return []string{nobody}
}

// as is a label of the manifest for one of the principals.
func (g *flowGraph) as(l Label, principal string) label.Label {
	if principal == somebody || l.open == nil {
		return l.text
	}
	out, err := l.For(principal)
	if err != nil {
		g.fail(err)
	}
	return out
}

func (g *flowGraph) pairAs(e Endpoint, principal string) guard.Endpoint {
	return guard.Endpoint{Request: g.as(e.Request, principal), Answer: g.as(e.Answer, principal)}
}

func (g *flowGraph) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// node is the place p, made if it is new.
func (g *flowGraph) node(p place) (n *flowNode, isNew bool) {
	if n := g.nodes[p]; n != nil {
		return n, false
	}
	if len(g.order) >= maxFlowNodes {
		g.fail(fmt.Errorf("more than %d places that data can be at", maxFlowNodes))
	}
	n = &flowNode{place: p, number: g.made}
	g.made++
	g.nodes[p] = n
	g.order = append(g.order, n)
	return n, true
}

func (g *flowGraph) object(kind placeKind, name, principal string, l label.Label) *flowNode {
	n, _ := g.node(place{kind: kind, name: name, principal: principal})
	n.label = l
	return n
}

// instance is the place of an instance of s for a principal; of one with the labels
// of who called or spawned it, via says who that is.
func (g *flowGraph) instance(s *Service, principal, via, gate string) *flowNode {
	n, isNew := g.node(place{kind: atService, name: s.Name, principal: principal, via: via + gate})
	if !isNew {
		return n
	}
	n.svc, n.power = s, s.Name
	if gate != "" {
		n.power = s.Name + "." + gate
	}
	n.state = guard.State{Label: g.as(s.Label, principal), Clearance: g.as(s.Clearance, principal)}
	if owns := g.as(Label{text: label.New(s.Owns.text, label.True), open: s.Owns.open}, principal).Secrecy(); !g.without(n.power) {
		n.owns, n.shows = owns, owns
	} else {
		n.shows = owns
	}
	for _, v := range s.Volumes {
		l := g.as(v.Label, principal)
		o := g.object(atVolume, v.Name, principal, l)
		if !strings.Contains(v.Name, principalMark) {
			o = g.object(atVolume, v.Name, nobody, l)
		}
		g.link(&link{kind: toMount, from: n, to: o})
		if !v.ReadOnly {
			g.link(&link{kind: toWrite, from: n, to: o})
			if !s.Template && !s.ofCaller() { // one at another label does without it
				n.sits = append(n.sits, l)
			}
		}
	}
	for _, grant := range g.app.SharesIn(s.Name) {
		share := g.app.Share(grant.Name)
		o := g.object(atShare, share.Name, nobody, share.Label)
		g.link(&link{kind: toMount, from: n, to: o})
		if share.Writable {
			g.link(&link{kind: toWrite, from: n, to: o})
		}
	}
	for _, m := range g.app.Mailboxes {
		if m.Owner == s.Name {
			g.link(&link{kind: toOwner, from: n, to: g.object(atMailbox, m.Name, nobody, m.Label)})
		}
	}
	return n
}

func (g *flowGraph) link(l *link) {
	for _, other := range l.from.out {
		if *other == *l {
			return
		}
	}
	l.from.out = append(l.from.out, l)
	l.to.in = append(l.to.in, l)
}

// links makes what the grants let n do.
func (g *flowGraph) links(n *flowNode) {
	for _, grant := range g.app.GrantsOf(n.name) {
		rule := fmt.Sprintf("%s: %s may %s %s", grant.Rule, grant.From, grant.Kind, grant.Object())
		switch grant.Kind {
		case "call":
			g.meet(n, g.app.Service(grant.To), grant.Name, 0, rule)
		case "http", "tcp":
			port, _ := strconv.Atoi(grant.Name)
			if grant.ForAnyone {
				g.meetAnyone(n, g.app.Service(grant.To), port, rule)
				continue
			}
			g.meet(n, g.app.Service(grant.To), "", port, rule)
		case "spawn":
			t := g.app.Service(grant.To)
			if g.avoid(t.Name) {
				continue
			}
			for _, p := range g.app.flowPrincipals() {
				g.link(&link{kind: toSpawn, from: n, to: g.instance(t, p, n.name, "")})
			}
		case "egress":
			g.link(&link{kind: toLeave, from: n, to: g.object(atOutside, grant.Object(), nobody, label.Public), pair: g.pairAs(grant.Endpoint, n.principal), rule: rule})
		case "post", "put", "take":
			m := g.app.Mailbox(grant.To)
			g.link(&link{kind: linkKind(grant.Kind), from: n, to: g.object(atMailbox, m.Name, nobody, m.Label), rule: rule})
		}
	}
}

// meet links n with a method or a port of s.
func (g *flowGraph) meet(n *flowNode, s *Service, method string, port int, rule string) {
	p := s.provide(method)
	isGate := p != nil && p.Gate != nil
	if g.avoid(s.Name) || isGate && g.avoid(s.Name+"."+method) {
		return
	}
	switch {
	case isGate:
		g.link(&link{kind: toGate, from: n, to: g.instance(s, nobody, n.name, method), gate: p.Gate, rule: rule})
	case s.ofCaller():
		g.link(&link{kind: toOwn, from: n, to: g.instance(s, nobody, n.name, "")})
	default:
		principal := nobody
		if s.perPrincipal() {
			principal = n.principal
		}
		e := s.PortLabels[port]
		if p != nil {
			e = p.Endpoint
		}
		g.link(&link{kind: toMeet, from: n, to: g.instance(s, principal, "", ""), pair: g.pairAs(e, principal), rule: rule})
	}
}

// meetAnyone links n with a port of the instances of s for all principals.
func (g *flowGraph) meetAnyone(n *flowNode, s *Service, port int, rule string) {
	if g.avoid(s.Name) {
		return
	}
	for _, p := range g.app.flowPrincipals() {
		g.link(&link{kind: toMeet, from: n, to: g.instance(s, p, "", ""), pair: g.pairAs(s.PortLabels[port], p), rule: rule})
	}
}

// people makes who uses the gateway, and what its routes let them reach.
func (g *flowGraph) people() {
	if g.app.Gateway == nil {
		return
	}
	all := []string{nobody}
	who := g.app.Gateway.Authenticate
	if who != nil {
		all = append(all, g.app.flowPrincipals()...)
	}
	for _, principal := range all {
		n := g.object(atPeople, thePeople, principal, label.Public)
		for _, route := range g.app.Gateway.Routes {
			to := route.To
			if principal == nobody && route.Nobody != "" {
				to = route.Nobody
			}
			s := g.app.Service(to)
			open := route.Request.open != nil || route.Answer.open != nil
			if g.avoid(s.Name) || principal == nobody && (s.perPrincipal() || open && !route.Lenient) {
				continue
			}
			pair := guard.Endpoint{}
			if principal != nobody || !route.Lenient {
				pair = g.pairAs(route.Endpoint, principal)
			}
			at := nobody
			if s.perPrincipal() {
				at = principal
			}
			via := ""
			if s.ofCaller() {
				via = thePeople
			}
			rule := fmt.Sprintf("%s: people may http %s", g.app.rule(route.Pos), s.Name)
			g.link(&link{kind: toPeople, from: g.instance(s, at, via, ""), to: n, pair: pair, port: s.HTTP, rule: rule})
		}
		// Whoever comes by a door is not recognised, and may be anybody.
		for _, d := range g.app.Gateway.TCP {
			to, port := d.Port()
			s := g.app.Service(to)
			if g.avoid(to) {
				continue
			}
			via := ""
			if s.ofCaller() {
				via = thePeople
			}
			rule := fmt.Sprintf("%s: people may tcp %s", g.app.rule(d.Pos), d.To)
			g.link(&link{kind: toPeople, from: g.instance(s, nobody, via, ""), to: n, port: port, rule: rule})
		}
	}
	if who == nil {
		return
	}
	// What somebody sends in a cookie reaches who authenticates.
	service, method, _ := strings.Cut(who.Call, ".")
	if s := g.app.Service(service); !g.avoid(s.Name) && !s.ofCaller() {
		for _, principal := range all {
			l := &link{kind: toPeople, from: g.instance(s, nobody, "", ""), to: g.nodes[place{kind: atPeople, name: thePeople, principal: principal}], gate: &Gate{}}
			l.pair = g.pairAs(s.provide(method).Endpoint, nobody)
			l.rule = fmt.Sprintf("%s: gateway may call %s", g.app.rule(who.Pos), who.Call)
			g.link(l)
		}
	}
}

// shows links who may have a directory shown with whom it is shown to: that one sees
// what there is.
func (g *flowGraph) shows() {
	for _, grant := range g.grants {
		if grant.Kind != "share" || grant.To == grant.From {
			continue
		}
		l := g.app.Share(grant.Name).Label
		for _, from := range g.order {
			for _, to := range g.order {
				if from.kind == atService && from.name == grant.From && to.kind == atService && to.name == grant.To {
					g.link(&link{kind: toShow, from: from, to: to, pair: guard.Endpoint{Request: g.as(to.svc.Label, to.principal), Answer: l}})
				}
			}
		}
	}
}
