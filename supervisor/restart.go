package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// Rolling replaces instances one after the other. The next one starts beside the one that it
// replaces; once it is ready that one is asked nothing more, finishes what it is at and
// is stopped. If it does not become ready the old one stays as it was. Two cannot run at a
// time if they would share what they write to, or if the budget has no room for both: then
// the old one is stopped first, and callers wait meanwhile, as at any replacement.

// order is what the operator wants of a unit.
type order struct {
	spec   *manifest.Service // what is to run from now on; nil for nothing
	within time.Duration     // until it must be ready
	say    func(string)
	done   chan error // takes one
	last   bool       // with nothing to run, ever
	before *manifest.Service
}

func newOrder(spec *manifest.Service, within time.Duration, say func(string)) *order {
	return &order{spec: spec, within: within, say: say, done: make(chan error, 1)}
}

// obeys gives an order, and returns once it has been carried out or could not be.
func (u *unit) obeys(ctx context.Context, o *order) error {
	st := u.status()
	late := time.NewTimer(o.within + time.Minute) // it could be at another order
	defer late.Stop()
	select {
	case u.orders <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late.C:
		return fmt.Errorf("%s takes no orders: it is %s", st.Service, st.State)
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is the life of the service, until ctx ends.
func (u *unit) run(ctx context.Context) {
	for {
		u.keep(ctx)
		if !u.rest(ctx) {
			return
		}
	}
}

// rest waits for the order to start again, while nothing runs. It reports false if there
// will be none.
func (u *unit) rest(ctx context.Context) bool {
	for ctx.Err() == nil {
		if o := u.halt; o != nil {
			u.halt = nil
			u.set(Stopped, "")
			u.s.monitor.SetState(u.spec.Name, monitor.Stopped)
			o.done <- nil
			if o.last {
				return false
			}
		}
		select {
		case o := <-u.orders:
			if u.take(o); !u.halted() {
				return true
			}
		case <-ctx.Done():
			u.set(Stopped, "")
		}
	}
	return false
}

// take makes an order the one that the next instance fulfils, while none runs.
func (u *unit) take(o *order) {
	if o.spec == nil {
		u.halt = o
		return
	}
	u.pending, o.before = o, u.spec
	u.become(o.spec)
}

// become is what is to run from now on.
func (u *unit) become(spec *manifest.Service) {
	u.s.admission.swap(u.spec, spec)
	u.mu.Lock()
	u.spec = spec
	u.dropSpare()
	u.mu.Unlock()
}

// halted tells whether there is to be no next instance until an order starts one.
func (u *unit) halted() bool { return u.halt != nil }

// turns tells whether the next instance is to start at once, now that one has ended: for an
// order, or because that could not be carried out.
func (u *unit) turns(detail string) bool {
	if u.turning {
		u.turning = false
		return true
	}
	o := u.pending
	if o == nil {
		return false
	}
	u.pending = nil
	back := o.before != nil && o.before != o.spec
	if back {
		u.become(o.before)
		detail += "; it runs as it was before"
	}
	o.done <- errors.New(detail)
	return back
}

// fulfil tells who gave an order that it has been carried out, by this instance.
func (u *unit) fulfil(in *instance) {
	if o := u.pending; o != nil {
		u.pending = nil
		o.say(in.name + " is ready")
		o.done <- nil
	}
}

// attend waits for the end of the instance, or of one that takes its place meanwhile, which it
// returns. When ctx ends it is stopped.
func (u *unit) attend(ctx context.Context, in *instance) *instance {
	for {
		select {
		case <-in.proc.Done():
			return in
		case <-ctx.Done():
			in.stop(u.spec.StopGracePeriod)
			return in
		case o := <-u.orders:
			if o.spec == nil {
				o.say(in.name + " ends")
				in.leave(ctx, u.spec.StopGracePeriod)
				u.halt = o
				return in
			}
			why := u.alone(o.spec)
			if why == "" && !u.s.admission.take(o.spec) {
				why = "the budget has no room for two"
			}
			if why != "" {
				o.say(fmt.Sprintf("%s ends first: %s", in.name, why))
				in.leave(ctx, u.spec.StopGracePeriod)
				u.take(o)
				u.turning = true
				return in
			}
			next, err := u.roll(ctx, o, in)
			if err != nil {
				u.s.admission.release(o.spec)
				o.done <- err
				continue
			}
			in = next
		}
	}
}

// alone is why no two instances of a service run at a time, "" if they can.
func (u *unit) alone(next *manifest.Service) string {
	for _, spec := range []*manifest.Service{u.spec, next} {
		for _, v := range spec.Volumes {
			if !v.ReadOnly {
				return fmt.Sprintf("two would share the volume %q", v.Name)
			}
		}
	}
	return ""
}

// roll starts an instance beside old and, once it is ready, lets it take its place. The room
// for two has been taken.
func (u *unit) roll(ctx context.Context, o *order, old *instance) (*instance, error) {
	within, cancel := context.WithTimeout(ctx, o.within)
	defer cancel()
	next, err := u.s.start(within, o.spec, launch{number: u.starts.Add(1)})
	if err != nil {
		return nil, fmt.Errorf("%w; %s stays", err, old.name)
	}
	o.say(next.name + " starts")
	err = next.awaitReady(within, o.within)
	if err == nil {
		select {
		case <-next.well:
		case <-next.proc.Done():
			err = errors.New(Ending(next.proc.Exit()))
		case <-within.Done():
			err = fmt.Errorf("not healthy after %v", o.within)
		}
	} else if errors.Is(err, executor.ErrStopped) {
		err = fmt.Errorf("it ended before it was ready: %s", Ending(next.proc.Exit()))
	} else if within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not ready after %v", o.within)
	}
	if err != nil {
		next.proc.Kill(executor.CausePolicy, err.Error())
		next.end()
		return nil, fmt.Errorf("%s: %w; %s stays", next.name, err, old.name)
	}
	before := u.spec
	u.mu.Lock()
	u.spec, u.current = o.spec, next
	u.dropSpare()
	u.mu.Unlock()
	u.s.admission.swapStandby(before, o.spec)
	u.stand()
	o.say(fmt.Sprintf("%s is ready, %s ends", next.name, old.name))
	u.s.loops.Go(func() {
		old.leave(ctx, before.StopGracePeriod)
		old.end()
		u.s.admission.release(before)
		o.done <- nil
	})
	return next, nil
}

// leave lets the instance finish what it is at, within the grace that it has, and stops it.
func (in *instance) leave(ctx context.Context, grace time.Duration) {
	in.env.Retire()
	for end := time.Now().Add(grace); in.env.Busy() && time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-in.proc.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	in.stop(grace)
}

// Restart replaces the instances of services one after the other, each after those that it
// depends on; of all if none is named. Say is told how it goes. It stops at the first that
// does not become ready within the time, or 0 for the usual one: that one, and those after it,
// are as they were.
func (s *Supervisor) Restart(ctx context.Context, names []string, within time.Duration, by int, say func(string)) error {
	return s.order(ctx, "restart", names, within, by, say)
}

// Halt stops services, and lets nobody start them but [Supervisor.Resume] and Restart.
func (s *Supervisor) Halt(ctx context.Context, names []string, by int, say func(string)) error {
	return s.order(ctx, "stop", names, 0, by, say)
}

// Resume starts services that were stopped, or are started no more.
func (s *Supervisor) Resume(ctx context.Context, names []string, within time.Duration, by int, say func(string)) error {
	return s.order(ctx, "start", names, within, by, say)
}

func (s *Supervisor) order(ctx context.Context, op string, names []string, within time.Duration, by int, say func(string)) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx, cancel := s.whileItRuns(ctx)
	defer cancel()
	if within <= 0 {
		within = readyTimeout
	}
	l := s.now()
	for _, name := range names {
		if !slices.ContainsFunc(l.services(), func(svc *manifest.Service) bool { return svc.Name == name }) {
			return fmt.Errorf("no service %q runs here", name)
		}
	}
	inOrder := l.inOrder()
	if op == "stop" {
		slices.Reverse(inOrder)
	}
	for _, svc := range inOrder {
		if len(names) > 0 && !slices.Contains(names, svc.Name) {
			continue
		}
		if err := s.record(audit.Record{Kind: audit.KindApp, Subject: svc.Name, Op: op, Object: svc.Name, Detail: fmt.Sprintf("by user %d", by)}); err != nil {
			return err
		}
		var err error
		switch u, p := l.units[svc.Name], l.pools[svc.Name]; {
		case u != nil && op == "stop":
			err = u.obeys(ctx, newOrder(nil, within, say))
		case u != nil && op == "start" && u.runs():
			say(svc.Name + " runs already")
		case u != nil:
			err = u.obeys(ctx, newOrder(svc, within, say))
		case p != nil:
			err = p.renew(ctx, svc, op == "stop", say)
		default:
			say(svc.Name + " is started anew each time")
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", op, svc.Name, err)
		}
	}
	return nil
}

