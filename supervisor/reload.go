package supervisor

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
)

// Written is a manifest as it was read by somebody who may see the files that it names: the
// trusted process need not be able to.
type Written struct {
	File   string            `json:"file"` // as it is called in messages
	Dir    string            `json:"dir"`
	Name   string            `json:"name"` // of the application
	Data   []byte            `json:"-"`
	Paths  map[string]string `json:"paths,omitempty"`  // see [manifest.App.Paths]
	Prints map[string]string `json:"prints,omitempty"` // see [manifest.App.Prints]
}

// MaxWritten bounds its data, in bytes.
const MaxWritten = manifest.MaxBytes

// Plan is what a change of the manifest takes.
type Plan struct {
	manifest.Diff
	Notes []string `json:"notes,omitempty"`
}

// reload is a change of the manifest, worked out.
type reload struct {
	plan   *Plan
	before *lineup
	next   *lineup
	prints map[string]string
	added  []*manifest.Service // that are kept running
	begun  []*unit             // of them, those that run already
	done   []*manifest.Service // that were replaced, as they were
	within time.Duration
	say    func(string)
}

// Plan says what it would take for w to be the manifest.
func (s *Supervisor) Plan(w Written) (*Plan, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.plan(w)
	if err != nil {
		return nil, err
	}
	return r.plan, nil
}

func (s *Supervisor) plan(w Written) (*reload, error) {
	app, err := manifest.Reparse(w.File, w.Data, w.Dir, w.Paths)
	if err != nil {
		return nil, err
	}
	app.Name = w.Name
	before := s.now()
	r := &reload{before: before, prints: w.Prints, plan: &Plan{Diff: *app.Differs(before.written, w.Prints, before.prints)}}
	next := *before
	next.written, next.app, next.prints = app, app, w.Prints
	next.units, next.pools = maps.Clone(before.units), maps.Clone(before.pools)
	r.next = &next
	if err := s.planDoors(r); err != nil {
		return nil, err
	}
	for _, name := range r.plan.Added {
		svc := app.Service(name)
		switch {
		case pooled(svc):
			next.pools[name] = newPool(s, svc)
		case !onDemand(svc):
			next.units[name] = newUnit(s, svc)
			r.added = append(r.added, svc)
		}
	}
	for _, name := range r.plan.Removed {
		delete(next.units, name)
		delete(next.pools, name)
	}
	for i, c := range r.plan.Replaced {
		old, svc := before.app.Service(c.Name), app.Service(c.Name)
		switch {
		case svc == nil:
		case pooled(old) != pooled(svc) || onDemand(old) != onDemand(svc):
			r.plan.Fixed = append(r.plan.Fixed, manifest.Changed{Name: "services." + c.Name + ".instances", Why: "it is started in another way then"})
		case !onDemand(svc):
			if why := (&unit{spec: old}).alone(svc); why != "" {
				r.plan.Replaced[i].Why = "the old instance ends first: " + why
			}
		case !pooled(svc):
			r.plan.Replaced[i].Why = "from the next that is started on"
		}
	}
	if len(s.grants.given)+len(s.grants.revoked) > 0 {
		r.plan.Notes = append(r.plan.Notes, "what was granted and revoked while it runs ends: cofferdam grants")
	}
	if why := s.tooMuch(&next); why != "" {
		r.plan.Fixed = append(r.plan.Fixed, manifest.Changed{Name: "budget", Why: why})
	}
	if err := s.checkLabelsOf(app); err != nil {
		return nil, err
	}
	if _, err := s.policy(&next); err != nil {
		return nil, err
	}
	return r, nil
}

// planDoors gives the next lineup its doors: those that it needs besides, and others where
// they are told something else.
func (s *Supervisor) planDoors(r *reload) error {
	added, err := s.doorsFor(r.next)
	if err != nil {
		return err
	}
	for _, u := range added {
		r.added = append(r.added, u.spec)
	}
	if s.Doors == nil {
		return nil
	}
	gateway, egress, resolvers, err := s.Doors(r.next.app)
	if err != nil {
		return err
	}
	again := func(name string, had, has bool, old, door *Door, needs bool) {
		if !had || !has || !needs || reflect.DeepEqual(*old, *door) {
			return
		}
		*old = *door
		if !slices.ContainsFunc(r.plan.Replaced, func(c manifest.Changed) bool { return c.Name == name }) {
			r.plan.Replaced = append(r.plan.Replaced, manifest.Changed{Name: name, Keys: []string{"what it is told of the services"}})
		}
	}
	again(gatewayName, r.before.hasGateway, r.next.hasGateway, &r.next.gateway, &gateway, NeedsDoor(r.next.app))
	again(egressName, r.before.hasEgress, r.next.hasEgress, &r.next.egress, &egress, NeedsEgress(r.next.app))
	if NeedsEgress(r.next.app) {
		r.next.resolvers = resolvers
	}
	return nil
}

// tooMuch is why the budget that was reserved is not enough for a lineup, "" if it is.
func (s *Supervisor) tooMuch(l *lineup) string {
	var always, largest cost
	for _, svc := range l.services() {
		if onDemand(svc) {
			largest = largest.max(costOf(svc))
		} else {
			always = always.plus(alwaysOf(svc))
		}
	}
	if !s.Budget.holds(always.plus(largest)) {
		return "what the services need together is more than was reserved of the host at the start"
	}
	return ""
}

