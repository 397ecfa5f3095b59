package monitor

import (
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

	mailboxes []*mailbox // of which it is the owner; fixed

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and renewed when dialers or state change
	dialers []instance
	next    int
}

// method is one endpoint: who answers it, and who waits for somebody to.
type method struct {
	Method
	nameBytes []byte
	of        *service
	calls     atomic.Uint64 // number of the last one that was allowed
	public    bool          // labels have no part in a call of a caller without any

	// guarded by of.mu
	servers []*conn
	next    int
	queue   []*call
}

func newService(m *Monitor, s Service) *service {
	svc := &service{Service: s, m: m, methods: make(map[string]*method), changed: make(chan struct{})}
	for _, md := range s.Methods {
		public := !s.ofCaller() && md.Gate == nil && s.endpoint(&md) == (guard.Endpoint{}) && s.Flow.Label == label.Public
		svc.methods[md.Name] = &method{Method: md, nameBytes: []byte(md.Name), of: svc, public: public}
	}
	return svc
}

// ready reports whether every method has somebody to answer it.
func (s *service) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		if len(md.servers) == 0 && !s.Lines {
			return false
		}
	}
	return true
}

// Serving tells whether e answers every method of its service.
func (e *Env) Serving() bool {
	s := e.self
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		if !s.Lines && !slices.ContainsFunc(md.servers, func(c *conn) bool { return c.env == e }) {
			return false
		}
	}
	return true
}

// SetState says what callers of a service can expect. Those that wait for one
// that will not come are told.
func (m *Monitor) SetState(name string, state State) {
	s := m.services[name]
	if s == nil {
		return
	}
	s.mu.Lock()
	s.state = state
	var waiting []*call
	if state != Up {
		for _, md := range s.methods {
			waiting = append(waiting, md.queue...)
			md.queue = nil
		}
	}
	s.notify()
	s.mu.Unlock()
	for _, k := range waiting {
		k.refuse(state.code(), nil, nil)
	}
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
	if c.isClosed() {
		s.mu.Unlock()
		return // unregister may have been here already
	}
	var waiting []*call
	for _, one := range methods {
		if one.ended.Load() {
			continue // its label has changed already
		}
		md := one.method
		md.servers = append(md.servers, c)
		waiting = append(waiting, md.queue...)
		md.queue = nil
	}
	s.mu.Unlock()
	for _, k := range waiting {
		k.method.dispatch(k, k.kept())
	}
}

// unregister takes c away from all methods.
func (s *service) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		md.remove(c)
	}
}

func (md *method) remove(c *conn) {
	md.servers = slices.DeleteFunc(md.servers, func(o *conn) bool { return o == c })
}

// dispatch sends k to the next connection that answers the method, or queues
// it until there is one. body belongs to the caller and is copied if kept.
func (md *method) dispatch(k *call, body []byte) {
	if k.done.Load() {
		return
	}
	if md.Idempotent {
		k.keep(body)
	}
	s := md.of
	s.mu.Lock()
	var fulls, others int
	var by *Env // one that is full, and that the caller may not know of if there is such
	for fulls+others < len(md.servers) {
		c := md.servers[md.next%len(md.servers)]
		md.next++
		s.mu.Unlock()
		how := c.deliver(k, body)
		if how == taken {
			return
		}
		s.mu.Lock()
		switch how {
		case gone:
			md.remove(c) // and whoever registered meanwhile gets its turn
		case full:
			fulls++
			if by == nil || k.mayKnow(by) {
				by = c.env
			}
		default:
			others++
		}
	}
	code := wire.Busy // all who could are full
	if fulls == 0 {
		code = md.enqueue(k, body)
	}
	s.mu.Unlock()
	if code != wire.OK {
		k.refuse(code, nil, by)
	}
}

// enqueue lets k wait for somebody who answers the method. Called with of.mu held.
func (md *method) enqueue(k *call, body []byte) wire.Code {
	if md.of.state != Up {
		return md.of.state.code()
	}
	mine := 0
	md.queue = slices.DeleteFunc(md.queue, func(o *call) bool {
		if o.done.Load() {
			return true
		}
		if o.from.env == k.from.env {
			mine++
		}
		return false
	})
	if len(md.queue) >= MaxQueued || mine >= maxQueuedEach || !k.keep(body) {
		return wire.Busy
	}
	md.queue = append(md.queue, k)
	return wire.OK
}
