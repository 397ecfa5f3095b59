package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cofferdam/guard"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// gatewayName is the service that the gateway is.
const gatewayName = "gateway"

// BridgePort is where the gateway takes HTTP between services, inside its own
// environment.
const BridgePort = 8080

// policyOf is the manifest in the monitor's words.
func policyOf(app *manifest.App, resolvers []netip.AddrPort) (monitor.Policy, error) {
	return policyWith(app, resolvers, NeedsDoor(app), NeedsEgress(app))
}

// policyWith is policyOf where it is known which doors there are.
func policyWith(app *manifest.App, resolvers []netip.AddrPort, gateway, egress bool) (monitor.Policy, error) {
	var p monitor.Policy
	for _, svc := range app.Services {
		if !forSomebody(svc) {
			s, err := serviceFor(svc, "")
			if err != nil {
				return p, err
			}
			p.Services = append(p.Services, s)
			continue
		}
		s := unlabelled(svc)
		s.For = func(principal string) (monitor.Service, error) { return serviceFor(svc, principal) }
		s.Granted = func(principal string) ([]monitor.Grant, error) { return grantedFor(app, svc, principal) }
		p.Services = append(p.Services, s)
	}
	for i := range p.Services {
		s := &p.Services[i]
		s.PortRates = make(map[int]monitor.Rates)
		for i, pr := range app.Service(s.Name).Provides {
			s.Methods[i].Rates = ratesOf(app, pr.Rate)
		}
		for port, r := range app.Service(s.Name).PortRates {
			s.PortRates[port] = ratesOf(app, r)
		}
	}
	p.PerPrincipal = ratesOf(app, app.Budget.Principal)
	p.Shares = sharesOf(app)
	for _, m := range app.Mailboxes {
		p.Mailboxes = append(p.Mailboxes, monitor.Mailbox{
			Name: m.Name, Label: m.Label, Owner: m.Owner, Messages: m.Messages, MessageBytes: int(m.SizeBytes), Rates: ratesOf(app, m.Rate),
		})
	}
	if gateway {
		p.Services = append(p.Services, monitor.Service{Name: gatewayName})
		p.Door = doorOf(app)
	}
	if egress {
		p.Services = append(p.Services, monitor.Service{Name: egressName})
		p.Egress = monitor.Door{Service: egressName, Port: EgressPort}
		p.Grants = egressGrants(resolvers)
	}
	if NeedsTelemetry(app) {
		s := monitor.Service{Name: telemetryName}
		if gateway && app.Traces != nil {
			s.Methods = []monitor.Method{{Name: spansMethod}}
			p.Grants = append(p.Grants, monitor.Grant{From: gatewayName, Kind: monitor.KindCall, To: SpansCall, Rule: "traces.otlp"})
		}
		p.Services = append(p.Services, s)
		p.Grants = append(p.Grants, telemetryGrants(app)...)
	}
	if app.Traces != nil {
		p.Traces = &monitor.Traces{Ratio: app.Traces.Ratio}
	}
	for _, e := range edges(app) {
		// Privileges that name {principal} are those of somebody: see grantedFor.
		if from := app.Service(e.grant.From); from == nil || !forSomebody(from) {
			if err := e.exercise(""); err != nil {
				return p, err
			}
		}
		p.Grants = append(p.Grants, e.grant)
	}
	return p, nil
}

// ratesOf are rates in the monitor's words.
func ratesOf(app *manifest.App, r manifest.Rates) monitor.Rates {
	one := func(r manifest.Rate) monitor.Rate {
		return monitor.Rate{Amount: r.Amount, Per: r.Per, Burst: r.Burst, Each: r.Each}
	}
	return monitor.Rates{
		Calls: one(r.Calls), Messages: one(r.Messages), Connections: one(r.Connections), Spawns: one(r.Spawns), Bytes: one(r.Bytes),
		Rule: fmt.Sprintf("%s:%d", app.File, r.Pos.Line),
	}
}

