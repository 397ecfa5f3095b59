package manifest

import (
	"errors"
	"slices"

	"cofferdam/guard"
	"cofferdam/label"
)

// flowState is data at a place: whoever holds it has the label at, or what it lies in
// has; sealed is the label of the value that it is in, unopened, or inTheOpen.
type flowState struct {
	node       *flowNode
	at, sealed label.Label
	cost       int // of the way here

	before *flowState // nil for where it comes from
	by     []given    // whose privileges took it here from there
}

// inTheOpen is the label of the value that data is in if it is in none: the lowest, for
// nothing keeps it from anybody.
var inTheOpen = label.Bottom

type start struct {
	node *flowNode
	at   label.Label
}

// reached is where data can be. Of two labels at one place, of which one flows to
// the other, only the lower is kept: from it the other can be had at any time.
type reached struct {
	states map[*flowNode][]*flowState
	first  map[*flowNode]*flowState // the way with the fewest privileges, unopened values left aside

	through map[*flowNode]bool // of tokens: where they go on as those of the place itself do
}

// at tells whether data arrived, in the open.
func (r *reached) at(n *flowNode) bool { return r.first[n] != nil }

// The cost of a way, of which the least is shown: a privilege that is used, and a
// mailbox that is made while it runs where another way would do, which nobody reads
// out of the manifest. What costs more than maxCost is not told apart.
const (
	costPrivilege = 2
	costMade      = 3
	maxCost       = 9
)

// reach follows data from everywhere it can start at, through all that may be
// done with it.
func (g *flowGraph) reach(starts []start, stop func(*flowNode) bool) *reached {
	r := &reached{make(map[*flowNode][]*flowState), make(map[*flowNode]*flowState), make(map[*flowNode]bool)}
	levels := [][]*flowState{nil}
	add := func(s *flowState) {
		if *g.steps--; *g.steps < 0 {
			g.fail(errors.New("data can take more ways than are followed"))
			return
		}
		for _, old := range r.states[s.node] {
			if old.at.FlowsTo(s.at) && old.sealed.FlowsTo(s.sealed) && old.cost <= s.cost {
				return
			}
		}
		r.states[s.node] = append(r.states[s.node], s)
		for len(levels) <= s.cost {
			levels = append(levels, nil)
		}
		levels[s.cost] = append(levels[s.cost], s)
	}
	for _, s := range starts {
		add(&flowState{node: s.node, at: s.at, sealed: inTheOpen})
	}
	for cost := 0; cost < len(levels); cost++ {
		for i := 0; i < len(levels[cost]); i++ {
			s := levels[cost][i]
			if s.before != nil && s.sealed == inTheOpen && r.first[s.node] == nil && s.node != origin(s).node {
				r.first[s.node] = s
				if stop != nil && stop(s.node) {
					return r
				}
			}
			if _, known := g.known[s.node]; g.tokens && known && s.at == s.node.state.Label {
				r.through[s.node] = true
				continue
			}
			g.step(s, func(to *flowNode, at, sealed label.Label, by ...given) {
				next := &flowState{node: to, at: at, sealed: sealed, cost: s.cost + costPrivilege*len(by), before: s, by: by}
				if to.kind == atMade {
					next.cost += costMade
				}
				if next.cost = min(next.cost, maxCost); g.tokens {
					next.cost = 0 // of them only the place counts
				}
				add(next)
			})
			if g.err != nil {
				return r
			}
		}
	}
	return r
}

// origin is where the data of s came from.
func origin(s *flowState) *flowState {
	for s.before != nil {
		s = s.before
	}
	return s
}

// emit is a place that data gets to.
type emit func(to *flowNode, at, sealed label.Label, by ...given)

// option is a choice of privileges to use.
type option struct {
	p  label.Privileges
	by []given

	clearance label.Label // with which it works
}

