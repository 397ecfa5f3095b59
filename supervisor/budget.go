package supervisor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"cofferdam/audit"
	"cofferdam/label"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/wire"
)

// Budget is what an application may use in all: the sum of the limits of what runs of
// it. A field is [manifest.Unlimited] if that was written, and never zero.
type Budget struct {
	MemoryBytes int64
	Pids        int
	Instances   int
}

// defaultInstances is how many may run at a time if nothing is written.
const defaultInstances = 256

// BudgetOf is the budget of app on a host with so much memory and so many process
// numbers: what is not written is an eighth of the host, or what the services that
// start together and one of each that is started on demand need, if that is more. The
// error is that they need more than what is written.
func BudgetOf(app *manifest.App, host Budget) (Budget, error) {
	var always, largest, each cost
	var names []string
	for _, svc := range servicesOf(app) {
		c := costOf(svc)
		if onDemand(svc) {
			largest, each = largest.max(c), each.plus(c)
			if !prepares(svc) {
				each = each.plus(c.times(svc.Warm))
			}
			if svc.Ahead != nil {
				each = each.plus(c.times(svc.Ahead.Spares))
			}
			continue
		}
		c = alwaysOf(svc)
		always = always.plus(c)
		names = append(names, fmt.Sprintf("%s %s", svc.Name, manifest.FormatSize(c.memory)))
	}
	need, enough := always.plus(largest), always.plus(each)
	b := Budget{MemoryBytes: app.Budget.Memory, Pids: app.Budget.Pids, Instances: app.Budget.Instances}
	refuse := func(key, have, all, together, one string) error {
		return &manifest.Error{
			File: app.File, Line: app.Budget.Pos.Line, Column: app.Budget.Pos.Column, Key: "budget." + key,
			Message: fmt.Sprintf("%s can never be enough: services that start together need %s (memory: %s), the largest that is started on demand %s", have, together, strings.Join(names, ", "), one),
			Hint:    "write at least " + all + ", or lower their limits",
		}
	}
	switch {
	case b.MemoryBytes == 0:
		b.MemoryBytes = max(host.MemoryBytes/8, enough.memory, 1<<20)
	case b.MemoryBytes > 0 && b.MemoryBytes < need.memory:
		return b, refuse("memory", manifest.FormatSize(b.MemoryBytes), manifest.FormatSize(need.memory), manifest.FormatSize(always.memory), manifest.FormatSize(largest.memory))
	}
	switch {
	case b.Pids == 0:
		b.Pids = max(host.Pids/8, enough.pids, 1)
	case b.Pids > 0 && b.Pids < need.pids:
		return b, refuse("pids", fmt.Sprint(b.Pids), fmt.Sprint(need.pids), fmt.Sprint(always.pids), fmt.Sprint(largest.pids))
	}
	switch {
	case b.Instances == 0:
		b.Instances = max(defaultInstances, enough.instances)
	case b.Instances > 0 && b.Instances < need.instances:
		return b, refuse("instances", fmt.Sprint(b.Instances), fmt.Sprint(need.instances), fmt.Sprint(always.instances), fmt.Sprint(largest.instances))
	}
	return b, nil
}

// onDemand tells whether a service is started when somebody asks for it.
func onDemand(svc *manifest.Service) bool {
	return svc.Template || svc.Stdio != "" || pooled(svc)
}

// pooled tells whether it then goes on, for whoever comes later with the same right
// to it.
func pooled(svc *manifest.Service) bool {
	return !svc.Template && svc.Stdio == "" && (svc.Instances == "per-label" || svc.Instances == "per-principal")
}

// cost is what running instances may use by their limits. One without a limit costs
// nothing here: it has a share of what the kernel holds the application to.
type cost struct {
	memory          int64
	pids, instances int
}

func costOf(svc *manifest.Service) cost {
	return cost{max(svc.Limits.Memory, 0), max(svc.Limits.Pids, 0), 1}
}

// alwaysOf is what a service that starts with the others has for good: its standby, too.
func alwaysOf(svc *manifest.Service) cost { return costOf(svc).times(1 + svc.Warm) }

