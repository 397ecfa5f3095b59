package supervisor

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"cofferdam/audit"
	"cofferdam/label"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/wire"
)

// pool keeps the instances of one service that are started when somebody asks for
// one: one for each key, and what was started for one key is never given to another.
//
// An instance that nobody uses ends after a while, or earlier if another one needs
// its place. Who needs a place waits for his turn, which is given out fairly (see fair); who asks
// for an instance that runs already does not.
type pool struct {
	s        *Supervisor
	mu       sync.Mutex
	spec     *manifest.Service // of the next instance
	halted   bool              // nobody gets one
	members  map[monitor.Key]*member
	idle     *list.List // of members, who has been so for longest first
	ending   int        // members that were asked to end
	spares   []*spare
	ailing   ailing // of spares
	troubles map[monitor.Key]*trouble
	seekers  map[monitor.Key]*seeker
	queue    *fair
	busy     seldom
	changed  chan struct{} // closed and renewed when a place or an instance may be had
	closed   bool
	dissolve context.CancelFunc // ends it for good
	lives    sync.WaitGroup
	turns    turns
}

// seeker is all who wait for a place for one key: they will be using the same.
type seeker struct {
	waiter
	key  monitor.Key
	here int  // who they are
	away bool // they are turned away
}

func newPool(s *Supervisor, svc *manifest.Service) *pool {
	return &pool{
		s: s, spec: svc,
		members:  make(map[monitor.Key]*member),
		idle:     list.New(),
		troubles: make(map[monitor.Key]*trouble),
		changed:  make(chan struct{}),
		seekers:  make(map[monitor.Key]*seeker),
		queue:    newFair(maxQueued, maxQueuedEach),
	}
}

// Instance waits until the instance of a service with that key serves, and starts
// it if there is none. It does not end, unless by itself, until release was called. See
// [cofferdam/monitor.Spawner].
func (s *Supervisor) Instance(ctx context.Context, service string, key monitor.Key) (release func(), err error) {
	p := s.now().pools[service]
	if p == nil {
		return nil, fmt.Errorf("no service %q with an instance for each who asks", service)
	}
	return p.use(ctx, key)
}

// End lets the instance of a service with that key end, if there is one. Who waits for it
// or comes next gets another one. See [cofferdam/monitor.Spawner].
func (s *Supervisor) End(service string, key monitor.Key) {
	p := s.now().pools[service]
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.members[key]; m != nil {
		m.end()
	}
}

// use is Instance. An instance that does not come to serve is replaced like any other that
// ended, as long as ctx lasts.
func (p *pool) use(ctx context.Context, key monitor.Key) (release func(), err error) {
	for {
		m, err := p.find(ctx, key)
		if err != nil {
			return nil, err
		}
		turn := monitor.TurnOf(ctx)
		turn.Waits(m.turn.Place) // where its instance stands in the queue for the budget
		select {
		case <-m.settled:
			turn.Waits(nil)
		case <-ctx.Done():
			turn.Waits(nil)
			p.release(m)
			return nil, ctx.Err()
		}
		if m.err == nil {
			return sync.OnceFunc(func() { p.release(m) }), nil
		}
		p.release(m)
		if m.err == wire.ErrBusy {
			return nil, m.err
		}
	}
}

