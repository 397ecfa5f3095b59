package supervisor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// reach is what a service may connect to: a loopback address of its own for
// each callee, so that two callees may use the same port.
type reach struct {
	hosts []executor.Host
	ports []reachable
}

// reachable is a place inside where something can be reached: a port of a service,
// an endpoint outside, or the proxy.
type reachable struct {
	service string
	port    int
	out     string // host:port
	proxy   bool
	at      netip.AddrPort
}

// carry serves what is reached at l for the instance that l lies in.
func (r reachable) carry(env *monitor.Env, l net.Listener) {
	switch {
	case r.proxy:
		env.Proxy(l)
	case r.out != "":
		env.Egress(l, r.out)
	default:
		env.Relay(l, r.service, r.port)
	}
}

// loopback is the i-th address for a name that resolves inside.
func loopback(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, 1 + byte(i/250), 1 + byte(i%250)})
}

// host makes name resolve to an address that nothing else has.
func (r *reach) host(name string) netip.Addr {
	addr := loopback(len(r.hosts))
	r.hosts = append(r.hosts, executor.Host{Name: name, Addr: addr})
	return addr
}

// reachOf is what a service may connect to.
func (l *lineup) reachOf(service string) reach {
	if service == egressName {
		return doorReach(l.resolvers)
	}
	if service == telemetryName {
		return telemetryReach(l.app)
	}
	return reachOf(l.app, service)
}

func reachOf(app *manifest.App, service string) reach {
	byCallee := make(map[string][]int)
	for _, e := range edgesOf(app, service) {
		if e.port != 0 {
			byCallee[e.service] = append(byCallee[e.service], e.port)
		}
	}
	callees := make([]string, 0, len(byCallee))
	for c := range byCallee {
		callees = append(callees, c)
	}
	sort.Strings(callees)
	var r reach
	for _, c := range callees {
		addr := r.host(c)
		for _, port := range byCallee[c] {
			r.ports = append(r.ports, reachable{service: c, port: port, at: netip.AddrPortFrom(addr, uint16(port))})
		}
	}
	r.wayOut(app, service)
	return r
}

// name is the name that leads to an address, "" for an address that has none.
func (r reach) name(at netip.Addr) string {
	for _, h := range r.hosts {
		if h.Addr == at {
			return h.Name
		}
	}
	return ""
}

// as is what want is for somebody who knows r: each name keeps the address that it had.
func (r reach) as(want reach) reach {
	known := reach{hosts: slices.Clone(r.hosts)}
	next := reach{}
	for _, p := range want.ports {
		name := want.name(p.at.Addr())
		i := slices.IndexFunc(known.hosts, func(h executor.Host) bool { return h.Name == name })
		if i < 0 {
			known.host(name)
			i = len(known.hosts) - 1
		}
		p.at = netip.AddrPortFrom(known.hosts[i].Addr, p.at.Port())
		next.ports = append(next.ports, p)
	}
	next.hosts = known.hosts
	return next
}

// target is where r leads, wherever it is reached.
func (r reachable) target() reachable {
	r.at = netip.AddrPort{}
	return r
}

// carry serves what is reached at l. The caller holds reaching.
func (in *instance) carry(r reachable, l net.Listener) {
	in.open[r.target()] = l
	go r.carry(in.env, l)
}

// reachAnew makes the names and listeners inside those of the lineup of the moment. What
// has both before and now is not touched. An error says that it will be so with the next instance.
func (in *instance) reachAnew(ctx context.Context) error {
	in.reaching.Lock()
	defer in.reaching.Unlock()
	if in.open == nil {
		return nil // a spare, which asks for it when it is claimed
	}
	if in.svc.Name == egressName || in.svc.Name == telemetryName {
		return nil // it reaches its resolvers, or who takes spans, whatever is granted
	}
	want := in.reach.as(in.s.now().reachOf(in.svc.Name))
	var listen []netip.AddrPort
	var more []reachable
	stays := make(map[reachable]bool)
	var names []executor.Host
	for _, p := range want.ports {
		stays[p.target()] = true
		h := executor.Host{Name: want.name(p.at.Addr()), Addr: p.at.Addr()}
		if !slices.Contains(names, h) {
			names = append(names, h)
		}
		if in.open[p.target()] == nil {
			listen, more = append(listen, p.at), append(more, p)
		}
	}
	gone := false
	for target, l := range in.open {
		if !stays[target] {
			l.Close()
			delete(in.open, target)
			gone = true
		}
	}
	in.reach = want
	if !gone && len(more) == 0 {
		return nil
	}
	listeners, err := in.proc.Reach(ctx, names, listen)
	if err != nil {
		return fmt.Errorf("%s: what it may connect to changes with its next instance: %w", in.name, err)
	}
	for i, l := range listeners {
		in.carry(more[i], l)
	}
	return nil
}
