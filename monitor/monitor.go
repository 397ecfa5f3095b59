// Package monitor decides.
//
// Every environment is a subject here ([Env]), known by the socket it was born
// with and never by what it says. All that leaves an environment is one of the
// operations in the table of policy.go: a call, a connection, a spawn, a mount, a way
// out. Each
// passes [Monitor.open], which finds the grant, records the decision, and only
// then hands the object over. What is not granted is denied, and an absent
// name and a forbidden one give the same answer.
//
// Goroutines: one reader per wire connection, which decides and writes to the other side itself; a flusher for a connection only while its peer is slow; two
// per relayed connection, and one for a reader that its writer must not see; one per call to an instance of its caller's own; one per spawn, per mount and per program that answers a call; one
// that cuts what was done with privileges that were revoked, while there is something to cut; one
// timer for the deadlines of all calls and of all that wait for a mailbox. Nobody waits for a peer while he holds a
// lock.
//
// Locks, in this order: Monitor.mu, Env.mu, flow.mu, mailbox.mu, service.mu, conn.mu, call.mu,
// outbox.mu; of one kind nobody takes two. Apart from these, mounts.mu before references.mu. Those of the audit
// log, of a ration, of a rate, of the deadlines, of the pins, of a result, of a stream and of a relay are taken
// last, and alone.
//
// Trusted: yes. It is the only code that lets anything out of an environment.
package monitor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/address"
	"cofferdam/audit"
	"cofferdam/wire"
)

// Bounds of what one environment may hold at a time, but for MaxConnsInAll.
const (
	MaxConns    = 64   // wire connections
	MaxInFlight = 1024 // requests without an answer, of all its connections
	MaxRelays   = 256  // connections that it has made
	MaxSpawns   = 64   // spawned instances that run

	MaxMounts     = 256  // directories of the host that it is shown
	MaxReferences = 1024 // to such in whatever environment, of all its clients
	maxMounting   = 16   // requests for them at a time

	MaxQueued     = 1024 // calls that wait for somebody who answers one method
	maxQueuedEach = 256  // of them for one principal, or from a service that runs for none
	maxAnswering  = 4096 // calls that one connection is answering

	maxBacklogBytes = 4 << 20  // unsent bytes of one connection
	maxHeldBytes    = 32 << 20 // bytes kept for one environment, see store
	maxErrorBytes   = 1 << 10  // the text of an error

	freeRecords = 1000                  // see ration
	recordEvery = 10 * time.Millisecond // further records, on average

	// MaxConnsInAll bounds the wire connections of all environments together:
	// each takes two descriptors.
	MaxConnsInAll = 4096

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
	epoch   time.Time     // when it was made
	calls   atomic.Uint64 // number of the last operation but calls, for the log alone
	pairs   atomic.Uint64 // number of the last pair of connections to the egress door

	aliasKey  [32]byte     // new each time: what an alias stands for is told to nobody
	conns     atomic.Int64 // wire connections of all environments
	deadlines deadlines
	bridged   bridged
	orphans   orphans
	pins      pins

	unseen time.Duration // how long a child may go on that is withheld from who waits in place; a test has its own

	revocations atomic.Uint64 // of privileges, so far
	unchecked   atomic.Int64  // of them, those after which it has not been looked for what to cut

	// What of the host an egress needs; a test has its own.
	classOf func(netip.Addr) address.Class
	dial    func(context.Context, netip.AddrPort) (net.Conn, error)

	mu       sync.Mutex
	admitted uint64              // how many were; guarded by mu
	envs     map[string]*Env     // by instance; guarded by mu
	services map[string]*service // by name; fixed after New

	mailboxes map[string]*mailbox // by name, those declared; fixed after New
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
		epoch:    time.Now(),
		classOf:  classOf,
		dial:     dialOut,
		unseen:   MaxDeadline,
		envs:     make(map[string]*Env),
		services: make(map[string]*service),
	}
	rand.Read(m.aliasKey[:]) // never fails
	for _, s := range p.Services {
		m.services[s.Name] = newService(m, s)
	}
	m.mailboxes = make(map[string]*mailbox)
	for _, declared := range p.Mailboxes {
		b := newMailbox(declared)
		m.mailboxes[b.name] = b
		if s := m.services[b.owner]; s != nil {
			s.mailboxes = append(s.mailboxes, b)
		}
	}
	return m, nil
}

// Admit makes a started environment a subject. The instance must be new, and
// the identity one that fits a frame.
func (m *Monitor) Admit(id wire.Identity) (*Env, error) {
	var flow Flow
	if s := m.services[id.Service]; s != nil {
		flow = s.Flow
	}
	return m.AdmitAt(id, flow)
}

// AdmitAt is Admit for one that starts with labels of its own.
func (m *Monitor) AdmitAt(id wire.Identity, flow Flow) (*Env, error) {
	s := m.services[id.Service]
	if s == nil {
		return nil, fmt.Errorf("admit %q: no service %q in the policy", id.Instance, id.Service)
	}
	if !flow.Label.FlowsTo(flow.Clearance) {
		return nil, fmt.Errorf("admit %q: its label %s does not flow to its clearance %s", id.Instance, flow.Label, flow.Clearance)
	}
	if err := id.Check(); err != nil {
		return nil, fmt.Errorf("admit %q: %w", id.Instance, err)
	}
	e := &Env{
		m:       m,
		id:      id,
		caller:  id.Append(nil),
		self:    s,
		conns:   make(map[*conn]struct{}),
		relays:  make(map[*relay]struct{}),
		inbound: make(map[*relay]struct{}),

		children: make(map[*result]struct{}),
	}
	if err := e.starts(flow); err != nil {
		return nil, fmt.Errorf("admit %q: %w", id.Instance, err)
	}
	e.flow.start(flow, &m.revocations)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.envs[id.Instance] != nil {
		return nil, fmt.Errorf("admit %q: there is an instance of this name already", id.Instance)
	}
	m.admitted++
	e.number = m.admitted
	m.envs[id.Instance] = e
	for _, b := range s.mailboxes {
		b.join(e)
	}
	return e, nil
}

// Remove ends everything that e takes part in: its connections are closed, on
// both sides, its calls and spawns are withdrawn, and calls that it was answering
// are repeated if they may be and otherwise end as interrupted. Removing twice
// is no error.
func (m *Monitor) Remove(e *Env) {
	m.mu.Lock()
	if m.envs[e.id.Instance] == e {
		delete(m.envs, e.id.Instance)
	}
	m.mu.Unlock()
	e.close()
}
