package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func readProvides(r *reader, v value, s *Service) {
	r.list(v, someProvides, maxList, func(v value) {
		p := Provide{Pos: v.pos()}
		if !mapping(r, v, aProvide, provideKeys(), &p) {
			return
		}
		r.fitRates(v, &p.Rate, "a call", "calls", "bytes")
		if other := s.provide(p.Call); other != nil {
			r.refuse(v, "", "%q is provided at %s already", p.Call, r.where(other.Pos))
			return
		}
		if p.fromGateway.node != nil {
			r.checkFromGateway(p.fromGateway, s, p.Call)
			p.fromGateway = value{}
		}
		s.Provides = append(s.Provides, p)
	})
}

// provide is the method of that name, nil if s does not answer it.
func (s *Service) provide(call string) *Provide {
	for i := range s.Provides {
		if s.Provides[i].Call == call {
			return &s.Provides[i]
		}
	}
	return nil
}

// readProvideFrom keeps an empty list apart from none: it is nobody.
func readProvideFrom(r *reader, v value, p *Provide) {
	p.From = []string{}
	known := make(map[string]bool)
	r.list(v, someCallers, maxServices, func(v value) {
		if text, _, _ := strings.Cut(v.node.Value, "."); text == "any" {
			r.refuse(v, "name each of the callers", `"any" is not part of this version`)
			return
		}
		var name string
		if v.node.Value == gatewayName && kindOf(v.node) == isText {
			name = gatewayName
			p.fromGateway = v
		} else {
			r.peer(v, &name, func(*Service) {})
		}
		switch {
		case name == "":
		case known[name]:
			r.refuse(v, "", "%q stands twice", name)
		default:
			known[name] = true
			p.From = append(p.From, name)
			p.FromPos = append(p.FromPos, v.pos())
		}
	})
}

func readUses(r *reader, v value, s *Service) {
	known := make(map[Use]Pos)
	ways := 0 // out
	r.list(v, someUses, maxList, func(v value) {
		u := Use{Pos: v.pos()}
		if !mapping(r, v, aUse, useKeys(), &u) {
			return
		}
		given := 0
		for _, text := range []string{u.Call, u.Spawn, u.Connect, u.Share, u.Egress, u.Post, u.Put, u.Take} {
			if text != "" {
				given++
			}
		}
		switch {
		case given != 1:
			r.refuse(v, "write {call: service.method}, {spawn: template}, {connect: service:port}, {share: name, into: service}, {egress: host:port}, or {post: mailbox}, put or take", "want exactly one of call, spawn, connect, share, egress, post, put and take")
			return
		case u.Bound && u.Call == "":
			r.refuse(v, "", "bound goes with call only")
			return
		case u.ForAnyone && u.Connect == "" && (u.Share == "" || u.Into == itself):
			r.refuse(v, "", "for goes with connect, and with share and into another service")
			return
		case u.Direct && u.Connect == "":
			r.refuse(v, "", "direct goes with connect only")
			return
		case u.Deadline > 0 && u.Connect == "":
			r.refuse(v, "", "deadline goes with connect only")
			return
		case u.Into != "" && u.Share == "":
			r.refuse(v, "", "into goes with share only")
			return
		case u.Into == "" && u.Share != "":
			r.refuse(v, "write into: self for the service itself, or the service that is to see it", "%q does not say where it is mounted", u.Share)
			return
		}
		if u.Share != "" && (u.Out.given || u.In.given) {
			r.refuse(v, "", "out and in do not go with share: what is mounted asks nobody for a privilege")
		}
		r.checkEgress(v, &u)
		r.fitRates(v, &u.Rate, u.what(), u.counts()...)
		if at, twice := known[u.object()]; twice {
			r.refuse(v, "", "this use stands at %s already", r.where(at))
			return
		}
		if u.Egress != "" {
			if ways++; ways > maxEgress {
				r.refuse(v, "", "more than %d ways out of one service", maxEgress)
				return
			}
		}
		known[u.object()] = u.Pos
		i := len(s.Uses)
		s.Uses = append(s.Uses, u)
		r.check(func(a *App) { r.checkUse(v, a, s, &s.Uses[i]) })
	})
}

// object is what a use is of, without how.
func (u *Use) object() Use {
	return Use{Call: u.Call, Spawn: u.Spawn, Connect: u.Connect, Share: u.Share, Into: u.Into, Egress: u.Egress, Post: u.Post, Put: u.Put, Take: u.Take}
}

// what is the word for what a use is of.
func (u *Use) what() string {
	switch {
	case u.Call != "":
		return "a call"
	case u.Spawn != "":
		return "a spawn"
	case u.Connect != "":
		return "a connection"
	case u.Egress != "":
		return "a way out"
	case u.Share != "":
		return "a share"
	}
	return "a mailbox"
}