// find returns the member with that key, one more of whose uses is the caller's, as
// soon as it may be there.
func (p *pool) find(ctx context.Context, key monitor.Key) (*member, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	me := p.seek(key)
	defer p.leave(me)
	turn := monitor.TurnOf(ctx)
	turn.Waits(func(at label.Label) (n, of int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.queue.place(&me.waiter, at)
	})
	defer turn.Waits(nil)
	var began time.Time
	for {
		m, wait, err := p.look(ctx, me)
		if m != nil && !began.IsZero() {
			p.turns.wait(began, nil)
		}
		if m != nil || err != nil {
			return m, err
		}
		if began.IsZero() {
			began = time.Now()
		}
		changed := p.changed
		p.mu.Unlock()
		awaitChange(ctx, changed, wait)
		p.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// awaitChange returns when changed is closed, wait is over (if it is not 0), or ctx has ended.
func awaitChange(ctx context.Context, changed <-chan struct{}, wait time.Duration) {
	var later <-chan time.Time
	if wait > 0 {
		later = time.After(wait)
	}
	select {
	case <-changed:
	case <-later:
	case <-ctx.Done():
	}
}

// look returns the member that me is after if there is one or may be one now, and
// otherwise how long at most to wait for a change. The caller holds mu.
func (p *pool) look(ctx context.Context, me *seeker) (m *member, wait time.Duration, err error) {
	now := time.Now()
	switch m := p.members[me.key]; {
	case p.closed, p.halted:
		return nil, 0, wire.ErrUnavailable
	case m != nil && !m.ending && !m.leaving:
		m.use()
		return m, 0, nil
	case m != nil:
		return nil, 0, nil // the next one comes when it has gone
	}
	if t := p.troubles[me.key]; t != nil {
		if now.Before(t.broken) {
			return nil, 0, wire.ErrBroken
		}
		if now.Before(t.notBefore) {
			return nil, t.notBefore.Sub(now), nil
		}
	}
	if me.away || me.share == nil && !p.line(ctx, me) {
		p.busy.say(func(more string) {
			p.s.record(audit.Record{
				Kind: audit.KindLimit, Subject: p.spec.Name, Op: "start", Object: "max_instances",
				Detail: fmt.Sprintf("too many wait already: at most %d, and %d for one%s", maxQueued, maxQueuedEach, more),
			})
		})
		return nil, 0, wire.ErrBusy
	}
	if p.queue.first() != &me.waiter {
		return nil, 0, nil
	}
	from := p.take()
	if from == nil && len(p.members)+len(p.spares) >= p.spec.MaxInstances {
		if len(p.members) == p.spec.MaxInstances {
			p.makeRoom()
		}
		return nil, 0, nil // or a spare is about to be ready, or gone
	}
	p.queue.serve(&me.waiter)
	m = newMember(p, me.key)
	m.from = from
	p.notify() // the next one may look
	p.members[me.key] = m
	m.use()
	p.lives.Go(m.live)
	return m, 0, nil
}

// seek makes the caller one of those who want an instance with that key. The caller holds mu.
func (p *pool) seek(key monitor.Key) *seeker {
	me := p.seekers[key]
	if me == nil {
		me = &seeker{key: key}
		me.waiter = waiter{cost: 1, at: key.Flow.Label, of: me, pushed: func() {
			me.away = true
			delete(p.seekers, key) // who comes now begins anew
			p.notify()
		}}
		p.seekers[key] = me
	}
	me.here++
	return me
}

// line lets me wait. The caller holds mu.
func (p *pool) line(ctx context.Context, me *seeker) bool {
	who, within := "principal "+me.key.Principal, p.spec.Name
	if me.key.Principal == "" {
		who, within = whose(ctx, p.spec, "")
	}
	return p.queue.push(&me.waiter, who, within)
}

// leave takes the caller out of those who are me; with the last of them me leaves the queue, if it is there, and
// lets the next one look. The caller holds mu.
func (p *pool) leave(me *seeker) {
	if me.here--; me.here > 0 {
		return
	}
	if p.seekers[me.key] == me {
		delete(p.seekers, me.key)
	}
	if me.share != nil {
		p.queue.remove(&me.waiter)
		p.notify()
	}
}

// notify lets all who wait look again. The caller holds mu.
func (p *pool) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// makeRoom ends the instance that has been idle for longest, unless one is ending
// already. The caller holds mu.
func (p *pool) makeRoom() {
	if first := p.idle.Front(); first != nil && p.ending == 0 {
		first.Value.(*member).end()
	}
}

// release gives up one use of m.
func (p *pool) release(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.uses--
	if !m.idle() {
		return
	}
	m.since = time.Now()
	m.place = p.idle.PushBack(m)
	m.timer = time.AfterFunc(p.spec.Idle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if m.idle() && time.Since(m.since) >= p.spec.Idle {
			m.end()
		}
	})
	p.notify()
	if p.s.admission.starved() {
		go p.s.reclaim()
	}
}

// gone forgets m, which has ended; well says that it was asked to, or may, and served
// that it had become ready.
func (p *pool) gone(m *member, well, served bool, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.members, m.key)
	if m.ending {
		p.ending--
	}
	m.ending = true
	m.use() // for good: what is gone is never idle
	if !well {
		p.troubled(m.key, served, detail)
	}
	p.notify()
}

// close ends all instances, and returns when they have ended.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, m := range p.members {
		m.end()
	}
	for _, sp := range p.spares {
		sp.end()
	}
	p.notify()
	p.mu.Unlock()
	p.lives.Wait()
}

// reclaim ends an interpreter that waits, a spare or, if there is none, the instance of all pools that has been idle for
// longest, if somebody waits for the budget: what nobody uses keeps nobody waiting.
func (s *Supervisor) reclaim() {
	if !s.admission.starved() {
		return
	}
	s.reclaiming.Lock()
	defer s.reclaiming.Unlock()
	if s.preparations.giveWay() {
		return // and when it has gone this is asked again
	}
	for _, p := range s.now().pools {
		if p.giveWay() {
			return // and when it has gone this is asked again
		}
	}
	var oldest *pool
	var since time.Time
	for _, p := range s.now().pools {
		at, idle, ending := p.longestIdle()
		if ending {
			return // and when it has gone this is asked again
		}
		if idle && (oldest == nil || at.Before(since)) {
			oldest, since = p, at
		}
	}
	if oldest != nil {
		oldest.mu.Lock()
		defer oldest.mu.Unlock()
		oldest.makeRoom()
	}
}

// longestIdle says since when the longest idle member is, and whether one is ending.
func (p *pool) longestIdle() (since time.Time, idle, ending bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.idle.Front(); first != nil {
		since, idle = first.Value.(*member).since, true
	}
	return since, idle, p.ending > 0
}
