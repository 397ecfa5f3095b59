package manifest

import (
	"cofferdam/guard"
	"cofferdam/label"
)

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
