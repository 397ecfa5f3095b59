// Package monitor decides.
//
// Every environment is a subject here ([Env]), known by the socket it was born
// with and never by what it says. All that leaves an environment is one of the
// operations in the table of policy.go: a call, a connection, a spawn, a mount,
// a way out. Each is decided by grants and labels, and the decision is recorded
// ([Monitor.conclude]) before anything is handed over. What is not granted is denied,
// and an absent name and a forbidden one give the same answer.
//
// Goroutines: a few readers for all wire connections, which decide and write to the
// other side themselves (reader.go); one for a connection only while what it asks for
// may take its time, or it has to wait; two per relayed connection, and one for a
// reader that its writer must not see; one per call to an instance of its caller's
// own; one per spawn, per mount and per program that answers a call; one that cuts
// what was done with privileges that were revoked, while there is something to cut;
// one that tells of an instance which does not respond. Sixteen timers at most for
// the deadlines of all calls and of all that wait for a mailbox, and one for each
// bucket that is empty again and again. Nobody waits for a peer while he holds a lock.
//
// Locks, in this order: Monitor.enforcing, Monitor.mu, Env.mu, flow.mu,
// mailbox.mu, service.mu, conn.mu, call.mu, outbox.mu; of one kind nobody takes
// two. Apart from these, mounts.mu before references.mu, and that of a limit
// before those of its buckets. Those of the audit log, of the traces, of a ration,
// of a bucket, of the deadlines, of the pins, of a result, of turns and of one, of
// a stream and of a relay, and Monitor.reading, are taken last, and alone. That of a
// connection that is handed comes before those of its environment's hands and of an
// outbox, and after all others.
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

	// MaxConnsInAll bounds the wire connections of all environments together.
	MaxConnsInAll = 1 << 14

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
	policy  atomic.Pointer[policy]
	epoch   time.Time     // when it was made
	calls   atomic.Uint64 // number of the last operation but calls, for the log alone
	pairs   atomic.Uint64 // number of the last pair of connections to the egress door

	aliasKey  [32]byte      // new each time: what an alias stands for is told to nobody
	conns     atomic.Int64  // wire connections of all environments
	buffers   wire.Buffers  // of large frames, for all of these
	deadlines [16]deadlines // see Env.deadlines
	bridged   bridged
	orphans   orphans
	pins      pins
	traces    *traces // nil for none

	unseen time.Duration // how long a child may go on that is withheld from who waits in place; a test has its own

	revocations atomic.Uint64 // of privileges, so far
	unchecked   atomic.Int64  // of them, those after which it has not been looked for what to cut

	// What of the host an egress needs; a test has its own.
	classOf func(netip.Addr) address.Class
	dial    func(context.Context, netip.AddrPort) (net.Conn, error)

	enforcing sync.Mutex // held while the policy changes

	reading sync.Mutex // taken last, and alone
	readers *readers   // nil while there are no connections; guarded by reading, as are its places

	mu       sync.Mutex
	admitted uint64          // how many were; guarded by mu
	envs     map[string]*Env // by instance; guarded by mu
}

// New returns a monitor that enforces p, starts templates through spawner and
// records to log. None of them may be nil: a monitor that cannot record does
// not decide.
func New(log *audit.Log, p Policy, spawner Spawner) (*Monitor, error) {
	m := &Monitor{
		log:     log,
		spawner: spawner,
		epoch:   time.Now(),
		classOf: classOf,
		dial:    dialOut,
		unseen:  MaxDeadline,
		envs:    make(map[string]*Env),
	}
	if p.Traces != nil {
		m.traces = &traces{ratio: p.Traces.Ratio}
	}
	rand.Read(m.aliasKey[:]) // never fails
	if _, err := m.Enforce(p); err != nil {
		return nil, err
	}
	return m, nil
}

// Admit makes a started environment a subject. The instance must be new, and
// the identity one that fits a frame.
func (m *Monitor) Admit(id wire.Identity) (*Env, error) {
	var flow Flow
	if s := m.policy.Load().services[id.Service]; s != nil {
		flow = s.Flow
	}
	return m.AdmitAt(id, flow)
}

// AdmitAt is Admit for one that starts with labels of its own.
func (m *Monitor) AdmitAt(id wire.Identity, flow Flow) (*Env, error) {
	if !flow.Label.FlowsTo(flow.Clearance) {
		return nil, fmt.Errorf("admit %q: its label %s does not flow to its clearance %s", id.Instance, flow.Label, flow.Clearance)
	}
	if err := id.Check(); err != nil {
		return nil, fmt.Errorf("admit %q: %w", id.Instance, err)
	}
	for {
		now := m.policy.Load()
		e, err := m.newEnv(now, id, flow)
		if err != nil {
			return nil, fmt.Errorf("admit %q: %w", id.Instance, err)
		}
		if entered, err := m.enter(e, now); entered || err != nil {
			return e, err
		}
	}
}

// newEnv is one that starts under a policy.
func (m *Monitor) newEnv(under *policy, id wire.Identity, flow Flow) (*Env, error) {
	s := under.services[id.Service]
	if s == nil {
		return nil, fmt.Errorf("no service %q in the policy", id.Service)
	}
	e := &Env{
		m:        m,
		id:       id,
		caller:   id.Append(nil),
		refusals: bucket{rate: Rate{Amount: refusalsEach, Per: time.Second, Burst: refusalsEach / 5}},
		self:     s,
		conns:    make(map[*conn]struct{}),
		relays:   make(map[link]struct{}),
		inbound:  make(map[link]struct{}),

		children: make(map[*result]struct{}),
	}
	if err := e.starts(under, flow); err != nil {
		return nil, err
	}
	e.flow.start(flow, &m.revocations)
	return e, nil
}

// enter makes e a subject, unless the policy that it was made under has been replaced.
func (m *Monitor) enter(e *Env, under *policy) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.policy.Load() != under {
		return false, nil
	}
	if m.envs[e.id.Instance] != nil {
		return false, fmt.Errorf("admit %q: there is an instance of this name already", e.id.Instance)
	}
	m.admitted++
	e.number = m.admitted
	m.envs[e.id.Instance] = e
	for _, b := range under.owned[e.id.Service] {
		b.join(e)
	}
	return true, nil
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