// runs tells whether there is an instance, or soon will be.
func (u *unit) runs() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state != Stopped && u.state != Exited && u.state != Broken
}

// inOrder are the services, each after those that it depends on.
func (l *lineup) inOrder() (all []*manifest.Service) {
	byName := make(map[string]*manifest.Service)
	for _, svc := range l.services() {
		byName[svc.Name] = svc
	}
	seen := make(map[string]bool)
	var visit func(svc *manifest.Service)
	visit = func(svc *manifest.Service) {
		if svc == nil || seen[svc.Name] {
			return
		}
		seen[svc.Name] = true
		for _, dep := range svc.DependsOn {
			visit(byName[dep])
		}
		all = append(all, svc)
	}
	for _, svc := range l.services() {
		visit(svc)
	}
	return all
}

// renew lets the instances of the pool end one after the other; who needs one next gets one
// of spec. Those that are used may finish what they are at. If stop says so nobody gets one
// any more.
func (p *pool) renew(ctx context.Context, spec *manifest.Service, stop bool, say func(string)) error {
	p.mu.Lock()
	p.spec, p.halted = spec, stop
	clear(p.troubles)
	for _, sp := range p.spares {
		sp.end()
	}
	p.ailing = ailing{}
	members := make([]*member, 0, len(p.members))
	for _, m := range p.members {
		members = append(members, m)
	}
	p.notify()
	p.mu.Unlock()
	for _, m := range members {
		if err := p.retire(ctx, m, say); err != nil {
			return err
		}
	}
	return nil
}

