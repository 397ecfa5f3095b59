// Package zoobartest runs zoobar in one process, and drives it as its visitors
// and its graders do.
//
// [New] puts the real services together with a stand-in for the monitor, which
// carries their calls and refuses those that the table Grants does not list.
// [Browser] is a visitor. [Lab] is the grading script of the course: the same
// checks pass here and, in the end-to-end test, against the isolated whole.
//
// Trusted: no. Tests only.
package zoobartest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// Grants is who may call what: the manifest's table, held against it by a test.
var Grants = map[string][]string{
	calls.AuthRegister:       {"dynamic", "front"},
	calls.AuthLogin:          {"dynamic", "front"},
	calls.AuthCheckToken:     {"bank", "dynamic", "store"},
	calls.AuthPrincipal:      {"gateway"},
	calls.HoneySet:           {"auth"},
	calls.HoneyCheck:         {"auth"},
	calls.BankRegister:       {"auth"},
	calls.BankTransfer:       {"dynamic"},
	calls.BankBalance:        {"dynamic", "profile"},
	calls.BankGetLog:         {"dynamic", "profile"},
	calls.BankGive:           {"sandbox"},
	calls.StoreGetProfile:    {"dynamic", "profile"},
	calls.StoreSetProfile:    {"dynamic"},
	calls.ProfileRun:         {"dynamic"},
	calls.ProfileGetSelf:     {"sandbox"},
	calls.ProfileGetVisitor:  {"sandbox"},
	calls.ProfileGetXfers:    {"sandbox"},
	calls.ProfileGetUserInfo: {"sandbox"},
	calls.VisitsNote:         {"profile"},
	calls.VisitsGet:          {"sandbox"},
	calls.VisitsShare:        {"sandbox"},
	calls.RosterKnows:        {"dynamic"},
	calls.RosterWelcome:      {"dynamic", "front"},
	calls.Echo:               {"dynamic", "front"},
}

// Monitor carries calls between services of one process. Set it up first, then
// use it from any goroutine.
type Monitor struct {
	methods map[string]sdk.Handler // by service.method

	// Before, if set, runs before each call; an error is what the caller gets.
	Before func(from, call string) error

	// Spawn, if set, starts a template for whoever asks.
	Spawn func(ctx context.Context, o sdk.SpawnOptions) (sdk.Exit, error)
}

// NewMonitor returns a monitor without services.
func NewMonitor() *Monitor {
	return &Monitor{methods: make(map[string]sdk.Handler)}
}

// Serve adds the methods of a service.
func (m *Monitor) Serve(service string, methods map[string]sdk.Handler) {
	for name, h := range methods {
		m.methods[service+"."+name] = h
	}
}

// As is a connection that belongs to service.
func (m *Monitor) As(service string) *Peer {
	return &Peer{monitor: m, caller: sdk.Caller{Identity: sdk.Identity{Service: service, Instance: service + "-1"}}}
}

// AsSandbox is a connection of a sandbox bound to b.
func (m *Monitor) AsSandbox(b calls.Bound) *Peer {
	id := sdk.Identity{Service: "sandbox", Instance: "sandbox-1", Principal: b.Owner, Bound: b.Bytes()}
	return &Peer{monitor: m, caller: sdk.Caller{Identity: id}}
}

// Peer is one service's connection.
type Peer struct {
	monitor *Monitor
	caller  sdk.Caller
}

// Call makes a call as the service that the connection belongs to.
func (p *Peer) Call(ctx context.Context, call string, body []byte) ([]byte, error) {
	reply, err := p.CallWith(ctx, call, body, sdk.Options{})
	return reply.Body, err
}

// CallWith is Call that shows a privilege. The stand-in does not ask whether the
// service has it, as all people have the same instance here.
func (p *Peer) CallWith(ctx context.Context, call string, body []byte, o sdk.Options) (sdk.Reply, error) {
	reply, err := p.call(ctx, call, body, o)
	return sdk.Reply{Body: reply}, err
}

func (p *Peer) call(ctx context.Context, call string, body []byte, o sdk.Options) ([]byte, error) {
	m := p.monitor
	h := m.methods[call]
	if h == nil || !slices.Contains(Grants[call], p.caller.Service) {
		return nil, fmt.Errorf("%s from %s: %w", call, p.caller.Service, sdk.ErrDenied)
	}
	if m.Before != nil {
		if err := m.Before(p.caller.Service, call); err != nil {
			return nil, err
		}
	}
	caller := p.caller
	caller.Shown = o.Shown
	reply, err := h(ctx, caller, body)
	if err != nil {
		return nil, &sdk.Failure{Message: err.Error()}
	}
	return reply, nil
}

// CallJSON is Call with JSON on both sides.
func (p *Peer) CallJSON(ctx context.Context, call string, args, result any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	reply, err := p.Call(ctx, call, body)
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(reply, result)
}

// Spawn starts a template.
func (p *Peer) Spawn(ctx context.Context, template string, o sdk.SpawnOptions) (sdk.Exit, error) {
	if template != "sandbox" || p.caller.Service != "profile" || p.monitor.Spawn == nil {
		return sdk.Exit{}, fmt.Errorf("spawn %s from %s: %w", template, p.caller.Service, sdk.ErrDenied)
	}
	return p.monitor.Spawn(ctx, o)
}

// Acting is how a call is made for a person.
func Acting(name string) sdk.Options {
	acting, err := calls.Acting(name)
	if err != nil {
		panic(err)
	}
	return acting
}

// For is a caller that shows that it acts for a person.
func For(name string) sdk.Caller {
	return sdk.Caller{Identity: sdk.Identity{Service: "dynamic", Principal: name}, Shown: Acting(name).Shown}
}