// options are the choices worth trying, the ones that use less first.
func (g *flowGraph) options(n *flowNode) []option {
	if n.options != nil {
		return n.options
	}
	add := func(f label.Formula, by ...given) {
		o := option{p: label.Privileges{Out: f, In: f}, by: by, clearance: clearanceUnder(n.state.Clearance, f)}
		n.options = append(n.options, o)
	}
	add(label.True)
	powers := g.powers(n)
	for _, p := range powers {
		add(p.what, p)
	}
	if f := g.all(n); !slices.ContainsFunc(powers, func(p given) bool { return p.what == f }) {
		add(f, powers...)
	}
	return n.options
}

// may is the state of n with this label, whose clearance a privilege may have raised.
func (n *flowNode) may(at label.Label, o option) guard.State {
	return guard.State{Label: at, Clearance: o.clearance}
}

// taint raises n, if nothing that it has mounted for writing keeps it down.
func (n *flowNode) taint(s guard.State, p label.Privileges, t label.Label) (guard.State, bool) {
	s, err := s.Taint(p, t)
	if err != nil {
		return s, false
	}
	for _, v := range n.sits {
		if !s.Label.FlowsTo(v) {
			return s, false
		}
	}
	return s, true
}

// step is all that may become of data in one step.
func (g *flowGraph) step(s *flowState, out emit) {
	n := s.node
	switch {
	case n.kind == atService:
		g.alone(s, out)
	case s.before != nil && (n.kind == atOutside || n.kind == atPeople):
		return // what becomes of it there, nobody here can say
	}
	for _, l := range n.out {
		switch l.kind {
		case toMeet:
			g.ask(l, s, out)
		case toOwn:
			if !g.tokens || l.to.svc.Stdio == "" {
				g.askOwn(l, s, out)
			}
		case toGate:
			if !g.tokens {
				g.enter(l, s, out)
			}
		case toSpawn:
			g.spawn(l, s, out)
		case toPost, toPut, toMade:
			g.send(l, s, out)
		case toShow:
			g.show(l, s, s.at, l.to, out)
		case toWrite:
			g.write(l, s, out)
		case toLeave:
			if !g.tokens {
				g.leave(l, s, out)
			}
		case toPeople:
			if !g.tokens {
				g.tell(l, s, out)
			}
		}
	}
	for _, l := range n.in {
		switch l.kind {
		case toMeet:
			g.answer(l, s, out)
		case toOwn:
			if !g.tokens || n.svc.Stdio == "" { // which answers with bytes
				g.answerOwn(l, s, out)
			}
		case toGate:
			if !g.tokens {
				g.release(l, s, out)
			}
		case toSpawn:
			g.result(l, s, out)
		case toTake, toOwner, toMade:
			g.receive(l, s, out)
		case toShow: // whether it worked, who asked is told if he may know
			g.show(l, s, l.from.state.Label, l.from, out)
		case toMount:
			g.read(l, out)
		case toLeave:
			g.fetch(l, out)
		case toPeople:
			g.hear(l, out)
		}
	}
}

// alone is what an instance can do by itself with what it holds.
func (g *flowGraph) alone(s *flowState, out emit) {
	n := s.node
	for _, p := range g.powers(n) {
		with := label.Privileges{Out: p.what, In: p.what}
		here := guard.State{Label: s.at, Clearance: s.at} // or higher, as it got here
		if to, err := here.Lower(with, s.at.DowngradeUnder(with)); err == nil && to.Label != s.at {
			out(n, to.Label, s.sealed, p)
		}
		if s.sealed != inTheOpen {
			if to := s.sealed.DowngradeUnder(with); to != s.sealed {
				out(n, s.at, to, p)
			}
		}
	}
	if n.svc.Instances == perLabel {
		// One that several callers share, who have the same label.
		for _, same := range g.order {
			if same != n && same.kind == atService && same.svc == n.svc && s.at.FlowsTo(same.state.Clearance) {
				out(same, s.at, s.sealed)
			}
		}
	}
	if s.sealed == inTheOpen {
		return
	}
	for _, o := range g.options(n) {
		if to, ok := n.taint(n.may(s.at, o), o.p, s.sealed); ok {
			out(n, to.Label, inTheOpen, o.by...)
			return
		}
	}
}

