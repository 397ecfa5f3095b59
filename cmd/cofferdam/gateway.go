package main

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"cofferdam/door/gateway"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// gatewayMain is the role of the gateway, inside its environment.
func gatewayMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := gateway.Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: %v\n", err)
		return codeOurs
	}
	return 0
}

// doorOf is the gateway of app, run by the executable self. It is told what it has
// to know and nothing else of the manifest.
func doorOf(app *manifest.App, self doorProgram) (supervisor.Door, error) {
	if !supervisor.NeedsDoor(app) {
		return supervisor.Door{}, nil
	}
	c := gateway.Config{Services: make(map[string]int), Bridge: supervisor.BridgePort, Says: supervisor.TellsApart(app)}
	for _, s := range app.Services {
		if s.HTTP != 0 {
			c.Services[s.Name] = s.HTTP
		}
	}
	if t := app.Traces; t != nil {
		c.Traces = &gateway.Traces{Ratio: t.Ratio, Call: supervisor.SpansCall, Public: supervisor.PublicOverHTTP(app)}
	}
	if g := app.Gateway; g != nil {
		c.Outside = g.Listen != ""
		c.Each = app.Budget.Principal.Connections.Amount > 0
		if a := g.Authenticate; a != nil {
			c.Authenticate = &gateway.Authenticate{Call: a.Call, Cookie: a.Cookie, Login: a.Login}
		}
		for _, r := range g.Routes {
			c.Routes = append(c.Routes, routeOf(app, r))
		}
		c.Limits = gateway.Limits{
			HeaderBytes: int(g.Limits.HeaderBytes),
			BodyBytes:   g.Limits.BodyBytes,
			TimeoutMS:   g.Limits.Timeout.Milliseconds(),
			StreamMS:    g.Limits.Stream.Milliseconds(),
			AnswerMS:    g.Limits.Answer.Milliseconds(),
			IdleMS:      g.Limits.Idle.Milliseconds(),
			Connections: g.Limits.Connections,
			PerPeer:     g.Limits.PerPeer, PerPrincipal: g.Limits.PerPrincipal, Rate: rateOf(g.Limits.Rate),
		}
		for _, d := range g.TCP {
			to, port := d.Port()
			c.TCP = append(c.TCP, gateway.TCP{Number: d.Number, To: to, Port: port, Connections: d.Connections, PerPeer: d.PerPeer, IdleMS: d.Idle.Milliseconds()})
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return supervisor.Door{}, fmt.Errorf("gateway: %w", err)
	}
	return supervisor.Door{Program: self.path, Runtime: self.runtime, Env: []string{gateway.ConfigEnv + "=" + string(text)}}, nil
}

// rateOf is a rate in the gateway's words.
func rateOf(r manifest.Rate) gateway.Rate {
	if r.Amount <= 0 {
		return gateway.Rate{} // there is none
	}
	return gateway.Rate{Amount: r.Amount, PerMS: r.Per.Milliseconds(), Burst: r.Burst}
}

// routeOf is a route in the gateway's words.
func routeOf(app *manifest.App, r manifest.Route) gateway.Route {
	out := gateway.Route{Number: r.Number, Path: r.Path, To: r.To, Nobody: r.Nobody, Rate: rateOf(r.Rate), WebSocket: r.WebSocket}
	to := app.Service(r.To)
	each := to.Instances == "per-principal"
	if app.Gateway.Authenticate != nil {
		out.Asks = each || r.Nobody != "" || r.Request.NamesPrincipal() || r.Answer.NamesPrincipal()
		out.Needs = out.Asks && (each && r.Nobody == "" || !r.Open())
	}
	out.Session = each || managesSessions(app, r.To)
	out.Secret = secretAt(to, r)
	if nobody := app.Service(r.Nobody); nobody != nil {
		out.SecretNobody = secretAt(nobody, r)
	}
	return out
}

// managesSessions tells whether the path to log in leads to that service.
func managesSessions(app *manifest.App, service string) bool {
	a := app.Gateway.Authenticate
	if a == nil || a.Login == "" {
		return false
	}
	for _, r := range app.Gateway.Routes {
		if re, err := regexp.Compile("^(?:" + r.Path + ")$"); err == nil && re.MatchString(a.Login) {
			return r.To == service || r.Nobody == service
		}
	}
	return false
}

// secretAt tells whether what svc answers to a request by that route is not for
// everybody.
func secretAt(svc *manifest.Service, r manifest.Route) bool {
	if svc.Instances == "per-label" { // then it has the labels of both
		return svc.Label.Secret() || r.Request.Secret()
	}
	return svc.PortLabels[svc.HTTP].Answer.Secret()
}

// doorProgram is the program of all doors, looked at while whoever started us may.
type doorProgram struct{ path, runtime string }

func doorProgramAt(path string) (doorProgram, error) {
	runtime, err := runtimeFor(path)
	if err != nil {
		err = fmt.Errorf("the program of a door: %w", err)
	}
	return doorProgram{path, runtime}, err
}

// runtimeFor is the runtime that the program at path needs: the host's if it was
// linked dynamically, as `go build` with a C compiler at hand does, and none
// otherwise.
func runtimeFor(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "host", nil
		}
	}
	return "", nil
}
