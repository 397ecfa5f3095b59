package manifest

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// port is a port inside as the manifest has it: a number, or one with labels, a deadline and rates.
type port struct {
	number   int
	deadline time.Duration
	rate     Rates
	Endpoint
}

func portKeys() table[port] {
	return table[port]{keys: []key[port]{
		{"port", aPort, true, "", "The port inside.", func(r *reader, v value, p *port) {
			p.number = r.integer(v, aPort, 1, 65535)
		}},
		{"request", aLabel, false, serviceLabel, "Label of what is sent to it.", func(r *reader, v value, p *port) {
			p.Request = r.label(v)
		}},
		{"answer", aLabel, false, serviceLabel, "Label of what it sends.", func(r *reader, v value, p *port) {
			p.Answer = r.label(v)
		}},
		{"deadline", aTime, false, "none", "With tcp: how long what it is sent on a connection may lie there unread, at most 10m. One that lets it pass may be found unresponsive.", func(r *reader, v value, p *port) {
			p.deadline = r.duration(v, aTime, maxDeadline)
		}},
		{"rate", someRates, false, "no limit", "Of each service that connects, or with per principal of each principal that one runs for: connections, or bytes. The gateway is such a service, but for HTTP, of which it counts requests itself.", func(r *reader, v value, p *port) {
			readRates(r, v, &p.rate)
		}},
	}}
}

// port reads a port of s and keeps its labels.
func (r *reader) port(v value, s *Service) int {
	var p port
	switch kindOf(v.node) {
	case isInteger:
		p.number = r.integer(v, aPort, 1, 65535)
	default:
		if !mapping(r, v, aLabelledPort, portKeys(), &p) {
			return 0
		}
	}
	r.fitRates(v, &p.rate, "a port", "connections", "bytes")
	if p.number == 0 {
		return 0
	}
	if p.rate != (Rates{}) {
		if s.PortRates == nil {
			s.PortRates = make(map[int]Rates)
		}
		s.PortRates[p.number] = p.rate
	}
	if p.deadline > 0 {
		if s.PortDeadlines == nil {
			s.PortDeadlines = make(map[int]time.Duration)
		}
		s.PortDeadlines[p.number] = p.deadline
	}
	if p.Request.given || p.Answer.given {
		if s.PortLabels == nil {
			s.PortLabels = make(map[int]Endpoint)
		}
		s.PortLabels[p.number] = p.Endpoint
	}
	return p.number
}

func readHTTP(r *reader, v value, s *Service) {
	s.HTTP = r.port(v, s)
	if s.PortDeadlines[s.HTTP] > 0 {
		r.refuse(v, "write gateway.limits.answer", "a deadline goes with tcp: of HTTP the gateway knows when a request is whole")
		delete(s.PortDeadlines, s.HTTP)
	}
}

func readTCP(r *reader, v value, s *Service) {
	add := func(v value) {
		n := r.port(v, s)
		if n != 0 && slices.Contains(s.TCP, n) {
			r.refuse(v, "", "port %d stands twice", n)
		} else if n != 0 {
			s.TCP = append(s.TCP, n)
		}
	}
	switch kindOf(v.node) {
	case isInteger, isMapping:
		add(v)
	default:
		r.list(v, somePorts, 64, add)
	}
}

// fillPorts gives the ports their labels. Public ones are left out, so that a
// service without labels has none.
func (s *Service) fillPorts(own Endpoint) {
	for _, n := range s.Ports() {
		e := s.PortLabels[n]
		e.orElse(own)
		if e == (Endpoint{}) {
			delete(s.PortLabels, n)
			continue
		}
		if s.PortLabels == nil {
			s.PortLabels = make(map[int]Endpoint)
		}
		s.PortLabels[n] = e
	}
	if len(s.PortLabels) == 0 {
		s.PortLabels = nil
	}
}

// Paced tells whether connections to a port of s have a deadline.
func (a *App) Paced(s *Service) bool {
	if len(s.PortDeadlines) > 0 {
		return true
	}
	for _, other := range a.Services {
		for _, u := range other.Uses {
			if to, _, _ := splitPort(u.Connect); u.Deadline > 0 && to == s.Name {
				return true
			}
		}
	}
	return false
}

func (s *Service) portNode(n int) *yaml.Node {
	labels, deadline, rate := s.labelsNode(s.PortLabels[n]), s.PortDeadlines[n], s.PortRates[n].node()
	if n == 0 || len(labels.node.Content) == 0 && deadline == 0 && rate == nil {
		return somePort(n)
	}
	var o object
	o.add("port", count(n))
	o.node.Content = append(o.node.Content, labels.node.Content...)
	if deadline > 0 {
		o.add("deadline", text(formatDuration(deadline)))
	}
	o.add("rate", rate)
	return o.done()
}

// labelsNode is request and answer, but for those that are public as they would be
// without a word.
func (s *Service) labelsNode(e Endpoint) *object {
	var o object
	o.add("request", someLabel(e.Request, s.Label))
	o.add("answer", someLabel(e.Answer, s.Label))
	return &o
}

// someLabel is l, nil if both it and what it would be without a word are public.
func someLabel(l, absent Label) *yaml.Node {
	if l == (Label{}) && absent == (Label{}) {
		return nil
	}
	return text(l.String())
}

func someFormula(f Formula) *yaml.Node {
	if f == (Formula{}) {
		return nil
	}
	return text(f.String())
}
