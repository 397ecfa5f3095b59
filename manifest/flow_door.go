package manifest

import (
	"cofferdam/guard"
	"cofferdam/label"
)

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