// Reload makes w the manifest of the running application. What it grants is in force at once;
// services that are another are replaced one after the other, new ones started, and those
// that are gone stopped; the others are not touched. If a new instance does not become ready all is
// as it was before. Say is told how it goes.
func (s *Supervisor) Reload(ctx context.Context, w Written, within time.Duration, by int, say func(string)) (*Plan, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx, cancel := s.whileItRuns(ctx)
	defer cancel()
	r, err := s.plan(w)
	if err != nil {
		return nil, err
	}
	r.say, r.within = say, within
	if within <= 0 {
		r.within = readyTimeout
	}
	if len(r.plan.Fixed) > 0 {
		var all []string
		for _, c := range r.plan.Fixed {
			all = append(all, c.Name)
		}
		return r.plan, fmt.Errorf("%s cannot change while it runs, and so nothing has changed; cofferdam down, then up", strings.Join(all, ", ")) // why, says the plan
	}
	if r.plan.Empty() {
		return r.plan, nil
	}
	if err := s.record(audit.Record{Kind: audit.KindApp, Op: "reload", Object: w.Name, Detail: fmt.Sprintf("manifest %s, by user %d", w.File, by)}); err != nil {
		return r.plan, err
	}
	c, err := s.enforce(ctx, r.next)
	if err == nil {
		r.plan.Notes = append(r.plan.Notes, c.Notes...)
		err = s.replace(ctx, r)
	} else {
		r.next = r.before
	}
	if err != nil {
		s.record(audit.Record{Kind: audit.KindApp, Op: "reload", Object: w.Name, Verdict: audit.Deny, Rule: err.Error()})
		if back := s.undo(ctx, r); back != nil {
			return r.plan, fmt.Errorf("%w; to be as it was before failed as well: %w", err, back)
		}
		return r.plan, fmt.Errorf("%w; everything is as it was before", err)
	}
	s.grants.end()
	s.grants = grants{last: s.grants.last}
	for _, name := range r.plan.Removed {
		s.remove(ctx, r, name)
	}
	return r.plan, nil
}

// replace has what runs be that of the next lineup, but for what is gone.
func (s *Supervisor) replace(ctx context.Context, r *reload) error {
	replaced := make(map[string]bool)
	for _, c := range r.plan.Replaced {
		replaced[c.Name] = true
	}
	for _, svc := range r.next.inOrder() {
		u, p := r.next.units[svc.Name], r.next.pools[svc.Name]
		switch {
		case slices.ContainsFunc(r.added, func(a *manifest.Service) bool { return a.Name == svc.Name }):
			r.say(svc.Name + " starts")
			s.run(u)
			r.begun = append(r.begun, u)
			select {
			case <-u.ready:
			case <-u.failed:
				return fmt.Errorf("%s: %s", svc.Name, u.status().Detail)
			case <-time.After(r.within):
				return fmt.Errorf("%s: not ready after %v", svc.Name, r.within)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case !replaced[svc.Name]:
			if p != nil && r.before.pools[svc.Name] == nil {
				s.runPool(p)
			}
		case u != nil:
			u.mu.Lock()
			old := u.spec
			u.mu.Unlock()
			if err := u.obeys(ctx, newOrder(svc, r.within, r.say)); err != nil {
				return fmt.Errorf("%s: %w", svc.Name, err)
			}
			r.done = append(r.done, old)
		case p != nil:
			p.mu.Lock()
			old := p.spec
			p.mu.Unlock()
			r.done = append(r.done, old)
			if err := p.renew(ctx, svc, false, r.say); err != nil {
				return fmt.Errorf("%s: %w", svc.Name, err)
			}
		default:
			s.endOthers(svc, r.before.app.Service(svc.Name))
		}
	}
	return nil
}

// endOthers ends instances on demand that have other labels than those that start now.
func (s *Supervisor) endOthers(svc, old *manifest.Service) {
	if old == nil || svc.Label.String() == old.Label.String() && svc.Clearance.String() == old.Clearance.String() && svc.Owns.String() == old.Owns.String() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.runs {
		if in.svc.Name == svc.Name {
			go in.proc.Kill(executor.CausePolicy, "its labels are others by now")
		}
	}
}

// undo has what runs be that of the lineup before.
func (s *Supervisor) undo(ctx context.Context, r *reload) error {
	if _, err := s.enforce(ctx, r.before); err != nil {
		return err
	}
	for _, svc := range slices.Backward(r.done) {
		var err error
		if u := r.before.units[svc.Name]; u != nil {
			err = u.obeys(ctx, newOrder(svc, r.within, r.say))
		} else if p := r.before.pools[svc.Name]; p != nil {
			err = p.renew(ctx, svc, false, r.say)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", svc.Name, err)
		}
	}
	for _, u := range r.begun {
		s.leave(ctx, u, r)
	}
	return nil
}

// remove stops what is not in the manifest any more.
func (s *Supervisor) remove(ctx context.Context, r *reload, name string) {
	if u := r.before.units[name]; u != nil {
		s.leave(ctx, u, r)
	}
	if p := r.before.pools[name]; p != nil {
		p.renew(ctx, p.spec, true, r.say)
		p.mu.Lock()
		p.dissolve()
		p.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.runs {
		if in.svc.Name == name {
			go in.proc.Kill(executor.CausePolicy, "it is not in the manifest any more")
		}
	}
}

// leave ends a unit for good.
func (s *Supervisor) leave(ctx context.Context, u *unit, r *reload) {
	o := newOrder(nil, r.within, r.say)
	o.last = true
	if err := u.obeys(ctx, o); err != nil {
		s.Logger.Error("a service that is not in the manifest any more goes on", "service", u.spec.Name, "error", err)
		return
	}
	s.admission.drop(u.spec)
}
