// Package manager is what clients of Isabelle talk to instead of a server: it tells
// tenants apart by their passwords, has one instance of the server run for each of
// them, and passes on what makes sense.
//
// For a client it looks like one Isabelle server. What runs in an instance is
// believed in nothing: whoever uses it can have it say anything. So both sides are
// read with the same care, and one that lies is let go, which concerns its tenant only.
//
// Who is who, from the outside to the inside:
//
//	client    one connection, after its password; reads one command at a time
//	task      what a client has started, with a name of ours; waits for its turn
//	house     one tenant, with all of its clients and tasks
//	instance  the tenant's server while we are connected to it, with its sessions
//	upstream  one connection to it; one for each client, and the keeper's
//	ledger    what may come over it next
//
// Locks are taken in this order: client.mu, upstream.mu, instance.mu, house.mu,
// client.writing; turns.mu and hall.mu by themselves.
//
// Trusted: by the tenants, to keep them apart; by the monitor, in the name of the tenant
// that a connection or a mount is for.
package manager

import (
	"context"
	"log/slog"
	"net"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// Manager serves clients. Its fields must not be changed while it does.
type Manager struct {
	Tenants Tenants
	Backend Backend
	Limits  Limits
	Log     *slog.Logger

	now    func() time.Time
	houses map[string]*house
	room   chan struct{} // for connections
	hall   hall          // where those are whose password is not known yet
	heavy  chan struct{} // for large messages that are taken apart
}

// New returns a manager for these tenants.
func New(tenants Tenants, backend Backend, limits Limits, log *slog.Logger) *Manager {
	m := &Manager{
		Tenants: tenants, Backend: backend, Limits: limits, Log: log, now: time.Now,
		houses: make(map[string]*house), room: make(chan struct{}, maxConnections), heavy: make(chan struct{}, 2),
	}
	for _, t := range tenants {
		m.houses[t.Name] = newHouse(m, t)
	}
	return m
}

// maxConnections is how many connections there are at a time, of tenants or not.
const maxConnections = 1024

// maxPassword is how long a first line may be.
const maxPassword = 256

// Serve serves clients until l is closed.
func (m *Manager) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case m.room <- struct{}{}:
			go func() {
				defer func() { <-m.room }()
				m.meet(conn)
			}()
		default:
			conn.Close()
		}
	}
}

// meet reads the password, and has the tenant's house serve who knows one. To all
// others nothing is said.
func (m *Manager) meet(conn net.Conn) {
	defer conn.Close()
	m.hall.enter(conn)
	conn.SetReadDeadline(time.Now().Add(m.Limits.Handshake))
	in := protocol.NewReader(conn, protocol.Limits{First: maxPassword, Line: m.Limits.Message, Block: m.Limits.Message})
	password, err := in.Line()
	if stays := m.hall.leave(conn); err != nil || !stays {
		return
	}
	t := m.Tenants.who(password)
	if t == nil {
		m.Log.Warn("client", "event", "refused", "why", "no tenant has this password")
		return
	}
	h := m.houses[t.Name]
	if !h.enter() {
		h.log.Warn("client", "event", "refused", "why", "too many connections")
		return
	}
	defer h.exit()
	c := &client{house: h, conn: conn, in: in, log: h.log}
	c.ctx, c.leave = context.WithCancel(context.Background())
	defer c.leave()
	i, err := h.instance(c.ctx)
	if err != nil {
		h.log.Warn("client", "event", "refused", "why", err.Error())
		return
	}
	c.serve(i.version)
}
