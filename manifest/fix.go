package manifest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// GrantFor is what to write, and where, so that from may reach name of to: one
// line for each change, "cofferdam.yaml:31 services.static.uses: - {call:
// bank.balance}". Kind is that of a [Grant], or "connect" for http and tcp.
// It is "" if that is granted already or no line can grant it.
func (a *App) GrantFor(from, kind, to, name string) string {
	for _, g := range a.Grants() {
		same := g.Kind == kind || kind == "connect" && (g.Kind == "http" || g.Kind == "tcp")
		if g.From == from && same && g.To == to && g.Name == name {
			return ""
		}
	}
	if from == "gateway" {
		return a.fixRoute(to, name)
	}
	caller, callee := a.Service(from), a.Service(to)
	if kind == "egress" && caller != nil {
		return a.fixEgress(caller, net.JoinHostPort(to, name))
	}
	if caller == nil || callee == nil || !callee.Template && callee.perPrincipal() && !caller.perPrincipal() {
		return ""
	}
	switch kind {
	case "call":
		return a.fixCall(caller, callee, name)
	case "spawn":
		if !callee.Template {
			return ""
		}
		return a.fixUse(caller, "spawn: "+to)
	case "share":
		if a.Share(name) == nil || callee.Stdio != "" && caller != callee {
			return ""
		}
		if caller == callee {
			to = itself
		}
		return a.fixUse(caller, "share: "+name+", into: "+to)
	case "connect", "http", "tcp":
		return a.fixConnect(caller, callee, name)
	}
	return ""
}

func (a *App) fixCall(caller, callee *Service, method string) string {
	if callee.Template || !serviceNames.MatchString(method) {
		return ""
	}
	use := a.fixUse(caller, "call: "+callee.Name+"."+method)
	p := callee.provide(method)
	switch {
	case p == nil:
		at := callee.Pos
		if n := len(callee.Provides); n > 0 {
			at = callee.Provides[n-1].Pos
		}
		return a.fix(at, "services."+callee.Name+".provides", "- {call: "+method+"}") + "\n" + use
	case p.From == nil:
		return use
	}
	line := "- {call: " + method + ", from: [" + strings.Join(append(slices.Clone(p.From), caller.Name), ", ") + "]"
	if p.Deadline != defaultDeadline {
		line += ", deadline: " + formatDuration(p.Deadline)
	}
	if p.Idempotent {
		line += ", idempotent: true"
	}
	var labels object
	switch {
	case p.Gate != nil:
		labels.add("gate", p.Gate.node())
	case !callee.ofCaller():
		labels = *callee.labelsNode(p.Endpoint)
	}
	line += labels.inline()
	return a.fix(p.Pos, "services."+callee.Name+".provides", line+"}")
}

func (a *App) fixConnect(caller, callee *Service, port string) string {
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 || callee.ends() {
		return ""
	}
	use := a.fixUse(caller, fmt.Sprintf("connect: %s:%d", callee.Name, n))
	if slices.Contains(callee.Ports(), n) {
		return use
	}
	var ports []string
	for _, p := range append(slices.Clone(callee.TCP), n) {
		ports = append(ports, strconv.Itoa(p))
	}
	return a.fix(callee.Pos, "services."+callee.Name+".tcp", "["+strings.Join(ports, ", ")+"]") + "\n" + use
}

func (a *App) fixRoute(to, name string) string {
	s := a.Service(to)
	if a.Gateway == nil || s == nil {
		return ""
	}
	at := a.Gateway.Pos
	port, _ := strconv.Atoi(name)
	switch {
	case slices.Contains(s.TCP, port) && !s.perPrincipal():
		if n := len(a.Gateway.TCP); n > 0 {
			at = a.Gateway.TCP[n-1].Pos
		}
		return a.fix(at, "gateway.tcp", fmt.Sprintf("- {listen: 127.0.0.1:%d, to: %s:%d}", port, to, port))
	case s.HTTP == 0 || a.Gateway.Listen == "":
		return ""
	}
	if n := len(a.Gateway.Routes); n > 0 {
		at = a.Gateway.Routes[n-1].Pos
	}
	return a.fix(at, "gateway.routes", fmt.Sprintf("- {path: '/%s(/.*)?', to: %s}", to, to))
}

// fixUse is a line after the last use of s.
func (a *App) fixUse(s *Service, use string) string {
	at := s.Pos
	if n := len(s.Uses); n > 0 {
		at = s.Uses[n-1].Pos
	}
	return a.fix(at, "services."+s.Name+".uses", "- {"+use+"}")
}

func (a *App) fix(at Pos, key, line string) string { return a.rule(at) + " " + key + ": " + line }
