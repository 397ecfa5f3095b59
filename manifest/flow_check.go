package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cofferdam/guard"
	"cofferdam/label"
)

// state is what an instance starts with. {principal} is a name in it like any
// other: what holds for that holds for everybody it may stand for, because to give
// two names one meaning makes no formula imply less.
func (s *Service) state() guard.State {
	return guard.State{Label: s.Label.text, Clearance: s.Clearance.text}
}

// power is all that an instance may release and vouch for.
func (s *Service) power() label.Privileges {
	return label.Privileges{Out: s.Owns.text, In: s.Owns.text}
}

// ofCaller tells whether the labels of an instance depend on who calls it.
func (s *Service) ofCaller() bool { return s.Instances == perCall || s.Instances == perLabel }

func (e Endpoint) pair() guard.Endpoint {
	return guard.Endpoint{Request: e.Request.text, Answer: e.Answer.text}
}

// checkFlow holds the labels of a manifest without other mistakes against each
// other, by the rules that are enforced when it runs.
func (r *reader) checkFlow(top value, a *App) {
	for _, s := range a.Services {
		f := flowChecker{r: r, top: top, a: a, s: s, key: "services." + s.Name}
		f.checkState()
		f.checkEndpoints()
		f.checkVolumes()
		f.checkUses()
	}
	for i, m := range a.Mailboxes {
		if s := a.Service(m.Owner); s != nil {
			if _, err := s.state().Taint(s.power(), m.Label); err != nil {
				at := r.at(top, fmt.Sprintf("mailboxes[%d].owner", i), m.Pos)
				r.refuse(at, fmt.Sprintf("write services.%s.clearance: '%s'", s.Name, higher(s.Clearance.text, m.Label)),
					"%q may never receive: %s", s.Name, because(err))
			}
		}
	}
	r.checkRoutes(top, a)
	if len(a.Asserts) > 0 && r.count == 0 {
		r.checkAsserts(top, a)
	}
}

// at is where the label at that key stands, or what it belongs to if it was left out.
func (r *reader) at(top value, key string, otherwise Pos) value {
	pos, ok := r.places[key]
	if !ok {
		pos = otherwise
	}
	return r.place(top, pos, key)
}

func (r *reader) placed(key string) bool {
	_, ok := r.places[key]
	return ok
}

// flowChecker checks one service.
type flowChecker struct {
	r   *reader
	top value
	a   *App
	s   *Service
	key string
}

func (f flowChecker) at(key string, otherwise Pos) value {
	return f.r.at(f.top, f.key+"."+key, otherwise)
}

func (f flowChecker) checkState() {
	s := f.s
	if !s.Label.text.FlowsTo(s.Clearance.text) {
		f.r.refuse(f.at("clearance", s.Pos), fmt.Sprintf("write clearance: '%s'", higher(s.Clearance.text, s.Label.text)),
			"its label %s does not flow to its clearance %s", s.Label, s.Clearance)
	}
}

// checkEndpoints asks whether an instance can read all that is sent to it and
// write all that it answers.
func (f flowChecker) checkEndpoints() {
	s := f.s
	ask := func(key string, pos Pos, e Endpoint) {
		err := s.state().Serve(s.power(), e.pair())
		if err == nil {
			return
		}
		half := "request"
		if s.state().Read(s.power(), e.Request.text) == nil {
			half = "answer"
		}
		f.r.refuse(f.at(key+"."+half, pos), f.ownMore(err, half+": '"+s.Label.String()+"'"), "it cannot be served: %s", because(err))
	}
	if !s.ofCaller() {
		for _, n := range s.Ports() {
			key := "http"
			if n != s.HTTP {
				key = fmt.Sprintf("tcp[%d]", slices.Index(s.TCP, n))
				if f.r.placed(f.key+".tcp.request") || f.r.placed(f.key+".tcp.answer") {
					key = "tcp" // not in a list
				}
			}
			ask(key, s.Pos, s.PortLabels[n])
		}
	}
	for i, p := range s.Provides {
		key := fmt.Sprintf("provides[%d]", i)
		switch {
		case p.Gate != nil:
			f.checkGate(key+".gate", p.Gate)
		case !s.ofCaller():
			ask(key, p.Pos, p.Endpoint)
		}
	}
}

// checkGate asks whether the most that may be put in can come out.
func (f flowChecker) checkGate(key string, g *Gate) {
	inside, err := f.s.state().Inside(g.Input)
	if err == nil {
		err = inside.Release(f.s.Owns.text, g.Output)
	}
	if err != nil {
		f.r.refuse(f.at(key+".output", g.Pos), f.ownMore(err, fmt.Sprintf("output: '%s'", inside.Label)), "what it lets in could not come out: %s", because(err))
	}
}