// write is what is written to a volume or a share, which takes being at just its label; a
// privilege helps only to be there. See guard.State.Mount.
func (g *flowGraph) write(l *link, s *flowState, out emit) {
	if g.tokens || s.sealed != inTheOpen || !s.at.FlowsTo(l.to.label) {
		return
	}
	for _, o := range g.options(l.from) {
		if at, err := l.from.may(s.at, o).Raise(l.to.label); err == nil && at.Mount(l.to.label, true) == nil {
			out(l.to, l.to.label, inTheOpen, o.by...)
			return
		}
	}
}

// read is what is read from one.
func (g *flowGraph) read(l *link, out emit) {
	for _, o := range g.options(l.from) {
		at, ok := l.from.taint(l.from.may(l.from.state.Label, o), label.Privileges{}, l.to.label)
		if ok && at.Mount(l.to.label, false) == nil {
			out(l.from, at.Label, inTheOpen, o.by...)
			return
		}
	}
}

// show is what can be told by having directories shown, which takes to read their share
// and no more than who is shown it has when it starts.
func (g *flowGraph) show(l *link, s *flowState, at label.Label, to *flowNode, out emit) {
	if g.tokens || s.sealed != inTheOpen {
		return
	}
	for _, o := range g.options(l.from) {
		from, ok := l.from.taint(l.from.may(at, o), label.Privileges{}, l.pair.Answer)
		if ok && to == l.from {
			from, ok = l.from.taint(from, label.Privileges{}, s.at)
		}
		if !ok || from.Tell(l.pair.Request) != nil {
			continue
		}
		arrives := l.to.state.Label
		if to == l.from {
			arrives = from.Label
		}
		out(to, arrives, inTheOpen, o.by...)
		return
	}
}

// calls is the state in which n, at least at this label or, with a privilege, at one
// that it lowers itself to, can use an endpoint.
func (g *flowGraph) calls(n *flowNode, at label.Label, pair guard.Endpoint) (guard.State, []given, bool) {
	for _, o := range g.options(n) {
		s, ok := n.taint(n.may(at.DowngradeUnder(o.p), o), hearing(o.p), pair.Answer)
		if ok && s.Connect(o.p, pair) == nil {
			return s, o.by, true
		}
	}
	return guard.State{}, nil, false
}

// serves is the state in which n, at least at this label, can serve an endpoint.
func (g *flowGraph) serves(n *flowNode, at label.Label, pair guard.Endpoint) (guard.State, []given, bool) {
	for _, o := range g.options(n) {
		s, ok := n.taint(n.may(at, o), o.p, pair.Request)
		if ok && s.Serve(o.p, pair) == nil {
			return s, o.by, true
		}
	}
	return guard.State{}, nil, false
}

// hearing is what guard.State.Connect takes of p for what comes back.
func hearing(p label.Privileges) label.Privileges { return label.Privileges{In: p.In} }

// ask is a call with data in it.
func (g *flowGraph) ask(l *link, s *flowState, out emit) {
	_, by, ok := g.calls(l.from, s.at, l.pair)
	if !ok {
		return
	}
	if to, with, ok := g.serves(l.to, l.to.state.Label, l.pair); ok {
		out(l.to, to.Label, s.sealed, join(by, with)...)
	}
}

// answer is a reply with data in it.
func (g *flowGraph) answer(l *link, s *flowState, out emit) {
	_, by, ok := g.serves(l.to, s.at, l.pair)
	if !ok {
		return
	}
	if from, with, ok := g.calls(l.from, l.from.state.Label, l.pair); ok {
		out(l.from, from.Label, s.sealed, join(by, with)...)
	}
}

