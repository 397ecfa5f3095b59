package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cofferdam/audit"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// Live is a grant that is given while the application runs.
type Live = manifest.Live

// maxGrants bounds those that are given while the application runs.
const maxGrants = 256

// grants are what was granted and revoked since the manifest was read. They are of this
// run: the next one begins with what is written.
type grants struct {
	last    int // the last number
	given   []*given
	revoked []taken
}

// given is a grant that somebody has given.
type given struct {
	manifest.Live
	by    int // the user
	since time.Time
	until time.Time // zero for no end
	timer *time.Timer
}

// taken is a grant of the manifest that somebody has revoked.
type taken struct {
	manifest.Grant
	by    int
	since time.Time
}

// Grant is one grant, as `grants` shows it.
type Grant struct {
	Number  int        `json:"number,omitempty"` // of one that was given while the application runs
	Service string     `json:"service"`
	Kind    string     `json:"kind"`
	Object  string     `json:"object"`
	Rule    string     `json:"rule"` // where it stands
	Revoked bool       `json:"revoked,omitempty"`
	By      *int       `json:"by,omitempty"` // the user who gave it or took it back
	Since   *time.Time `json:"since,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Line    string     `json:"line,omitempty"` // what to write for it to stay
}

// Change is what became of a change of the grants.
type Change struct {
	Grant Grant       `json:"grant"`
	Cut   monitor.Cut `json:"cut"`
	Notes []string    `json:"notes,omitempty"`
}

// end stops the clocks.
func (g *grants) end() {
	for _, x := range g.given {
		if x.timer != nil {
			x.timer.Stop()
		}
	}
}

// lives are those that are given now.
func (g *grants) lives() []manifest.Live {
	all := make([]manifest.Live, len(g.given))
	for i, x := range g.given {
		all[i] = x.Live
	}
	return all
}

func (g *grants) revocations() []manifest.Grant {
	all := make([]manifest.Grant, len(g.revoked))
	for i, x := range g.revoked {
		all[i] = x.Grant
	}
	return all
}

// Give grants something while the application runs, on behalf of user by, for some time or,
// with 0, until it ends. It is in force when Give returns. It is an error if the manifest
// with that line would be one; then nothing has changed.
func (s *Supervisor) Give(ctx context.Context, l manifest.Live, within time.Duration, by int) (Change, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	g := s.grants // with copies of what changes
	app := s.now().app
	x := &given{Live: l, by: by, since: time.Now()}
	if within > 0 {
		x.until = x.since.Add(within)
	}
	if there, ok := app.Granted(l.Service, l.Kind, l.Object, l.Into); ok {
		if !app.Revoked(there) {
			return Change{}, s.refused("grant", l, by, fmt.Errorf("%s may %s %s already, by %s", l.Service, l.Kind, l.Object, there.Rule))
		}
		if within > 0 {
			return Change{}, s.refused("grant", l, by, fmt.Errorf("%s gives it and was revoked: grant it again without an end", there.Rule))
		}
		g.revoked = slices.DeleteFunc(slices.Clone(g.revoked), func(t taken) bool { return t.Same(there) })
	} else {
		if len(g.given) >= maxGrants {
			return Change{}, s.refused("grant", l, by, fmt.Errorf("%d are given already; write some of them in the manifest", maxGrants))
		}
		g.last++
		x.Number = g.last
		g.given = append(slices.Clone(g.given), x)
	}
	next, err := s.now().written.With(g.lives(), g.revocations())
	if err == nil && x.Number > 0 {
		err = next.Useless(fmt.Sprintf("grant %d", x.Number))
	}
	if err != nil {
		return Change{}, s.refused("grant", l, by, err)
	}
	there, _ := next.Granted(l.Service, l.Kind, l.Object, l.Into)
	detail := fmt.Sprintf("%s, by user %d", l.Kind, by)
	if within > 0 {
		detail += fmt.Sprintf(", for %v", within)
	}
	c, err := s.regrant(ctx, next, g, audit.Record{
		Kind: audit.KindGrant, Subject: l.Service, Op: "grant", Object: l.Object, Verdict: audit.Allow, Rule: there.Rule, Detail: detail,
	})
	if err != nil {
		return Change{}, s.refused("grant", l, by, err)
	}
	if x.Number > 0 && within > 0 {
		x.timer = time.AfterFunc(within, func() { s.expire(x) })
	}
	c.Grant = s.grantOf(there)
	return c, nil
}

// Revoke takes a grant back, whether it was given or stands in the manifest. When it
// returns, nothing goes on that was begun by it.
func (s *Supervisor) Revoke(ctx context.Context, l manifest.Live, by int) (Change, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	app, g := s.now().app, s.grants
	there, ok := app.Granted(l.Service, l.Kind, l.Object, l.Into)
	if !ok || app.Revoked(there) {
		return Change{}, s.refused("revoke", l, by, fmt.Errorf("%s was not granted %s %s", l.Service, l.Kind, l.Object))
	}
	before := s.grantOf(there)
	i := slices.IndexFunc(g.given, func(x *given) bool { return there.Rule == fmt.Sprintf("grant %d", x.Number) })
	if i >= 0 {
		g.given = slices.Delete(slices.Clone(g.given), i, i+1)
	} else {
		g.revoked = append(slices.Clone(g.revoked), taken{there, by, time.Now()})
	}
	next, err := s.now().written.With(g.lives(), g.revocations())
	if err != nil {
		return Change{}, s.refused("revoke", l, by, err)
	}
	old := s.grants.given
	c, err := s.regrant(ctx, next, g, audit.Record{
		Kind: audit.KindGrant, Subject: l.Service, Op: "revoke", Object: l.Object, Rule: there.Rule, Detail: fmt.Sprintf("%s, by user %d", l.Kind, by),
	})
	if err != nil {
		return Change{}, s.refused("revoke", l, by, err)
	}
	if i >= 0 && old[i].timer != nil {
		old[i].timer.Stop()
	}
	c.Grant = before
	if i < 0 {
		c.Grant = s.grantOf(there)
	}
	return c, nil
}

// expire ends a grant whose time is over.
func (s *Supervisor) expire(x *given) {
	s.changing.Lock()
	defer s.changing.Unlock()
	g := s.grants
	i := slices.Index(g.given, x)
	if i < 0 {
		return
	}
	g.given = slices.Delete(slices.Clone(g.given), i, i+1)
	next, err := s.now().written.With(g.lives(), g.revocations())
	if err == nil {
		_, err = s.regrant(context.Background(), next, g, audit.Record{
			Kind: audit.KindGrant, Subject: x.Service, Op: "revoke", Object: x.Object, Rule: fmt.Sprintf("grant %d", x.Number), Detail: x.Kind + ", its time is over",
		})
	}
	if errors.Is(err, errStopping) {
		return // and with the application all of them end
	}
	if err != nil {
		s.Logger.Error("a grant whose time is over could not be taken back", "service", x.Service, "kind", x.Kind, "object", x.Object, "error", err)
		x.timer = time.AfterFunc(time.Second, func() { s.expire(x) })
	}
}

// refused records that somebody was not given what he asked for.
func (s *Supervisor) refused(op string, l manifest.Live, by int, err error) error {
	s.record(audit.Record{
		Kind: audit.KindGrant, Subject: l.Service, Op: op, Object: l.Object, Verdict: audit.Deny, Rule: err.Error(), Detail: fmt.Sprintf("%s, by user %d", l.Kind, by),
	})
	return err
}

// regrant makes app what holds, because of g, once that is recorded. What is recorded and
// cannot be done is recorded as refused. The caller holds changing.
func (s *Supervisor) regrant(ctx context.Context, app *manifest.App, g grants, r audit.Record) (Change, error) {
	s.mu.Lock()
	ended := s.ctx != nil && s.ctx.Err() != nil
	s.mu.Unlock()
	if ended {
		return Change{}, errStopping
	}
	next := *s.now()
	next.app = app
	doors, err := s.doorsFor(&next)
	if err != nil {
		return Change{}, err
	}
	if err := s.record(r); err != nil {
		return Change{}, err
	}
	c, err := s.enforce(ctx, &next)
	if err != nil {
		return Change{}, err
	}
	s.grants = g
	for _, u := range doors {
		s.run(u)
	}
	return c, nil
}

// doorsFor gives the lineup the doors that it has come to need.
func (s *Supervisor) doorsFor(next *lineup) (added []*unit, err error) {
	gateway, egress := NeedsDoor(next.app) && !next.hasGateway, NeedsEgress(next.app) && !next.hasEgress
	if !gateway && !egress {
		return nil, nil
	}
	if s.Doors == nil {
		return nil, fmt.Errorf("it takes a door that was not started")
	}
	forGateway, forEgress, resolvers, err := s.Doors(next.app)
	if err != nil {
		return nil, err
	}
	units := make(map[string]*unit)
	for name, u := range next.units {
		units[name] = u
	}
	if gateway {
		next.gateway, next.hasGateway = forGateway, true
		units[gatewayName] = newUnit(s, gatewayService(forGateway))
		added = append(added, units[gatewayName])
	}
	if egress {
		next.egress, next.hasEgress, next.resolvers = forEgress, true, resolvers
		units[egressName] = newUnit(s, egressService(forEgress))
		added = append(added, units[egressName])
	}
	next.units = units
	return added, nil
}

// run keeps a unit running that has come to the lineup.
func (s *Supervisor) run(u *unit) {
	s.mu.Lock()
	ctx := s.ctx
	s.mu.Unlock()
	if ctx == nil {
		return // Run has yet to begin
	}
	s.admission.add(u.spec)
	s.loops.Go(func() { u.run(ctx) })
}

// enforce makes next the lineup, for the monitor and for what runs.
func (s *Supervisor) enforce(ctx context.Context, next *lineup) (c Change, err error) {
	policy, err := s.policy(next)
	if err != nil {
		return c, err
	}
	if c.Cut, err = s.monitor.Enforce(policy); err != nil {
		return c, err
	}
	s.lineup.Store(next)
	s.preparations.look()
	s.mu.Lock()
	running := make([]*instance, 0, len(s.runs))
	for _, in := range s.runs {
		running = append(running, in)
	}
	s.mu.Unlock()
	for _, in := range running {
		if err := in.reachAnew(ctx); err != nil {
			c.Notes = append(c.Notes, err.Error())
		}
		if _, any := mountPoints(next.app, in.svc.Name); any && !in.mountPoints {
			c.Notes = append(c.Notes, in.name+": shares can be mounted in its next instance: cofferdam restart "+in.svc.Name)
		}
	}
	slices.Sort(c.Notes)
	return c, nil
}

// Grants lists who may reach whom: by the manifest, those of them that were revoked, and what
// was given since.
func (s *Supervisor) Grants() []Grant {
	s.changing.Lock()
	defer s.changing.Unlock()
	var all []Grant
	for _, g := range s.now().app.Grants() {
		all = append(all, s.grantOf(g))
	}
	for _, t := range s.grants.revoked {
		all = append(all, s.grantOf(t.Grant))
	}
	slices.SortStableFunc(all, func(a, b Grant) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Object, b.Object))
	})
	return all
}

// Live is what was granted and revoked since the manifest was read, for those who explain.
func (s *Supervisor) Live() (given []Live, revoked []Grant) {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, t := range s.grants.revoked {
		revoked = append(revoked, s.grantOf(t.Grant))
	}
	return s.grants.lives(), revoked
}

// grantOf is a grant with what is known of who gave it or took it back. The caller holds changing.
func (s *Supervisor) grantOf(g manifest.Grant) Grant {
	out := Grant{Service: g.From, Kind: g.Kind, Object: g.Object(), Rule: g.Rule}
	for _, x := range s.grants.given {
		if g.Rule != fmt.Sprintf("grant %d", x.Number) {
			continue
		}
		out.Number, out.By, out.Since, out.Line = x.Number, &x.by, &x.since, x.Line()
		if !x.until.IsZero() {
			out.Until = &x.until
		}
	}
	for _, t := range s.grants.revoked {
		if t.Same(g) {
			out.Revoked, out.By, out.Since = true, &t.by, &t.since
		}
	}
	return out
}

// granted is what a service was granted since the manifest was read.
func (l *lineup) granted(service string) (all []string) {
	for _, g := range l.app.GrantsOf(service) {
		if strings.HasPrefix(g.Rule, "grant ") {
			all = append(all, g.Kind+" "+g.Object())
		}
	}
	return all
}