func (c cost) times(n int) cost {
	return cost{c.memory * int64(n), c.pids * n, c.instances * n}
}

func (c cost) plus(d cost) cost {
	return cost{c.memory + d.memory, c.pids + d.pids, c.instances + d.instances}
}

func (c cost) minus(d cost) cost {
	return cost{c.memory - d.memory, c.pids - d.pids, c.instances - d.instances}
}

func (c cost) max(d cost) cost {
	return cost{max(c.memory, d.memory), max(c.pids, d.pids), max(c.instances, d.instances)}
}

// Bounds of how many wait for others to end, in a queue.
const (
	maxQueued     = 512
	maxQueuedEach = 128 // for one principal, or one service that asks for nobody
)

// admission lets instances begin as long as the budget has room for them. Services
// that start together have their part for good, so that a replacement never waits.
// Whoever is started on demand waits for his turn, which is given out fairly (see fair): a small
// one does not overtake a large one whose turn it is, which would never come to begin.
type admission struct {
	budget   Budget
	starving func() // is called when somebody has to wait, and as long as that is so with each end
	turns    turns
	busy     seldom

	mu    sync.Mutex
	used  cost  // guarded by mu
	queue *fair // guarded by mu
}

func newAdmission(b Budget) *admission {
	return &admission{budget: b, queue: newFair(maxQueued, maxQueuedEach)}
}

// queued is somebody who waits.
type queued struct {
	waiter
	service, principal string
	cost               cost
	begin              chan struct{} // closed once it may
	away               chan struct{} // closed if it is turned away after all
}

// parts is the share of the budget that something costs, in thousandths, of what it costs most of.
func (b Budget) parts(c cost) int64 {
	part := func(n, of int64) int64 {
		if of <= 0 {
			return 0
		}
		return n * 1000 / of
	}
	return max(part(c.memory, b.MemoryBytes), part(int64(c.pids), int64(b.Pids)), part(int64(c.instances), int64(b.Instances)), 1)
}

func (b Budget) holds(c cost) bool {
	return (b.MemoryBytes < 0 || c.memory <= b.MemoryBytes) && (b.Pids < 0 || c.pids <= b.Pids) && (b.Instances < 0 || c.instances <= b.Instances)
}

// whose is whom an instance counts for that somebody has asked for, in ctx, or that is
// for a principal.
func whose(ctx context.Context, svc *manifest.Service, principal string) (who, within string) {
	if who, within = monitor.TurnOf(ctx).Who(); who != "" {
		return who, within
	}
	if principal != "" {
		return "principal " + principal, svc.Name
	}
	return "service " + svc.Name, ""
}

// acquire waits until there is room for an instance of svc, which is to be at a label, and takes it. The
// error is [wire.ErrBusy] if too many wait, or that of ctx.
func (a *admission) acquire(ctx context.Context, svc *manifest.Service, principal string, at label.Label) error {
	q := &queued{service: svc.Name, principal: principal, cost: costOf(svc), begin: make(chan struct{}), away: make(chan struct{})}
	q.waiter = waiter{cost: a.budget.parts(q.cost), at: at, pushed: func() { close(q.away) }, of: q}
	who, within := whose(ctx, svc, principal)
	a.mu.Lock()
	if !a.queue.push(&q.waiter, who, within) {
		a.mu.Unlock()
		return wire.ErrBusy
	}
	a.admit()
	a.complain()
	a.mu.Unlock()
	turn := monitor.TurnOf(ctx)
	turn.Waits(func(at label.Label) (n, of int) { return a.place(q, at) })
	defer turn.Waits(nil)
	select {
	case <-q.begin:
		return nil
	case <-q.away:
		return wire.ErrBusy
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-q.begin: // its turn came in the same moment
		a.used = a.used.minus(q.cost)
	default:
		a.queue.remove(&q.waiter)
	}
	a.admit() // those behind it may fit
	return ctx.Err()
}

// place is where q stands.
func (a *admission) place(q *queued, at label.Label) (n, of int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.place(&q.waiter, at)
}

// add reserves the part of a service that is kept running from now on.
func (a *admission) add(svc *manifest.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = a.used.plus(alwaysOf(svc))
}

