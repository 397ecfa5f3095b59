package manifest

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Bounds of lists; a manifest beyond them is no longer one a person reads.
const (
	maxServices = 1024
	maxList     = 1024
	maxVolumes  = 16   // of a service
	maxWarm     = 256  // spares of a service
	maxPattern  = 1024 // bytes of a route's path
)

func readVersion(r *reader, v value, _ *App) {
	switch {
	case v.node.Value == "1" && kindOf(v.node) == isInteger:
	case kindOf(v.node) == isInteger:
		r.refuse(v, "", "version %.16s is not known; this program reads version 1", v.node.Value)
	default:
		r.refuse(v, "write version: 1", "want %s", aVersion)
	}
}

func readAppName(r *reader, v value, a *App) {
	a.Name, _ = r.name(v, anAppName, appNames)
}

// Shields are the protections that allow_degraded may name: those that executors
// list, and "cgroup" for all of its three.
var Shields = []string{
	"user-namespace", "mount-namespace", "pid-namespace", "network-namespace", "ipc-namespace", "uts-namespace",
	"cgroup-namespace", "capabilities", "seccomp", "landlock", "uid-range", "disk-quota", "peer-identity", "cgroup", "cgroup.memory", "cgroup.pids", "cgroup.cpu",
}

func readAllowDegraded(r *reader, v value, a *App) {
	r.list(v, someShields, maxList, func(v value) {
		name, ok := r.name(v, aShield, shieldNames)
		switch {
		case !ok:
		case !slices.Contains(Shields, name):
			r.refuse(v, cmp.Or(r.didYouMean(name, Shields), "cofferdam doctor lists them"), "there is no protection %q", name)
		case slices.Contains(a.AllowDegraded, name):
			r.refuse(v, "", "%q stands twice", name)
		default:
			a.AllowDegraded = append(a.AllowDegraded, name)
		}
	})
}

func readServices(r *reader, v value, a *App) {
	r.pairs(v, services, maxServices, func(name string, at, val value) {
		s := &Service{Pos: at.pos(), Name: name}
		switch {
		case slices.Contains(reserved, name):
			r.refuse(at, "", "the name %q is reserved", name)
			return
		case kindOf(at.node) != isText || !serviceNames.MatchString(name):
			r.refuse(at, "it must match "+serviceNames.String(), "%.64q is not %s", name, aName)
			return
		}
		a.Services = append(a.Services, s)
		before := r.count
		if mapping(r, val, aService, serviceKeys(), s) {
			r.checkService(val, s)
		}
		r.flaws[name] = r.count > before
	})
	r.check(func(a *App) { r.checkVolumes(v, a) })
	r.check(func(a *App) { r.checkCycles(v, a) })
}

func readGateway(r *reader, v value, a *App) {
	a.Gateway = &Gateway{Pos: v.pos()}
	a.Gateway.person = r.person()
	if mapping(r, v, aGateway, gatewayKeys(), a.Gateway) {
		r.checkListens(v, a.Gateway)
	}
	if a.Gateway.Authenticate != nil {
		return
	}
	for i, route := range a.Gateway.Routes {
		at := r.place(v, route.Pos, fmt.Sprintf("%s.routes[%d]", v.key, i))
		for _, p := range []*people{route.Request.open, route.Answer.open} {
			r.refuseMark(at, p, "nobody is told apart; write gateway.authenticate")
		}
	}
}

// checkListens refuses a gateway that nobody can come to, and what is said of HTTP where there
// is none.
func (r *reader) checkListens(v value, g *Gateway) {
	switch {
	case g.Listen == "" && len(g.TCP) == 0:
		r.refuse(v, "write listen: "+string(anAddress)+"; or tcp, for what is not HTTP", "%q is missing", "listen")
	case g.Listen == "":
		for _, name := range []string{"routes", "authenticate", "limits"} {
			if at := r.key(v, name); at.node != v.node {
				r.refuse(at, "write listen, or leave it out", "%s is for HTTP, and there is no listen for it", name)
			}
		}
	}
}

// address reads where the host is to listen.
func (r *reader) address(v value) string {
	text, ok := r.text(v, anAddress)
	if !ok {
		return ""
	}
	hint := ""
	if port, all := strings.CutPrefix(text, ":"); all {
		hint = fmt.Sprintf("write 127.0.0.1:%.5s for this host, 0.0.0.0:%.5s for everybody", port, port)
	}
	if port, local := strings.CutPrefix(text, "localhost:"); local {
		text = "127.0.0.1:" + port
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Addr().Zone() != "" {
		r.refuse(v, hint, "%.64q is not %s", text, anAddress)
		return ""
	}
	return at.String()
}

func readRoutes(r *reader, v value, g *Gateway) {
	r.list(v, someRoutes, maxList, func(v value) {
		route := Route{Pos: v.pos()}
		if !mapping(r, v, aRoute, routeKeys(), &route) {
			return
		}
		for _, other := range g.Routes {
			if other.Path == route.Path {
				r.refuse(v, "", "this path stands at %s already, and the first wins", r.where(other.Pos))
				return
			}
		}
		g.Routes = append(g.Routes, route)
	})
}

// readPattern compiles the expression alone before it is put between anchors:
// "a)|(b" must not close our group.
func readPattern(r *reader, v value, route *Route) {
	text, ok := r.text(v, aPattern)
	switch {
	case !ok:
		return
	case len(text) > maxPattern:
		r.refuse(v, "", "more than %d bytes in a pattern", maxPattern)
		return
	}
	for _, expr := range []string{text, "^(?:" + text + ")$"} {
		if _, err := regexp.Compile(expr); err != nil {
			r.refuse(v, "", "%.64q is not %s: %v", text, aPattern, err)
			return
		}
	}
	route.Path = text
}

func readRouteTo(r *reader, v value, route *Route) { r.speaker(v, &route.To) }

func readRouteNobody(r *reader, v value, route *Route) { r.speaker(v, &route.Nobody) }

// speaker reads the name of a service that speaks HTTP to people.
func (r *reader) speaker(v value, into *string) {
	r.peer(v, into, func(s *Service) {
		switch {
		case s.Template:
			r.refuse(v, "", "%q is a template; the gateway starts nothing", s.Name)
		case s.HTTP == 0:
			r.refuse(v, fmt.Sprintf("write services.%s.http: PORT", s.Name), "service %q has no http", s.Name)
		}
	})
}

// peer reads the name of a service and asks question about the service once
// all are known. Nothing is asked of one that could not be read in full.
func (r *reader) peer(v value, into *string, question func(*Service)) {
	name, ok := r.text(v, aName)
	if !ok {
		return
	}
	*into = name
	r.check(func(a *App) {
		s := a.Service(name)
		switch {
		case s == nil:
			r.unknownService(v, a, name)
		case !r.flaws[name]:
			question(s)
		}
	})
}

func (r *reader) unknownService(v value, a *App, name string) {
	names := make([]string, len(a.Services))
	for i, s := range a.Services {
		names[i] = s.Name
	}
	r.refuse(v, r.didYouMean(name, names), "no service %.64q", name)
}
