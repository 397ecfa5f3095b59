package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cofferdam/address"
)

// Grants is the whole of who may reach whom, ordered by From, Kind, To and
// Name, each once. It grants
//
//   - http to the gateway, for each service that a route leads to, and tcp for each port that a
//     door does;
//   - a call to each name in the method's from or, if it has none, to each
//     service that has the call among its uses;
//   - a spawn, a connection, a share, a way out and a mailbox to whoever has it among its uses;
//   - a call to the gateway, of who authenticates.
//
// The kind of a connection is http if the port is the service's http port.
//
// It is not the caller's to change.
func (a *App) Grants() []Grant { return a.granted().all }

// GrantsOf are those of them that a service has.
func (a *App) GrantsOf(service string) []Grant {
	all := a.Grants()
	from := func(g Grant, name string) int { return strings.Compare(g.From, name) }
	begin, _ := slices.BinarySearchFunc(all, service, from)
	end := begin
	for end < len(all) && all[end].From == service {
		end++
	}
	return all[begin:end:end]
}

// SharesIn are those of them by which directories of the host can be shown to a service.
func (a *App) SharesIn(service string) []Grant { return a.granted().shares[service] }

// granted is the table of the grants.
type granted struct {
	once   sync.Once
	all    []Grant
	shares map[string][]Grant // by who is shown them
}

func (a *App) granted() *granted {
	t := a.table
	if t == nil {
		t = new(granted)
	}
	t.once.Do(func() {
		t.all, t.shares = a.grants(), make(map[string][]Grant)
		for _, g := range t.all {
			if g.Kind == "share" {
				t.shares[g.To] = append(t.shares[g.To], g)
			}
		}
	})
	return t
}

func (a *App) grants() []Grant {
	var all []Grant
	uses := make(map[*Service]map[string]*Use) // of who is in a list
	if a.Gateway != nil {
		for _, route := range a.Gateway.Routes {
			for _, to := range []string{route.To, route.Nobody} {
				if s := a.Service(to); s != nil && s.HTTP != 0 {
					all = append(all, Grant{From: gatewayName, Kind: "http", To: s.Name, Name: strconv.Itoa(s.HTTP), Rule: a.rule(route.Pos), Requests: a.Gateway.requests(to)})
				}
			}
		}
		for _, d := range a.Gateway.TCP {
			if to, port := d.Port(); a.Service(to) != nil && port != 0 {
				all = append(all, Grant{From: gatewayName, Kind: "tcp", To: to, Name: strconv.Itoa(port), Rule: a.rule(d.Pos), Deadline: a.Service(to).PortDeadlines[port], Provided: a.Service(to).PortRates[port]})
			}
		}
		if who := a.Gateway.Authenticate; who != nil {
			service, method, _ := strings.Cut(who.Call, ".")
			if s := a.Service(service); s != nil && s.provide(method) != nil {
				all = append(all, Grant{From: gatewayName, Kind: "call", To: service, Name: method, Rule: a.rule(who.Pos), Provided: s.provide(method).Rate})
			}
		}
	}
	for _, s := range a.Services {
		for _, p := range s.Provides {
			for i, from := range p.From {
				if caller := a.Service(from); caller != nil {
					g := Grant{From: from, Kind: "call", To: s.Name, Name: p.Call, Rule: a.rule(p.fromPos(i))}
					if uses[caller] == nil {
						uses[caller] = caller.calls()
					}
					if u := uses[caller][s.Name+"."+p.Call]; u != nil {
						g.Bound, g.Out, g.In, g.Rate = u.Bound, u.Out, u.In, u.Rate
					}
					g.Provided = p.Rate
					all = append(all, g)
				}
			}
		}
		for _, u := range s.Uses {
			if g, ok := a.used(u); ok {
				g.From, g.Bound, g.Rule = s.Name, u.Bound, a.rule(u.Pos)
				if g.To == itself {
					g.To = s.Name
				}
				g.ForAnyone, g.Private, g.Direct, g.Rate = u.ForAnyone, u.Private, u.Direct, u.Rate
				g.Endpoint, g.Out, g.In = u.Endpoint, u.Out, u.In
				all = append(all, g)
			}
		}
	}
	slices.SortStableFunc(all, compareGrants)
	all = slices.CompactFunc(all, func(x, y Grant) bool { return compareGrants(x, y) == 0 })
	if len(a.revoked) > 0 {
		all = slices.DeleteFunc(all, a.Revoked)
	}
	return all
}