// unlabelled is svc without what labels say of it.
func unlabelled(svc *manifest.Service) monitor.Service {
	s := monitor.Service{Name: svc.Name, HTTP: svc.HTTP, Lines: svc.Stdio == "lines", Ports: svc.TCP, Instances: instancesOf(svc)}
	if svc.HTTP != 0 {
		s.Ports = append(slices.Clip(s.Ports), svc.HTTP)
	}
	if svc.Template {
		s.Output = outputOf(svc)
	}
	for _, pr := range svc.Provides {
		s.Methods = append(s.Methods, monitor.Method{Name: pr.Call, Deadline: pr.Deadline, Idempotent: pr.Idempotent})
	}
	return s
}

func instancesOf(svc *manifest.Service) monitor.Instances {
	switch {
	case svc.Template: // nobody calls one
	case svc.Instances == "per-call":
		return monitor.PerCall
	case svc.Instances == "per-label":
		return monitor.PerLabel
	case svc.Instances == "per-principal":
		return monitor.PerPrincipal
	}
	return monitor.Shared
}

// serviceFor is svc as it is for a principal, "" for nobody.
func serviceFor(svc *manifest.Service, principal string) (monitor.Service, error) {
	s := unlabelled(svc)
	var err error
	if s.Flow, err = flowOf(svc, principal); err != nil {
		return s, err
	}
	own := guard.Endpoint{Request: s.Flow.Label, Answer: s.Flow.Label}
	for i, pr := range svc.Provides {
		to, err := pr.Endpoint.For(principal)
		if err != nil {
			return s, fmt.Errorf("method %s of %s: %w", pr.Call, svc.Name, err)
		}
		switch {
		case pr.Gate != nil:
			s.Methods[i].Gate, s.Methods[i].Bits = &pr.Gate.Gate, pr.Gate.Bits
		case to != own:
			s.Methods[i].Endpoint = &to
		}
	}
	for _, port := range s.Ports {
		to, err := svc.PortLabels[port].For(principal)
		if err != nil {
			return s, fmt.Errorf("port %d of %s: %w", port, svc.Name, err)
		}
		if to != own {
			if s.PortEndpoints == nil {
				s.PortEndpoints = make(map[int]guard.Endpoint)
			}
			s.PortEndpoints[port] = to
		}
	}
	for _, v := range svc.Volumes {
		l, err := v.Label.For(principal)
		if err != nil {
			return s, fmt.Errorf("volume %q: %w", v.Name, err)
		}
		s.Volumes = append(s.Volumes, monitor.Volume{Name: v.Name, Label: l, Writable: !v.ReadOnly})
	}
	return s, nil
}

// grantedFor is what svc was granted, for a principal.
func grantedFor(app *manifest.App, svc *manifest.Service, principal string) (grants []monitor.Grant, err error) {
	for _, e := range edgesOf(app, svc.Name) {
		if err := e.exercise(principal); err != nil {
			return nil, err
		}
		grants = append(grants, e.grant)
	}
	return grants, nil
}

// edge is a grant, and for connections where the caller finds the callee.
type edge struct {
	grant   monitor.Grant
	service string // callee
	port    int    // of a connection

	out, in manifest.Formula  // privileges that are used with it
	outside manifest.Endpoint // labels of an egress
}

// exercise puts into the grant what labels say of it for a principal, "" for nobody.
func (e *edge) exercise(principal string) error {
	g := &e.grant
	var err error
	if g.Out, err = e.out.For(principal); err != nil {
		return fmt.Errorf("%s: out: %w", g.Rule, err)
	}
	if g.In, err = e.in.For(principal); err != nil {
		return fmt.Errorf("%s: in: %w", g.Rule, err)
	}
	if g.Request, err = e.outside.Request.For(principal); err != nil {
		return fmt.Errorf("%s: request: %w", g.Rule, err)
	}
	if g.Answer, err = e.outside.Answer.For(principal); err != nil {
		return fmt.Errorf("%s: answer: %w", g.Rule, err)
	}
	return nil
}