// ownMore says what to own, or to write instead, for a flow that was refused.
func (f flowChecker) ownMore(err error, instead string) string {
	var no *guard.Refusal
	if !errors.As(err, &no) {
		return ""
	}
	need := no.From.Missing(f.s.power(), no.To)
	return fmt.Sprintf("write owns: '%s', or %s", f.s.Owns.text.And(need.Out).And(need.In), instead)
}

func (f flowChecker) checkVolumes() {
	s := f.s
	for i, v := range s.Volumes {
		if v.Label.open != nil && !strings.Contains(v.Name, principalMark) {
			f.r.refuse(f.at(fmt.Sprintf("volumes[%d].label", i), v.Pos), fmt.Sprintf("name it %s-%s, or write label: 'True %%%% True'", v.Name, principalMark),
				"volume %q is one for all principals, and its label, %s, is not", v.Name, v.Label)
			continue
		}
		err := s.state().Mount(v.Label.text, !v.ReadOnly)
		if err == nil {
			continue
		}
		hint := fmt.Sprintf("write services.%s.label: '%s'", s.Name, v.Label)
		if s.state().Mount(v.Label.text, false) == nil {
			hint = "write read_only: true, or " + hint
		}
		f.r.refuse(f.at(fmt.Sprintf("volumes[%d].label", i), v.Pos), hint, "volume %q: %s", v.Name, because(err))
	}
}

func (f flowChecker) checkUses() {
	s := f.s
	for i, u := range s.Uses {
		key := fmt.Sprintf("uses[%d]", i)
		for _, p := range []struct {
			key string
			val Formula
		}{{"out", u.Out}, {"in", u.In}} {
			if !s.Owns.text.Implies(p.val.text) {
				f.r.refuse(f.at(key+"."+p.key, u.Pos), fmt.Sprintf("write services.%s.owns: '%s'", s.Name, s.Owns.text.And(p.val.text)),
					"%q owns %s, which does not imply %s", s.Name, s.Owns, p.val)
			}
		}
		name, _, _ := strings.Cut(u.Call, ".")
		if u.Connect != "" {
			name, _, _ = splitPort(u.Connect)
		}
		if u.Share != "" {
			name = u.Into
		}
		to := f.a.Service(name)
		if to == nil {
			continue
		}
		each := to.perPrincipal() && !to.Template
		switch hint := fmt.Sprintf("write services.%s.instances: per-principal", s.Name); {
		case u.ForAnyone && !each:
			f.r.refuse(f.at(key+".for", u.Pos), "leave it out", "%q does not have an instance for each principal", to.Name)
		case each && !s.perPrincipal() && !u.ForAnyone:
			if u.Call == "" {
				hint = fmt.Sprintf("add for: anyone, if %s says each time whose is meant; or %s", s.Name, hint)
			}
			f.r.refuse(f.at(key, u.Pos), hint, "%q has an instance for each principal, and %q runs for nobody", to.Name, s.Name)
		}
	}
	for i, p := range s.Provides {
		for j, from := range p.From {
			if caller := f.a.Service(from); caller != nil && s.perPrincipal() && !caller.perPrincipal() {
				f.r.refuse(f.at(fmt.Sprintf("provides[%d].from[%d]", i, j), p.fromPos(j)), fmt.Sprintf("write services.%s.instances: per-principal", from),
					"%q has an instance for each principal, and %q runs for nobody", s.Name, from)
			}
		}
	}
}

func (r *reader) checkRoutes(top value, a *App) {
	if a.Gateway == nil {
		return
	}
	for i, route := range a.Gateway.Routes {
		at := fmt.Sprintf("gateway.routes[%d]", i)
		switch s := a.Service(route.Nobody); {
		case s == nil:
		case a.Gateway.Authenticate == nil:
			r.refuse(r.at(top, at+".nobody", route.Pos), "write gateway.authenticate: service.method", "nobody is told apart")
		case s.perPrincipal():
			r.refuse(r.at(top, at+".nobody", route.Pos), "name a service that has its instances shared", "%q has an instance for each principal", s.Name)
		}
		if a.Gateway.Authenticate != nil {
			continue
		}
		if s := a.Service(route.To); s != nil && s.perPrincipal() {
			r.refuse(r.at(top, at+".to", route.Pos), "write gateway.authenticate: service.method",
				"%q has an instance for each principal, and nobody is told apart", s.Name)
		}
	}
}

// because is a refusal in the words of a manifest: what could be done about it while
// it runs is left out.
func because(err error) string {
	var no *guard.Refusal
	if !errors.As(err, &no) {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s cannot flow to %s", no.Rule, no.From, no.To)
}

// higher is what flows from both, or l if that is over the bounds.
func higher(l, m label.Label) label.Label {
	if j, err := l.Join(m); err == nil {
		return j
	}
	return l
}