// counts are the keys of the rates that a use may have.
func (u *Use) counts() []string {
	switch {
	case u.Call != "":
		return []string{"calls", "bytes"}
	case u.Spawn != "":
		return []string{"spawns"}
	case u.Connect != "", u.Egress != "":
		return []string{"connections", "bytes"}
	case u.Take != "":
		return []string{"messages"} // its bytes were counted when they were sent
	case u.Post != "", u.Put != "":
		return []string{"messages", "bytes"}
	}
	return nil
}

func readUseCall(r *reader, v value, u *Use) {
	r.method(v, &u.Call, func(*Service, *Provide) {})
}

func readUseSpawn(r *reader, v value, u *Use) {
	r.peer(v, &u.Spawn, func(s *Service) {
		if !s.Template {
			r.refuse(v, fmt.Sprintf("write services.%s.template: true", s.Name), "%q is not a template", s.Name)
		}
	})
}

func readUseConnect(r *reader, v value, u *Use) { r.portOf(v, &u.Connect) }

// portOf reads a port of a service; once all are known whoever reads it writes the one
// that was left out.
func (r *reader) portOf(v value, into *string) {
	text, ok := r.text(v, aPeer)
	if !ok {
		return
	}
	service, port, ok := splitPort(text)
	if !ok || !serviceNames.MatchString(service) {
		r.refuse(v, "", "%.64q is not %s", text, aPeer)
		return
	}
	*into = text
	r.check(func(a *App) {
		s := a.Service(service)
		switch {
		case s == nil:
			r.unknownService(v, a, service)
		case r.flaws[service]:
		case s.Template:
			r.refuse(v, "", "%q is a template; no name leads to its instances", service)
		case port == 0 && len(s.Ports()) != 1:
			r.refuse(v, fmt.Sprintf("write %s:PORT", service), "service %q has %d ports", service, len(s.Ports()))
		case port != 0 && !slices.Contains(s.Ports(), port):
			r.refuse(v, fmt.Sprintf("write services.%s.tcp: %d", service, port), "service %q does not declare port %d", service, port)
		}
	})
}

// Ports are all that s listens on, the one for HTTP first.
func (s *Service) Ports() []int {
	if s.HTTP == 0 {
		return s.TCP
	}
	return append([]int{s.HTTP}, s.TCP...)
}

// checkUse asks what concerns both ends of a use, and writes the port that was
// left out.
func (r *reader) checkUse(v value, a *App, s *Service, u *Use) {
	if u.Bound && !s.Template {
		r.refuse(v, "", "bound is for templates: nobody spawns %q and binds something to it", s.Name)
	}
	if u.Into == s.Name {
		r.refuse(v, "write into: self", "%q would mount in any instance of its own", s.Name)
	}
	if service, method, ok := strings.Cut(u.Call, "."); ok {
		to := a.Service(service)
		if to == nil || r.flaws[service] {
			return
		}
		if p := to.provide(method); p != nil && p.From != nil && !slices.Contains(p.From, s.Name) {
			r.refuse(v, fmt.Sprintf("add %s to that list, or drop this use", s.Name),
				"%s does not let %q call it: its from at %s is the whole list", u.Call, s.Name, r.where(p.Pos))
		}
	}
	if service, port, ok := splitPort(u.Connect); ok && u.Deadline > 0 {
		if to := a.Service(service); to != nil && to.HTTP != 0 && (port == to.HTTP || port == 0 && len(to.TCP) == 0) {
			r.refuse(v, "write gateway.limits.answer", "a deadline goes with what is not HTTP: of that the gateway knows when a request is whole")
		}
	}
	if u.Direct && s.Sendfile {
		r.refuse(v, "drop direct, or sendfile", "a program with sendfile cannot have the socket itself: it would share memory with the other side")
	}
	if service, port, ok := splitPort(u.Connect); ok && u.Direct {
		if to := a.Service(service); to != nil && to.HTTP != 0 && (port == to.HTTP || port == 0 && len(to.TCP) == 0) {
			r.refuse(v, "drop direct", "direct goes with what is not HTTP: there the gateway puts the caller's name into each request")
		}
	}
	if service, port, ok := splitPort(u.Connect); ok && port == 0 && u.Connect != "" {
		if to := a.Service(service); to != nil && len(to.Ports()) == 1 {
			u.Connect = service + ":" + strconv.Itoa(to.Ports()[0])
			r.checkTwice(v, s, u)
		}
	}
}

// checkTwice refuses a use that became like another when its port was filled in.
func (r *reader) checkTwice(v value, s *Service, u *Use) {
	for i := range s.Uses {
		if other := &s.Uses[i]; other != u && other.Connect == u.Connect {
			r.refuse(v, "", "this use stands at %s already", r.where(other.Pos))
			return
		}
	}
}

// splitPort parts "service:port"; a port of 0 means none was written.
func splitPort(s string) (service string, port int, ok bool) {
	service, digits, given := strings.Cut(s, ":")
	if !given {
		return service, 0, true
	}
	port, err := strconv.Atoi(digits)
	return service, port, err == nil && port >= 1 && port <= 65535 && strconv.Itoa(port) == digits
}
