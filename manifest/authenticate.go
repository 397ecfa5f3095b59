package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// defaultCookie holds what an authenticator is asked about.
const defaultCookie = "session"

var cookieNames = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// Authenticate is who tells the gateway which principal a request comes from.
type Authenticate struct {
	Pos    Pos
	Call   string // service.method
	Cookie string // its name
	Login  string // path of who is not recognised and has to be; "" for none
}

func readAuthenticate(r *reader, v value, g *Gateway) {
	a := &Authenticate{Pos: v.pos()}
	g.Authenticate = a
	if kindOf(v.node) == isText {
		readAuthenticateCall(r, v, a)
		return
	}
	mapping(r, v, anAuthenticate, authenticateKeys(), a)
}

func authenticateKeys() table[Authenticate] {
	return table[Authenticate]{keys: []key[Authenticate]{
		{"call", aMethod, true, "", "The method that is asked with each request that shows the cookie. It is given `{\"cookies\": {NAME: value}}` and answers `{\"principal\": name}`, with an empty name for nobody. If it does not, nobody is let in.", readAuthenticateCall},
		{"cookie", aCookie, false, defaultCookie, "The cookie's name. Of all services only those with an instance for each principal, a route's nobody and that to which login leads see it, and may set it: whoever has it is taken for its owner.", func(r *reader, v value, a *Authenticate) {
			a.Cookie, _ = r.name(v, aCookie, cookieNames)
		}},
		{"login", aWebPath, false, "they are refused", "The path to which those are sent who are not recognised, where somebody has to be: at a service that has its instances per principal, and where the labels of a route say so.", readLogin},
	}}
}

func readAuthenticateCall(r *reader, v value, into *Authenticate) {
	r.method(v, &into.Call, func(s *Service, p *Provide) {
		switch {
		case p.From != nil && !slices.Contains(p.From, gatewayName):
			r.refuse(v, "add gateway to that list", "%s does not let the gateway call it: its from at %s is the whole list", into.Call, r.where(p.Pos))
		case s.Instances == perPrincipal:
			r.refuse(v, "let a service answer that has its instances shared", "%q has an instance for each principal, and who that is would be the question", s.Name)
		case p.Gate != nil:
			r.refuse(v, "", "%s is a gate, to which the gateway has nothing to show", into.Call)
		}
	})
}

// webPaths are those that mean the same to everybody, without anything to decode.
var webPaths = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?$|^/$`)

// readLogin refuses a path that leads nowhere, or to where it comes from.
func readLogin(r *reader, v value, a *Authenticate) {
	var ok bool
	if a.Login, ok = r.name(v, aWebPath, webPaths); !ok {
		return
	}
	r.check(func(app *App) {
		for _, route := range app.Gateway.Routes {
			re, err := regexp.Compile("^(?:" + route.Path + ")$")
			if err != nil || !re.MatchString(a.Login) {
				continue
			}
			to := route.To
			if route.Nobody != "" {
				to = route.Nobody
			}
			if s := app.Service(to); s != nil && s.perPrincipal() || !route.Open() {
				r.refuse(v, "give it a route to a service that has its instances shared", "%s leads to %q, which somebody who is not recognised cannot reach", a.Login, to)
			}
			return
		}
		r.refuse(v, "add a route for it", "no route has the path %s", a.Login)
	})
}

// gatewayName is how the gateway stands among who may call a method.
const gatewayName = "gateway"

// checkFromGateway refuses the gateway among the callers of a method that it has
// no use for.
func (r *reader) checkFromGateway(v value, s *Service, method string) {
	r.check(func(a *App) {
		if a.Gateway == nil || a.Gateway.Authenticate == nil || a.Gateway.Authenticate.Call != s.Name+"."+method {
			r.refuse(v, fmt.Sprintf("write gateway.authenticate: %s.%s, or leave it out", s.Name, method), "the gateway calls nothing but what authenticate names")
		}
	})
}

func (a *Authenticate) node() *yaml.Node {
	if a == nil {
		return nil
	}
	var o object
	o.add("call", text(a.Call))
	o.add("cookie", text(a.Cookie))
	o.add("login", someText(a.Login))
	return o.done()
}

// method reads service.method and asks question of both once all are known.
func (r *reader) method(v value, into *string, question func(*Service, *Provide)) {
	name, ok := r.text(v, aMethod)
	if !ok {
		return
	}
	service, method, _ := strings.Cut(name, ".")
	if !serviceNames.MatchString(service) || !serviceNames.MatchString(method) {
		r.refuse(v, "", "%.64q is not %s", name, aMethod)
		return
	}
	*into = name
	r.check(func(a *App) {
		s := a.Service(service)
		if s == nil {
			r.unknownService(v, a, service)
			return
		}
		if r.flaws[service] {
			return
		}
		if p := s.provide(method); p != nil {
			question(s, p)
			return
		}
		names := make([]string, len(s.Provides))
		for i, p := range s.Provides {
			names[i] = p.Call
		}
		hint := r.didYouMean(method, names)
		if hint == "" {
			hint = fmt.Sprintf("write services.%s.provides: [{call: %s}]", service, method)
		}
		r.refuse(v, hint, "service %q does not provide %q", service, method)
	})
}
