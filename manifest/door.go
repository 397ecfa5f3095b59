package manifest

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	maxDoors  = 32   // of the gateway
	maxGuests = 1024 // connections over all of them at a time: each takes descriptors of two processes

	defaultGuests = 256 // of one door
)

func doorKeys() table[Door] {
	return table[Door]{keys: []key[Door]{
		{"listen", anAddress, true, "", "Where the host listens. Port 0 takes a free one, which up and ps say.", func(r *reader, v value, d *Door) {
			d.Listen = r.address(v)
		}},
		{"to", aPeer, true, "", "The service, and which port of its tcp; it may be left out if the service has one only. Nobody is told apart here, so the service cannot have an instance for each principal.", func(r *reader, v value, d *Door) {
			r.portOf(v, &d.To)
		}},
		{"connections", aCount, false, "256", "Connections at a time; further ones wait until there is room. Those of all doors together are at most 1024.", func(r *reader, v value, d *Door) {
			d.Connections = r.integer(v, aCount, 1, maxGuests)
		}},
		{"per_peer", aCount, false, "64, or connections if that is less", "Of them, how many from one address (of IPv6, one /64); further ones are closed at once.", func(r *reader, v value, d *Door) {
			d.PerPeer = r.integer(v, aCount, 1, maxGuests)
		}},
		{"idle", aTime, false, "10m", "How long a connection lasts over which nothing comes either way.", func(r *reader, v value, d *Door) {
			d.Idle = r.duration(v, aTime, maxDuration)
		}},
	}, refused: []refusal{
		{"request", "whoever connects is not recognised, so that what comes in is public", "let the service that is reached vouch for it"},
		{"answer", "whoever connects is not recognised, so that what goes out has to be public", "let the service that is reached release it"},
		{"authenticate", "the gateway does not read what passes here", "let the service find out who it is, and connect on with for: anyone"},
	}}
}

func readDoors(r *reader, v value, g *Gateway) {
	r.list(v, someDoors, maxDoors, func(v value) {
		d := Door{Pos: v.pos()}
		if !mapping(r, v, aDoor, doorKeys(), &d) {
			return
		}
		i := len(g.TCP)
		g.TCP = append(g.TCP, d)
		r.check(func(a *App) { r.checkDoor(v, a, i) })
	})
	r.check(func(*App) {
		all := 0
		for _, d := range g.TCP {
			all += d.Connections
		}
		if all > maxGuests {
			r.refuse(v, "write connections at each", "%d connections of all doors together are more than %d", all, maxGuests)
		}
	})
}

// checkDoor asks what a door is to those behind and beside it, and writes the port
// that was left out.
func (r *reader) checkDoor(v value, a *App, i int) {
	d := &a.Gateway.TCP[i]
	taken := d.Listen == a.Gateway.Listen
	for _, other := range a.Gateway.TCP[:i] {
		taken = taken || d.Listen == other.Listen
	}
	if taken && !strings.HasSuffix(d.Listen, ":0") {
		r.refuse(r.key(v, "listen"), "", "%s stands twice", d.Listen)
	}
	service, port, _ := splitPort(d.To)
	s := a.Service(service)
	if s == nil || r.flaws[service] {
		return
	}
	if port == 0 && len(s.Ports()) == 1 {
		port = s.Ports()[0]
		d.To = service + ":" + strconv.Itoa(port)
	}
	switch at := r.key(v, "to"); {
	case port != 0 && port == s.HTTP:
		r.refuse(at, "write a route to it, or give the service a port with tcp", "%s is a port for HTTP, whose requests the gateway marks with who sends them", d.To)
	case s.perPrincipal() && !s.Template:
		r.refuse(at, "lead to a service that finds out who it is, and connects on with for: anyone", "%q has an instance for each principal, and nobody is told apart", service)
	}
}

func (d *Door) fillDefaults() {
	orElse(&d.Connections, defaultGuests)
	orElse(&d.PerPeer, min(64, d.Connections))
	orElse(&d.Idle, 10*time.Minute)
}

func (d Door) node() *yaml.Node {
	var o object
	o.add("listen", text(d.Listen))
	o.add("to", text(d.To))
	o.add("connections", count(d.Connections))
	o.add("per_peer", count(d.PerPeer))
	o.add("idle", text(formatDuration(d.Idle)))
	return o.done()
}

// Port parts To.
func (d Door) Port() (service string, port int) {
	service, port, _ = splitPort(d.To)
	return service, port
}
