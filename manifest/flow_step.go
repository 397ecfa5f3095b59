package manifest

import (
	"cofferdam/guard"
	"cofferdam/label"
)

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
