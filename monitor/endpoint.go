package monitor

import (
	"fmt"

	"cofferdam/guard"
	"cofferdam/label"
)

// Instances says which instance of a service is the one that a caller gets.
type Instances int

// The kinds of instances.
const (
	Shared       Instances = iota // any
	PerCall                       // a new one, at the label of the service joined with the caller's; only of programs per call
	PerLabel                      // one that is at that label
	PerPrincipal                  // the one that runs for whom the caller runs for
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

// ofCaller tells whether the labels of an instance depend on its caller's.
func (s *Service) ofCaller() bool { return s.Instances == PerCall || s.Instances == PerLabel }

// endpoint is that of a method of a service whose instances are all at one label.
func (s *Service) endpoint(md *Method) guard.Endpoint {
	if md.Endpoint != nil {
		return *md.Endpoint
	}
	return guard.Endpoint{Request: s.Flow.Label, Answer: s.Flow.Label}
}

// portEndpoint is the same for a port.
func (s *Service) portEndpoint(port int) guard.Endpoint {
	if e, ok := s.PortEndpoints[port]; ok {
		return e
	}
	return guard.Endpoint{Request: s.Flow.Label, Answer: s.Flow.Label}
}

func (md *method) endpoint() guard.Endpoint { return md.of.endpoint(&md.Method) }

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