// drop gives back the part of one that is kept running no more.
func (a *admission) drop(svc *manifest.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = a.used.minus(alwaysOf(svc))
	a.admit()
}

// take is acquire for who does not wait: it has what is left, if nobody does.
func (a *admission) take(svc *manifest.Service) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.used.plus(costOf(svc))
	if a.queue.count() > 0 || !a.budget.holds(next) {
		return false
	}
	a.used = next
	return true
}

// takeBeside is take for what waits to be somebody's: it leaves as much again for who wants it.
func (a *admission) takeBeside(svc *manifest.Service) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.used.plus(costOf(svc))
	if a.queue.count() > 0 || !a.budget.holds(next.plus(costOf(svc))) {
		return false
	}
	a.used = next
	return true
}

// swap gives back what a service that is kept running had, and takes what it has now.
func (a *admission) swap(before, now *manifest.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = a.used.minus(alwaysOf(before)).plus(alwaysOf(now))
	a.admit()
}

// swapStandby is swap for what stands by alone.
func (a *admission) swapStandby(before, now *manifest.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = a.used.minus(costOf(before).times(before.Warm)).plus(costOf(now).times(now.Warm))
	a.admit()
}

// release gives back what an instance of svc had.
func (a *admission) release(svc *manifest.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = a.used.minus(costOf(svc))
	a.admit()
	a.complain()
}

// complain tells that somebody waits. The caller holds mu.
func (a *admission) complain() {
	if a.queue.count() > 0 && a.starving != nil {
		go a.starving()
	}
}

// starved tells whether somebody waits.
func (a *admission) starved() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.count() > 0
}

// admit lets those begin whose turn it is, as long as there is room. The caller
// holds mu.
func (a *admission) admit() {
	for first := a.queue.first(); first != nil; first = a.queue.first() {
		q := first.of.(*queued)
		next := a.used.plus(q.cost)
		if !a.budget.holds(next) {
			return
		}
		a.used = next
		a.queue.serve(first)
		close(q.begin)
	}
}

// status shows who waits, in the order of their turns.
func (a *admission) status() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Status
	all := a.queue.all()
	for i, w := range all {
		q := w.of.(*queued)
		out = append(out, Status{
			Service: q.service, Principal: q.principal, State: Queued,
			Detail: fmt.Sprintf("number %d of %d in the queue for the budget", i+1, len(all)),
		})
	}
	return out
}

// admitted is acquire, and says in the log of decisions why somebody was turned away.
func (s *Supervisor) admitted(ctx context.Context, svc *manifest.Service, principal string, at label.Label) error {
	began := time.Now()
	err := s.admission.acquire(ctx, svc, principal, at)
	s.admission.turns.wait(began, err)
	switch {
	case err == wire.ErrBusy:
		s.admission.busy.say(func(more string) {
			s.record(audit.Record{
				Kind: audit.KindLimit, Subject: svc.Name, Op: "start", Object: "budget",
				Detail: fmt.Sprintf("too many wait already: at most %d, and %d for one%s", maxQueued, maxQueuedEach, more),
			})
		})
	case err != nil:
		s.record(audit.Record{Kind: audit.KindLimit, Subject: svc.Name, Principal: principal, Op: "start", Object: "budget", Detail: "its turn did not come in time"})
	}
	return err
}

// seldom is said once, and after that once a minute how often it would have been: so that nobody
// fills the log by being turned away.
type seldom struct {
	mu   sync.Mutex
	said bool
	more int
}

const sayEvery = time.Minute

// say calls how, now or later, with what to say of how often.
func (s *seldom) say(how func(more string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said {
		s.more++
		return
	}
	s.said = true
	how(fmt.Sprintf("; how often is said at most once in %v", sayEvery))
	time.AfterFunc(sayEvery, func() { s.sum(how) })
}

func (s *seldom) sum(how func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := s.more
	s.more, s.said = 0, more > 0
	if s.said {
		how(fmt.Sprintf("; %d more in the last %v", more, sayEvery))
		time.AfterFunc(sayEvery, func() { s.sum(how) })
	}
}