// retire ends one instance of the pool, once nobody uses it or its grace is over.
func (p *pool) retire(ctx context.Context, m *member, say func(string)) error {
	p.mu.Lock()
	if p.members[m.key] != m {
		p.mu.Unlock()
		return nil
	}
	m.leaving = true
	name := m.spec.Name
	if m.in != nil {
		name = m.in.name
	}
	end := time.Now().Add(m.spec.StopGracePeriod)
	p.mu.Unlock()
	say(name + " ends")
	for {
		p.mu.Lock()
		if m.uses == 0 || !time.Now().Before(end) {
			m.end()
		}
		gone, changed := p.members[m.key] != m, p.changed
		p.mu.Unlock()
		if gone {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Signal sends a signal to the program of each instance of a service, and returns to how many.
func (s *Supervisor) Signal(name string, sig syscall.Signal, by int) (int, error) {
	var to []*instance
	s.mu.Lock()
	for _, in := range s.runs {
		if in.svc.Name == name && !in.spare.Load() || in.name == name {
			to = append(to, in)
		}
	}
	s.mu.Unlock()
	if len(to) == 0 {
		return 0, fmt.Errorf("no instance of %q is running", name)
	}
	for _, in := range to {
		if err := s.record(audit.Record{
			Kind: audit.KindApp, Subject: in.svc.Name, Instance: in.name, Op: "kill", Object: sig.String(), Detail: fmt.Sprintf("by user %d", by),
		}); err != nil {
			return 0, err
		}
		if err := in.proc.Signal(sig); err != nil && !errors.Is(err, executor.ErrStopped) {
			return 0, err
		}
	}
	return len(to), nil
}
