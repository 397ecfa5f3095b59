package monitor

import (
	"fmt"
	"slices"

	"cofferdam/guard"
	"cofferdam/label"
)

// checkFlow tells whether the service can serve what it says, at the label that
// its instances start with. One whose label is its caller's is asked with each.
func (s *Service) checkFlow() error {
	if !s.Flow.Label.FlowsTo(s.Flow.Clearance) {
		return fmt.Errorf("policy: service %q: its label %s does not flow to its clearance %s", s.Name, s.Flow.Label, s.Flow.Clearance)
	}
	if s.Instances == PerCall && !s.Lines {
		return fmt.Errorf("policy: service %q: an instance per call is a program per call", s.Name)
	}
	for _, md := range s.Methods {
		if (md.Gate != nil || md.Bits != 0) && !s.Lines || md.Bits < 0 || md.Bits > maxBits {
			return fmt.Errorf("policy: method %q of %q: a gate is a program per call, and answers at most %d bits", md.Name, s.Name, maxBits)
		}
	}
	if s.ofCaller() {
		return nil
	}
	for i := range s.Methods {
		if s.Methods[i].Gate != nil {
			continue // what it can release depends on what it is given
		}
		if err := s.Flow.Serve(allOf(s.Flow.Owns), s.endpoint(&s.Methods[i])); err != nil {
			return fmt.Errorf("policy: method %q of %q: %w", s.Methods[i].Name, s.Name, err)
		}
	}
	for _, port := range s.Ports {
		if err := s.Flow.Serve(allOf(s.Flow.Owns), s.portEndpoint(port)); err != nil {
			return fmt.Errorf("policy: port %d of %q: %w", port, s.Name, err)
		}
	}
	return nil
}

// endpoint is that of a method, at the labels of Flow.
func (s *Service) endpoint(md *Method) guard.Endpoint {
	if md.Endpoint != nil && !s.ofCaller() {
		return *md.Endpoint
	}
	return guard.Endpoint{Request: s.Flow.Label, Answer: s.Flow.Label}
}

// portEndpoint is the same for a port.
func (s *Service) portEndpoint(port int) guard.Endpoint {
	if e, ok := s.PortEndpoints[port]; ok && !s.ofCaller() {
		return e
	}
	return guard.Endpoint{Request: s.Flow.Label, Answer: s.Flow.Label}
}

// endpointOf is that of a method that e answers.
func (e *Env) endpointOf(md *method) guard.Endpoint { return e.as.endpoint(e.as.method(md.Name)) }

// method is the one with that name, which is there.
func (s *Service) method(name string) *Method {
	return &s.Methods[slices.IndexFunc(s.Methods, func(md Method) bool { return md.Name == name })]
}

// as are the grants with the labels and privileges that they have for a principal.
func (g grants) as(s Service, own []Grant) (grants, error) {
	all := make(grants, len(g))
	for _, o := range own {
		base, ok := g[o.Kind][o.To]
		if !ok {
			return nil, fmt.Errorf("policy %s: for a principal, %s %q is granted to %q as it is not otherwise", o.Rule, o.Kind, o.To, s.Name)
		}
		base.Out, base.In, base.Request, base.Answer = o.Out, o.In, o.Request, o.Answer
		if err := base.owned(s.Flow.Owns); err != nil {
			return nil, err
		}
		if all[o.Kind] == nil {
			all[o.Kind] = make(map[string]Grant)
		}
		all[o.Kind][o.To] = base
	}
	return all, nil
}

// owned tells whether who owns that may use the privileges of g.
func (g *Grant) owned(owns label.Formula) error {
	if owns.Implies(g.Out) && owns.Implies(g.In) {
		return nil
	}
	return fmt.Errorf("policy %s: %q owns %s, which does not imply the privileges of its %s %q: out %s, in %s", g.Rule, g.From, owns, g.Kind, g.To, g.Out, g.In)
}

// allOf is all that the owner of f may release and vouch for. Whoever answers uses
// what the manifest gave it in advance: the labels of an endpoint say so.
func allOf(f label.Formula) label.Privileges { return label.Privileges{Out: f, In: f} }

// given is what e answers with.
func (e *Env) given() label.Privileges { return allOf(e.flow.power.given) }

// serves tells whether e may get the requests of an endpoint now and answer them.
func (e *Env) serves(to guard.Endpoint) error {
	if to == (guard.Endpoint{}) && e.at() == (guard.State{}) {
		return nil
	}
	return e.at().Serve(e.given(), to)
}

// standsIn tells whether e, at now, may be asked at an endpoint where another
// instance would be asked if e was not there, or full. What comes to it is not only
// e's and its caller's to know then: the others know what does not come to them.
func (e *Env) standsIn(now guard.State, to guard.Endpoint) error {
	if to == (guard.Endpoint{}) && now == (guard.State{}) {
		return nil
	}
	if err := now.Serve(e.given(), to); err != nil {
		return err
	}
	return now.StandIn(e.given(), e.flow.container)
}

// may is what e has of the privileges of a grant and of those that its program
// names, together. Those of a grant can have been taken from it meanwhile.
func (e *Env) may(g *Grant, named label.Privileges) (label.Privileges, error) {
	p := label.Privileges{Out: g.Out.And(named.Out), In: g.In.And(named.In)}
	return p, e.mayName(p)
}