// askOwn is a call to an instance whose label is that of its caller and its own.
func (g *flowGraph) askOwn(l *link, s *flowState, out emit) {
	own := g.as(l.to.svc.Label, nobody)
	for _, o := range g.options(l.from) {
		from, ok := l.from.taint(l.from.may(s.at.DowngradeUnder(o.p), o), hearing(o.p), own)
		if !ok {
			continue
		}
		at, err := own.Join(from.Label)
		if err != nil {
			g.fail(err)
			return
		}
		if from.Connect(o.p, guard.Endpoint{Request: at, Answer: at}) == nil {
			out(l.to, at, s.sealed, o.by...)
			return
		}
	}
}

// answerOwn is a reply of such an instance, whose caller had a label as high.
func (g *flowGraph) answerOwn(l *link, s *flowState, out emit) {
	own := g.as(l.to.svc.Label, nobody)
	for _, o := range g.options(l.from) {
		from, ok := l.from.taint(l.from.may(l.from.state.Label.DowngradeUnder(o.p), o), hearing(o.p), own)
		if ok {
			from, ok = l.from.taint(from, label.Privileges{}, g.beyond(s.at, own, from.Label))
		}
		if ok {
			out(l.from, from.Label, s.sealed, o.by...)
			return
		}
	}
}

// beyond is what of x does not flow to the label that a and b have together.
func (g *flowGraph) beyond(x, a, b label.Label) label.Label {
	both, err := a.Join(b)
	if err != nil {
		g.fail(err)
	}
	rest := label.Bottom
	if !both.Secrecy().Implies(x.Secrecy()) {
		rest = label.New(x.Secrecy(), rest.Integrity())
	}
	if !x.Integrity().Implies(both.Integrity()) {
		rest = label.New(rest.Secrecy(), x.Integrity())
	}
	return rest
}

// enters is the state in which n, at least at this label, can call a gate.
func (g *flowGraph) enters(n *flowNode, at label.Label, gate *Gate) (guard.State, []given, bool) {
	for _, o := range g.options(n) {
		s, ok := n.taint(n.may(at, o), label.Privileges{}, gate.Output)
		if ok && s.Enter(g.all(n).And(n.shows), gate.Gate) == nil {
			return s, o.by, true
		}
	}
	return guard.State{}, nil, false
}

func (g *flowGraph) enter(l *link, s *flowState, out emit) {
	from, by, ok := g.enters(l.from, s.at, l.gate)
	if !ok {
		return
	}
	own := guard.State{Label: g.as(l.to.svc.Label, nobody), Clearance: g.as(l.to.svc.Clearance, nobody)}
	inside, err := own.Inside(from.Label)
	if err != nil {
		g.fail(err)
		return
	}
	out(l.to, inside.Label, s.sealed, by...)
}

// release is an answer of a gate.
func (g *flowGraph) release(l *link, s *flowState, out emit) {
	if s.sealed != inTheOpen {
		return
	}
	from, by, ok := g.enters(l.from, l.from.state.Label, l.gate)
	if !ok {
		return
	}
	for _, o := range g.options(l.to) {
		if (guard.State{Label: s.at, Clearance: l.to.state.Clearance}).Release(o.p.Out, l.gate.Output) == nil {
			out(l.from, from.Label, inTheOpen, join(by, o.by)...)
			return
		}
	}
}

// spawn is a child at the label of its spawner.
func (g *flowGraph) spawn(l *link, s *flowState, out emit) {
	for _, o := range g.options(l.from) {
		from := l.from.may(s.at, o)
		if from.Spawn(o.p, guard.State{Label: s.at, Clearance: s.at}, s.at) == nil {
			out(l.to, s.at, s.sealed, o.by...)
			return
		}
	}
}

