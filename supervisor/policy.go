package supervisor

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// gatewayName is the service that the gateway is.
const gatewayName = "gateway"

// BridgePort is where the gateway takes HTTP between services, inside its own
// environment.
const BridgePort = 8080

// policyOf is the manifest in the monitor's words.
func policyOf(app *manifest.App) monitor.Policy {
	var p monitor.Policy
	for _, svc := range app.Services {
		s := monitor.Service{Name: svc.Name, HTTP: svc.HTTP, Lines: svc.Stdio == "lines", Ports: svc.TCP}
		if svc.HTTP != 0 {
			s.Ports = append(s.Ports, svc.HTTP)
		}
		for _, pr := range svc.Provides {
			s.Methods = append(s.Methods, monitor.Method{Name: pr.Call, Deadline: pr.Deadline, Idempotent: pr.Idempotent})
		}
		p.Services = append(p.Services, s)
	}
	p.Shares = sharesOf(app)
	if NeedsDoor(app) {
		p.Services = append(p.Services, monitor.Service{Name: gatewayName})
		p.Door = monitor.Door{Service: gatewayName, Port: BridgePort}
	}
	for _, e := range edges(app) {
		p.Grants = append(p.Grants, e.grant)
	}
	return p
}

// edge is a grant, and for connections where the caller finds the callee.
type edge struct {
	grant   monitor.Grant
	service string // callee
	port    int    // of a connection
}

// edges is the manifest's grants, and those of the gateway's second job: HTTP
// between services passes through it.
func edges(app *manifest.App) []edge {
	var out []edge
	bridged := make(map[string]bool)
	for _, g := range app.Grants() {
		e := edge{service: g.To, grant: monitor.Grant{From: g.From, Bound: g.Bound, Rule: g.Rule}}
		switch g.Kind {
		case "call":
			e.grant.Kind, e.grant.To = monitor.KindCall, g.To+"."+g.Name
		case "spawn":
			e.grant.Kind, e.grant.To = monitor.KindSpawn, g.To
		case "share":
			e.grant.Kind, e.grant.To = monitor.KindShare, g.Object()
		default: // http, tcp
			e.grant.Kind, e.grant.To = monitor.KindConnect, g.To+":"+g.Name
			e.port, _ = strconv.Atoi(g.Name)
			if g.Kind == "http" && g.From == gatewayName {
				bridged[e.grant.To] = true
			}
		}
		out = append(out, e)
	}
	for _, g := range app.Grants() {
		to := g.To + ":" + g.Name
		if g.Kind != "http" || bridged[to] {
			continue
		}
		bridged[to] = true
		port, _ := strconv.Atoi(g.Name)
		out = append(out, edge{service: g.To, port: port, grant: monitor.Grant{
			From: gatewayName, Kind: monitor.KindConnect, To: to, Rule: g.Rule + ": carries it",
		}})
	}
	return out
}

// reach is what a service may connect to: a loopback address of its own for
// each callee, so that two callees may use the same port.
type reach struct {
	hosts []executor.Host
	ports []reachable
}

type reachable struct {
	service string
	port    int
	at      netip.AddrPort
}

func reachOf(app *manifest.App, service string) reach {
	byCallee := make(map[string][]int)
	for _, e := range edges(app) {
		if e.grant.From == service && e.port != 0 {
			byCallee[e.service] = append(byCallee[e.service], e.port)
		}
	}
	callees := make([]string, 0, len(byCallee))
	for c := range byCallee {
		callees = append(callees, c)
	}
	sort.Strings(callees)
	var r reach
	for i, c := range callees {
		addr := netip.AddrFrom4([4]byte{127, 0, 1 + byte(i/250), 1 + byte(i%250)})
		r.hosts = append(r.hosts, executor.Host{Name: c, Addr: addr})
		for _, port := range byCallee[c] {
			r.ports = append(r.ports, reachable{c, port, netip.AddrPortFrom(addr, uint16(port))})
		}
	}
	return r
}

// Decide is what the monitor answers under the manifest app: may an instance of
// subject (with something bound to it or not) do op to object? Nothing has to
// run for it, and nothing is recorded. The error is that no grant is involved
// in op.
func Decide(app *manifest.App, subject, op, object string, bound bool) (monitor.Verdict, error) {
	return policyOf(app).Decide(subject, op, object, bound)
}

// GrantLine is what to write in the manifest, and where, to grant op on object
// to subject: a line for each change, "" if no line can.
func GrantLine(app *manifest.App, subject, op, object string) string {
	switch op {
	case "call":
		to, method, ok := strings.Cut(object, ".")
		if !ok {
			return ""
		}
		return app.GrantFor(subject, "call", to, method)
	case "spawn":
		return app.GrantFor(subject, "spawn", object, "")
	case "connect":
		to, port, ok := strings.Cut(object, ":")
		if !ok {
			return ""
		}
		return app.GrantFor(subject, "connect", to, port)
	case "mount", "unmount":
		into, dir, _ := strings.Cut(object, "/")
		to := strings.TrimSuffix(into, ":")
		if to == "" {
			to = subject
		}
		if s := app.ShareOf("/" + dir); s != nil {
			return app.GrantFor(subject, "share", to, s.Name)
		}
	}
	return ""
}
