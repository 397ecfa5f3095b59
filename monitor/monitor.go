// Package monitor decides.
//
// Every environment is a subject here ([Env]), known by the socket it was born
// with and never by what it says. All that leaves an environment is one of the
// operations in the table of policy.go: a call, a connection, a spawn. Each
// passes [Monitor.open], which finds the grant, records the decision, and only
// then hands the object over. What is not granted is denied, and an absent
// name and a forbidden one give the same answer.
//
// Goroutines: one reader per wire connection, which decides and writes to the
// other side itself; a flusher for a connection only while its peer is slow;
// two per relayed connection; one per spawn. Locks, in this order: Monitor.mu,
// service.mu, conn.mu, conn.out.mu. The audit log has its own and is last.
//
// Trusted: yes. It is the only code that lets anything out of an environment.
package monitor

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/audit"
	"cofferdam/wire"
)

// Bounds of what one environment may hold at a time.
const (
	MaxConns    = 64   // wire connections
	MaxInFlight = 1024 // requests of one connection without an answer
	MaxQueued   = 1024 // calls waiting for one service to become ready
	MaxRelays   = 256  // relayed connections
	MaxSpawns   = 64   // spawned instances that run

	maxBacklogBytes = 4 << 20 // unsent bytes of one connection

	// DefaultDeadline applies to calls that name none, MaxDeadline to all.
	DefaultDeadline = 30 * time.Second
	MaxDeadline     = 10 * time.Minute
)

// ErrDenied is all that an environment learns of a refusal.
var ErrDenied = errors.New("denied")

// Monitor owns every object that environments share and is the only code that
// reaches one. It is safe for concurrent use.
type Monitor struct {
	log     *audit.Log
	spawner Spawner
	policy  *policy
	calls   atomic.Uint64 // number of the last call

	mu       sync.Mutex
	envs     map[string]*Env     // by instance; guarded by mu
	services map[string]*service // by name; fixed after New
}

// New returns a monitor that enforces p, starts templates through spawner and
// records to log. None of them may be nil: a monitor that cannot record does
// not decide.
func New(log *audit.Log, p Policy, spawner Spawner) (*Monitor, error) {
	table, err := p.compile()
	if err != nil {
		return nil, err
	}
	m := &Monitor{
		log:      log,
		spawner:  spawner,
		policy:   table,
		envs:     make(map[string]*Env),
		services: make(map[string]*service),
	}
	for _, s := range p.Services {
		m.services[s.Name] = newService(m, s)
	}
	return m, nil
}

// Admit makes a started environment a subject. The instance must be new.
func (m *Monitor) Admit(id wire.Identity) (*Env, error) {
	s := m.services[id.Service]
	if s == nil {
		return nil, fmt.Errorf("admit %q: no service %q in the policy", id.Instance, id.Service)
	}
	e := &Env{
		m:      m,
		id:     id,
		caller: id.Append(nil),
		grants: m.policy.of(id.Service),
		self:   s,
		conns:  make(map[*conn]struct{}),
		relays: make(map[*relay]struct{}),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.envs[id.Instance] != nil {
		return nil, fmt.Errorf("admit %q: there is an instance of this name already", id.Instance)
	}
	m.envs[id.Instance] = e
	return e, nil
}

// Remove ends everything that e takes part in: its connections are closed, its
// calls are withdrawn, and calls it was answering end as interrupted.
func (m *Monitor) Remove(e *Env) {
	m.mu.Lock()
	delete(m.envs, e.id.Instance)
	m.mu.Unlock()
	e.close()
}

// Serving tells whether a ready instance of the service takes calls.
func (m *Monitor) Serving(service string) bool {
	s := m.services[service]
	return s != nil && s.ready()
}