// result is the end of a child and its output, which its spawner may read, or keep
// unopened.
func (g *flowGraph) result(l *link, s *flowState, out emit) {
	for _, o := range g.options(l.from) {
		from := l.from.may(l.from.state.Label, o)
		r, err := from.Label.Join(s.at)
		if err != nil {
			g.fail(err)
			return
		}
		if from.Alloc(o.p, r) != nil {
			continue
		}
		if s.sealed == inTheOpen {
			out(l.from, from.Label, r, o.by...)
		}
		if to, ok := l.from.taint(from, o.p, r); ok {
			out(l.from, to.Label, s.sealed, o.by...)
		}
		return
	}
}

// send is a message into a mailbox.
func (g *flowGraph) send(l *link, s *flowState, out emit) {
	box := l.to.label
	if l.kind == toMade { // as low as whoever made it could have it
		var err error
		if box, err = l.to.state.Label.Join(s.at); err != nil {
			g.fail(err)
			return
		}
		if !box.FlowsTo(l.to.state.Clearance) {
			return
		}
	}
	for _, o := range g.options(l.from) {
		from, ok := l.from.may(s.at, o), true
		if l.kind == toPut {
			from, ok = l.from.taint(from, o.p, box)
		}
		if ok && from.Alloc(o.p, box) == nil {
			out(l.to, box, s.sealed, o.by...)
			return
		}
	}
}

// receive is a message out of a mailbox.
func (g *flowGraph) receive(l *link, s *flowState, out emit) {
	for _, o := range g.options(l.from) {
		to, ok := l.from.taint(l.from.may(l.from.state.Label, o), o.p, s.at)
		if ok && (l.kind != toTake || to.Alloc(o.p, s.at) == nil) {
			out(l.from, to.Label, s.sealed, o.by...)
			return
		}
	}
}

// leave is a message to a machine outside.
func (g *flowGraph) leave(l *link, s *flowState, out emit) {
	if s.sealed != inTheOpen {
		return
	}
	if _, by, ok := g.calls(l.from, s.at, l.pair); ok {
		out(l.to, label.Public, inTheOpen, by...)
	}
}

// fetch is what comes from a machine outside.
func (g *flowGraph) fetch(l *link, out emit) {
	if from, by, ok := g.calls(l.from, l.from.state.Label, l.pair); ok {
		out(l.from, from.Label, inTheOpen, by...)
	}
}

// route is the endpoint that a person meets through a route, or why what the person may
// send and be sent may not pass.
func (g *flowGraph) route(l *link) (guard.Endpoint, error) {
	if l.gate != nil { // who authenticates, asked by the gateway
		return l.pair, guard.State{}.Connect(label.Privileges{}, l.pair)
	}
	s := l.from.svc
	if !s.ofCaller() {
		e := g.pairAs(s.PortLabels[l.port], l.from.principal)
		return e, guard.Carry(l.pair, e)
	}
	in, err := guard.State{Label: g.as(s.Label, nobody), Clearance: g.as(s.Clearance, nobody)}.Inside(l.pair.Request)
	if err != nil {
		return guard.Endpoint{}, err
	}
	e := guard.Endpoint{Request: in.Label, Answer: in.Label}
	return e, guard.Carry(l.pair, e)
}

// tell is what a person is sent.
func (g *flowGraph) tell(l *link, s *flowState, out emit) {
	e, err := g.route(l)
	if err != nil || s.sealed != inTheOpen || l.gate != nil {
		return
	}
	if _, by, ok := g.serves(l.from, s.at, e); ok {
		out(l.to, label.Public, inTheOpen, by...)
	}
}

// hear is what a person sends.
func (g *flowGraph) hear(l *link, out emit) {
	e, err := g.route(l)
	if err != nil {
		return
	}
	if to, by, ok := g.serves(l.from, l.from.state.Label, e); ok {
		out(l.from, to.Label, inTheOpen, by...)
	}
}

// join is all of both, each once.
func join(a, b []given) []given {
	out := append([]given{}, a...)
	for _, g := range b {
		seen := false
		for _, h := range a {
			seen = seen || g == h
		}
		if !seen {
			out = append(out, g)
		}
	}
	return out
}
