package supervisor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"cofferdam/executor"
)

// Status is one service, or one running instance of a template, as `ps` shows it.
type Status struct {
	Service   string          `json:"service"`
	Instance  string          `json:"instance,omitempty"`
	State     State           `json:"state"`
	Health    Health          `json:"health,omitempty"`
	Detail    string          `json:"detail,omitempty"`
	Pid       int             `json:"pid,omitempty"`
	Restarts  int             `json:"restarts"`
	Principal string          `json:"principal,omitempty"`
	Degraded  []string        `json:"degraded,omitempty"`
	Egress    []string        `json:"egress,omitempty"`  // host:port of machines outside that it may reach
	Listens   []Listening     `json:"listens,omitempty"` // on the host: the gateway
	Granted   []string        `json:"granted,omitempty"` // what it was granted while it runs: "call bank.balance"
	Usage     executor.Usage  `json:"usage"`
	LastExit  *executor.Exit  `json:"last_exit,omitempty"`
	Limits    executor.Limits `json:"limits"`
}

// Status lists services by name, then the instances of those that have one for each
// principal or label, then running instances of templates, then what waits for instances, then
// those that wait for their turn.
func (s *Supervisor) Status() []Status {
	var out []Status
	services := make(map[string]bool)
	degraded := s.degraded()
	now := s.now() // one for all: it may change meanwhile
	for _, name := range slices.Sorted(maps.Keys(now.units)) {
		st := now.units[name].status()
		st.Degraded, st.Egress, st.Granted = degraded, waysOut(now.app, name), now.granted(name)
		if name == gatewayName {
			st.Listens = s.Gateway
		}
		out = append(out, st)
		if by, is := now.units[name].standbyStatus(); is {
			out = append(out, by)
		}
		services[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(now.pools)) {
		for _, st := range now.pools[name].status() {
			st.Degraded, st.Egress, st.Granted = degraded, waysOut(now.app, name), now.granted(name)
			out = append(out, st)
		}
		services[name] = true
	}
	s.mu.Lock()
	runs := make([]*instance, 0, len(s.runs))
	for _, in := range s.runs {
		if !services[in.svc.Name] {
			runs = append(runs, in)
		}
	}
	s.mu.Unlock()
	sort.Slice(runs, func(i, j int) bool { return runs[i].name < runs[j].name })
	for _, in := range runs {
		st := in.status()
		st.State, st.Degraded, st.Egress, st.Granted = Ready, degraded, waysOut(now.app, st.Service), now.granted(st.Service)
		out = append(out, st)
	}
	out = append(out, s.preparations.status()...)
	return append(out, s.admission.status()...)
}

// degraded names the protections that the host lacks and the manifest lets go.
func (s *Supervisor) degraded() []string {
	return executor.Lacking(s.Executor.Protections(), s.now().app.AllowDegraded)
}

func (u *unit) status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := Status{Service: u.spec.Name, Limits: limitsOf(u.spec.Limits)}
	if u.current != nil {
		st = u.current.status()
	}
	st.State, st.Restarts, st.LastExit = u.state, u.restarts, u.lastExit
	if u.detail != "" {
		st.Detail = u.detail
	}
	return st
}

// standbyStatus is that of its spare, if there is one.
func (u *unit) standbyStatus() (Status, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spare == nil {
		return Status{}, false
	}
	return u.spare.status(), true
}

// status is that of each instance, of keys whose next one has to wait, and of those
// who wait for a place. Who waits for the budget stands in its queue.
func (p *pool) status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Status
	for key, m := range p.members {
		st := Status{Service: p.spec.Name, Principal: key.Principal, Limits: limitsOf(p.spec.Limits)}
		switch {
		case m.in != nil:
			st = m.in.status()
		case m.state == Queued:
			continue
		}
		st.State = m.state
		if t := p.troubles[key]; t != nil {
			st.Restarts = t.times
		}
		out = append(out, st)
	}
	now := time.Now()
	for key, t := range p.troubles {
		state := Backoff
		switch {
		case p.members[key] != nil:
			continue
		case now.Before(t.broken):
			state = Broken
		case !now.Before(t.notBefore):
			continue
		}
		out = append(out, Status{
			Service: p.spec.Name, Principal: key.Principal, State: state, Detail: t.detail, Restarts: t.times, Limits: limitsOf(p.spec.Limits),
		})
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Instance, b.Instance))
	})
	for _, sp := range p.spares {
		out = append(out, sp.status())
	}
	return append(out, p.queued()...)
}

// Queued is who waits for a turn, in the order of each queue.
func (s *Supervisor) Queued() (out []Status) {
	now := s.now()
	for _, name := range slices.Sorted(maps.Keys(now.pools)) {
		p := now.pools[name]
		p.mu.Lock()
		out = append(out, p.queued()...)
		p.mu.Unlock()
	}
	return append(out, s.admission.status()...)
}

// queued are those who wait for a place. The caller holds mu.
func (p *pool) queued() (out []Status) {
	all := p.queue.all()
	for i, w := range all {
		out = append(out, Status{
			Service: p.spec.Name, Principal: w.of.(*seeker).key.Principal, State: Queued,
			Detail: fmt.Sprintf("number %d of %d in the queue for one of %d places", i+1, len(all), p.spec.MaxInstances),
		})
	}
	return out
}

func (in *instance) status() Status {
	principal := in.runsFor()
	in.mu.Lock()
	h := in.health
	in.mu.Unlock()
	return Status{
		Health:    h.state,
		Detail:    h.String(),
		Service:   in.svc.Name,
		Instance:  in.name,
		Pid:       in.proc.Pid(),
		Principal: principal,
		Usage:     in.proc.Usage(),
		Limits:    limitsOf(in.svc.Limits),
	}
}

// Uptime is how long the application has been up.
func (s *Supervisor) Uptime() time.Duration { return time.Since(s.started) }