// edges is the manifest's grants, and those of the gateway's second job: HTTP
// between services passes through it.
func edges(app *manifest.App) []edge {
	var out []edge
	for _, g := range app.Grants() {
		out = append(out, edgeOf(app, g))
	}
	return append(out, bridges(app)...)
}

// edgesOf are those of them that a service has.
func edgesOf(app *manifest.App, service string) []edge {
	var out []edge
	for _, g := range app.GrantsOf(service) {
		out = append(out, edgeOf(app, g))
	}
	if service == gatewayName {
		out = append(out, bridges(app)...)
	}
	return out
}

func edgeOf(app *manifest.App, g manifest.Grant) edge {
	e := edge{service: g.To, grant: monitor.Grant{From: g.From, Bound: g.Bound, ForAnyone: g.ForAnyone, Rule: g.Rule, Rates: ratesOf(app, g.Rate)}, out: g.Out, in: g.In}
	if g.Rate.Pos == (manifest.Pos{}) {
		e.grant.Rates.Rule = g.Rule
	}
	switch g.Kind {
	case "call":
		e.grant.Kind, e.grant.To = monitor.KindCall, g.To+"."+g.Name
	case "spawn":
		e.grant.Kind, e.grant.To = monitor.KindSpawn, g.To
	case "share":
		e.grant.Kind, e.grant.To = monitor.KindShare, g.Object()
	case "egress":
		e.grant.Kind, e.grant.To, e.grant.Private = monitor.KindEgress, g.Object(), g.Private
		e.outside = g.Endpoint
	case "post", "put", "take":
		e.grant.Kind, e.grant.To = monitor.Kind(g.Kind), g.To
	default: // http, tcp
		e.grant.Kind, e.grant.To, e.grant.Deadline = monitor.KindConnect, g.To+":"+g.Name, g.Deadline
		e.grant.Direct = g.Direct || g.From == gatewayName
		e.port, _ = strconv.Atoi(g.Name)
	}
	return e
}

// bridges are those of the gateway's second job.
func bridges(app *manifest.App) (out []edge) {
	bridged := make(map[string]bool)
	for _, g := range app.GrantsOf(gatewayName) {
		if g.Kind == "http" {
			bridged[g.To+":"+g.Name] = true
		}
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

// Decide is what the monitor answers under the manifest app: may an instance of
// subject (with something bound to it or not) do op to object? Nothing has to
// run for it, and nothing is recorded. The error is that no grant is involved
// in op.
func Decide(app *manifest.App, subject, op, object string, bound bool) (monitor.Verdict, error) {
	resolvers, _ := Resolvers(app) // without them the door's own questions are denied
	policy, err := policyOf(app, resolvers)
	if err != nil {
		return monitor.Verdict{}, err
	}
	return policy.Decide(subject, op, object, bound)
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
	case "egress":
		if line := app.PrivateFor(subject, object); line != "" {
			return line
		}
		to, port, err := net.SplitHostPort(object)
		if err != nil {
			return ""
		}
		return app.GrantFor(subject, "egress", to, port)
	}
	return ""
}

// LiveFor is the grant of object to subject as it would be given while the application
// runs; false if that cannot be.
func LiveFor(app *manifest.App, subject, op, object string) (Live, bool) {
	l := Live{Number: 1 << 30, Service: subject, Kind: op, Object: object}
	if op == "mount" || op == "unmount" {
		into, dir, _ := strings.Cut(object, "/")
		share := app.ShareOf("/" + dir)
		if share == nil {
			return l, false
		}
		l.Kind, l.Object, l.Into = "share", share.Name, strings.TrimSuffix(into, ":")
	}
	if !slices.Contains(manifest.LiveKinds, l.Kind) {
		return l, false
	}
	if _, ok := app.Granted(l.Service, l.Kind, l.Object, l.Into); ok {
		return l, true
	}
	with, err := app.With([]manifest.Live{l}, nil)
	if err != nil {
		l.Private = l.Kind == "egress"
		with, err = app.With([]manifest.Live{l}, nil)
	}
	return l, err == nil && with.Useless(fmt.Sprintf("grant %d", l.Number)) == nil
}
