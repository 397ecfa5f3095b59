package monitor

import (
	"bytes"
	"slices"
	"sync"

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
	methods map[string]*method
	lines   bool

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and renewed when dialers or state change
	dialers []instance
	next    int
}

// method is one endpoint: who answers it, and who waits for somebody to.
type method struct {
	Method
	of *service

	// guarded by of.mu
	servers []*conn
	next    int
	queue   []*call
}

func newService(m *Monitor, s Service) *service {
	svc := &service{Service: s, m: m, methods: make(map[string]*method), lines: s.Lines, changed: make(chan struct{})}
	for _, md := range s.Methods {
		svc.methods[md.Name] = &method{Method: md, of: svc}
	}
	return svc
}

// ready reports whether every method has somebody to answer it.
func (s *service) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		if len(md.servers) == 0 && !s.lines {
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
		k.finish(state.code(), nil)
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
func (s *service) register(c *conn, methods []*method) {
	s.mu.Lock()
	var waiting []*call
	for _, md := range methods {
		if !slices.Contains(md.servers, c) {
			md.servers = append(md.servers, c)
		}
		waiting = append(waiting, md.queue...)
		md.queue = nil
	}
	s.notify()
	s.mu.Unlock()
	for _, k := range waiting {
		k.mu.Lock()
		body := k.body
		k.mu.Unlock()
		if !k.done.Load() {
			k.method.dispatch(k, body)
		}
	}
}

func (s *service) unregister(c *conn, methods []*method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range methods {
		md.servers = slices.DeleteFunc(md.servers, func(o *conn) bool { return o == c })
	}
}

// dispatch sends k to the next connection that answers the method, or queues
// it until there is one. body belongs to the caller and is copied if kept.
func (md *method) dispatch(k *call, body []byte) {
	if md.Idempotent {
		k.keep(body)
	}
	s := md.of
	s.mu.Lock()
	for range len(md.servers) {
		if len(md.servers) == 0 {
			break // they went while we tried
		}
		md.next++
		c := md.servers[md.next%len(md.servers)]
		s.mu.Unlock()
		if c.deliver(k, body) {
			return
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	switch {
	case s.state != Up:
		go k.finish(s.state.code(), nil)
	case len(md.servers) > 0 || len(md.queue) >= MaxQueued:
		go k.finish(wire.Busy, nil) // all are there and all are full
	default:
		k.keep(body)
		md.queue = slices.DeleteFunc(md.queue, func(o *call) bool { return o.done.Load() })
		md.queue = append(md.queue, k)
	}
}

// keep copies the body for later.
func (k *call) keep(body []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.body == nil && !k.done.Load() {
		k.body = bytes.Clone(body)
		if k.body == nil {
			k.body = []byte{}
		}
	}
}
