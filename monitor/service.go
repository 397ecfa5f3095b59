package monitor

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// State is whether a service can be expected to answer.
type State int

// The states. Only in Up do callers wait for an instance that is not there.
const (
	Up      State = iota // running, starting, or about to be restarted
	Stopped              // ended, and nobody will start it again
	Broken               // has crashed too often
)

// service is the side of a service that others reach.
type service struct {
	Service
	m       *Monitor
	methods map[string]*method // fixed

	counts  *counts
	mu      sync.Mutex
	state   State
	changed chan struct{}    // closed and renewed when dialers or state change
	dialers map[Key]*dialers // by which instance they are
	hidden  bool             // an instance has ended above the label that it started at, see terms
}

// method is one endpoint: who answers it, and who waits for somebody to.
type method struct {
	Method
	nameBytes []byte
	of        *service
	calls     atomic.Uint64 // number of the last one that was allowed
	public    bool          // labels have no part in a call of a caller without any
	counts    *callCounts

	shared pool
	pools  map[Key]*pool // of a service that has an instance for each key; guarded by of.mu
}

// pool is who answers a method, and who waits for somebody to: of those to whom one
// answer is as good as another's. Guarded by of.mu.
type pool struct {
	servers []*conn
	next    int
	queue   []*call
}

// pool is the one for a key. Called with of.mu held.
func (md *method) pool(key Key) *pool {
	if md.of.Instances == Shared {
		return &md.shared
	}
	p := md.pools[key]
	if p == nil {
		p = new(pool)
		if md.pools == nil {
			md.pools = make(map[Key]*pool)
		}
		md.pools[key] = p
	}
	return p
}

// tidy forgets the pool for a key if there is nobody in it.
func (md *method) tidy(key Key) {
	md.of.mu.Lock()
	defer md.of.mu.Unlock()
	p := md.pools[key]
	if p == nil {
		return
	}
	p.queue = slices.DeleteFunc(p.queue, func(k *call) bool { return k.done.Load() })
	if len(p.servers)+len(p.queue) == 0 {
		delete(md.pools, key)
	}
}

// all are its pools. Called with of.mu held.
func (md *method) all() []*pool {
	return append(slices.Collect(maps.Values(md.pools)), &md.shared)
}

func newService(m *Monitor, s Service) *service {
	svc := &service{Service: s, m: m, counts: new(counts), methods: make(map[string]*method), changed: make(chan struct{})}
	for _, md := range s.Methods {
		public := s.Instances == Shared && md.Gate == nil && s.endpoint(&md) == (guard.Endpoint{}) && s.Flow.Label == label.Public
		svc.methods[md.Name] = &method{Method: md, counts: new(callCounts), nameBytes: []byte(md.Name), of: svc, public: public}
	}
	return svc
}

// Serving tells whether e answers every method of its service.
func (e *Env) Serving() bool {
	s := e.self
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		p := &md.shared
		if s.Instances != Shared {
			p = md.pools[e.key]
		}
		if !s.Lines && (p == nil || !slices.ContainsFunc(p.servers, func(c *conn) bool { return c.env == e })) {
			return false
		}
	}
	return true
}

// SetState says what callers of a service can expect. Those that wait for one
// that will not come are told.
func (m *Monitor) SetState(name string, state State) {
	s := m.policy.Load().services[name]
	if s == nil {
		return
	}
	s.mu.Lock()
	s.state = state
	var waiting []*call
	if s.told() != Up {
		waiting = s.takeWaiting()
	}
	s.notify()
	s.mu.Unlock()
	for _, k := range waiting {
		k.refuse(state.code(), nil, nil)
	}
}

// takeWaiting empties the queues of all methods, and returns the calls that were in them. Called with
// mu held.
func (s *service) takeWaiting() (waiting []*call) {
	for _, md := range s.methods {
		for _, p := range md.all() {
			waiting = append(waiting, p.queue...)
			p.queue = nil
		}
	}
	return waiting
}

// told is the state as callers may know it. Called with mu held. That instances end
// which have risen above the label of the service is nothing that those who
// reach it could be told: they wait, as for one that does not answer.
func (s *service) told() State {
	if s.hidden {
		return Up
	}
	return s.state
}

func (st State) code() wire.Code {
	if st == Broken {
		return wire.Broken
	}
	return wire.Unavailable
}

// notify wakes those who wait for a change. Called with mu held.
func (s *service) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// register makes c one of those that answer the methods, and gives it the
// calls that wait.
func (s *service) register(c *conn, methods []*serving) {
	s.mu.Lock()
	if c.isClosed() || c.env.retired.Load() {
		s.mu.Unlock()
		return // unregister may have been here already
	}
	var waiting []*call
	for _, one := range methods {
		if one.ended.Load() {
			continue // its label has changed already
		}
		p := one.method.pool(c.env.key)
		p.servers = append(p.servers, c)
		waiting = append(waiting, p.inTurn()...)
		p.queue = nil
	}
	s.mu.Unlock()
	for _, k := range waiting {
		k.method.dispatch(nil, k, k.kept())
	}
}

// unregister takes c away from all methods.
func (s *service) unregister(c *conn) {
	for _, md := range s.methods {
		md.remove(c)
	}
}

// remove takes c away from the method.
func (md *method) remove(c *conn) {
	md.of.mu.Lock()
	md.pool(c.env.key).remove(c)
	md.of.mu.Unlock()
	md.tidy(c.env.key)
}

func (p *pool) remove(c *conn) {
	p.servers = slices.DeleteFunc(p.servers, func(o *conn) bool { return o == c })
}

// dispatch sends k to the next connection that answers the method, or queues
// it until there is one. body belongs to the caller and is copied if kept. by is the
// reader that does it, nil for nobody.
func (md *method) dispatch(by *reader, k *call, body []byte) {
	if k.done.Load() {
		return
	}
	if md.Idempotent {
		k.keep(body)
	}
	waitedSince := k.queued
	k.queued = 0
	s := md.of
	s.mu.Lock()
	p := md.pool(k.key())
	var fulls, others int
	var one *Env // one that is full, and that the caller may not know of if there is such
	for fulls+others < len(p.servers) {
		c := p.servers[p.next%len(p.servers)]
		p.next++
		s.mu.Unlock()
		how := c.deliver(by, k, body)
		if how == taken {
			if waitedSince != 0 {
				md.counts.waits.Observe(s.m.clock() - waitedSince)
			}
			return
		}
		s.mu.Lock()
		p = md.pool(k.key())
		switch how {
		case gone:
			p.remove(c) // and whoever registered meanwhile gets its turn
		case full:
			fulls++
			if one == nil || k.mayKnow(one) {
				one = c.env
			}
		default:
			others++
		}
	}
	code := wire.Busy // all who could are full
	var pushed *call
	switch {
	case fulls > 0:
	case k.astray != nil && others == 0:
		code = wire.OK
		k.stray()
	default:
		code, pushed = p.enqueue(s.told(), k, body)
	}
	s.mu.Unlock()
	if pushed != nil {
		pushed.refuse(wire.Busy, nil, nil)
	}
	if code != wire.OK {
		k.refuse(code, nil, one)
	}
}