// used is what a use grants by itself: nothing if the provider has a list.
func (a *App) used(u Use) (Grant, bool) {
	switch {
	case u.Call != "":
		to, method, _ := strings.Cut(u.Call, ".")
		if s := a.Service(to); s != nil {
			if p := s.provide(method); p != nil && p.From == nil {
				return Grant{Kind: "call", To: to, Name: method, Provided: p.Rate}, true
			}
		}
	case u.Spawn != "":
		if s := a.Service(u.Spawn); s != nil && s.Template {
			return Grant{Kind: "spawn", To: s.Name}, true
		}
	case u.Connect != "":
		to, port, _ := splitPort(u.Connect)
		if s := a.Service(to); s != nil && !s.Template && slices.Contains(s.Ports(), port) {
			kind := "tcp"
			if port == s.HTTP {
				kind = "http"
			}
			return Grant{Kind: kind, To: to, Name: strconv.Itoa(port), Deadline: sooner(u.Deadline, s.PortDeadlines[port]), Provided: s.PortRates[port]}, true
		}
	case u.Post != "" && a.Mailbox(u.Post) != nil:
		return Grant{Kind: "post", To: u.Post, Provided: a.Mailbox(u.Post).Rate}, true
	case u.Put != "" && a.Mailbox(u.Put) != nil:
		return Grant{Kind: "put", To: u.Put, Provided: a.Mailbox(u.Put).Rate}, true
	case u.Take != "" && a.Mailbox(u.Take) != nil:
		return Grant{Kind: "take", To: u.Take}, true
	case a.Share(u.Share) != nil && (u.Into == itself || a.Service(u.Into) != nil):
		return Grant{Kind: "share", To: u.Into, Name: u.Share}, true
	case u.Egress != "":
		if e, err := address.ParseEndpoint(u.Egress); err == nil {
			return Grant{Kind: "egress", To: e.Host(), Name: strconv.Itoa(int(e.Port))}, true
		}
	}
	return Grant{}, false
}

// requests is how many each person may make of a service by the routes to it, in words; "" for
// no limit.
func (g *Gateway) requests(to string) string {
	var all []string
	for _, route := range g.Routes {
		if route.To != to && route.Nobody != to {
			continue
		}
		rate := route.Rate.format(decimal)
		if rate == "" {
			return ""
		}
		if rate = "requests of each person " + rate; !slices.Contains(all, rate) {
			all = append(all, rate)
		}
	}
	return strings.Join(all, ", or ")
}

// sooner is the shorter of two deadlines, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// calls is how s uses calls, by name.
func (s *Service) calls() map[string]*Use {
	all := make(map[string]*Use)
	for i := range s.Uses {
		if call := s.Uses[i].Call; call != "" {
			all[call] = &s.Uses[i]
		}
	}
	return all
}

func (p *Provide) fromPos(i int) Pos {
	if i < len(p.FromPos) {
		return p.FromPos[i]
	}
	return p.Pos
}

func (a *App) rule(p Pos) string {
	if p.Line < 0 {
		return fmt.Sprintf("grant %d", -p.Line)
	}
	return fmt.Sprintf("%s:%d", a.File, p.Line)
}

func compareGrants(x, y Grant) int {
	for _, pair := range [][2]string{{x.From, y.From}, {x.Kind, y.Kind}, {x.To, y.To}, {x.Name, y.Name}} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return 0
}
