package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// Env is one environment as a subject: an instance of a service.
type Env struct {
	m      *Monitor
	id     wire.Identity
	caller []byte // id as the field list that servers get
	rights atomic.Pointer[rights]
	self   *service
	as     Service // self, as it is to those who get e; fixed
	key    Key     // which instance of it e is; zero if any is as good

	flow     flow
	held     store
	records  ration
	refusals bucket       // see calmly
	inFlight atomic.Int64 // requests without an answer
	proxied  atomic.Int64 // connections that are with the egress door
	turns    turns
	retired  atomic.Bool // another one is asked in its place
	copies   atomic.Bool // see SendsCopies
	hands    hands

	silences map[int]misses // requests to a port that were not answered, see carried; guarded by mu
	reading  Reading        // see Watching; guarded by mu
	heard    atomic.Uint64  // counts what comes from it: frames, and bytes of connections to it; see overdue.go
	reported atomic.Uint64  // one more than heard when it was found to be silent

	mu        sync.Mutex
	closed    bool
	conns     map[*conn]struct{}
	connected uint64            // connections so far
	relays    map[link]struct{} // connections that it has made
	inbound   map[link]struct{} // that lead to it; they count against who made them
	hand      Dialer            // see Hands; nil for none
	spawns    int
	// children are the results of those that it has spawned and that count as its own.
	children map[*result]struct{}

	number     uint64      // in the order of their admission
	mounting   int         // requests under way; guarded by mu
	mountable  atomic.Bool // it runs, and Mounting was called
	mounts     mounts      // that it is shown
	references references  // that it has asked for, in whatever environment
}

// Identity is who it is.
func (e *Env) Identity() wire.Identity { return e.id }

// whom is for whom the log says that e asks: somebody whom it names, or whom it runs for.
func (e *Env) whom(principal string) string { return cmp.Or(principal, e.id.Principal) }

// Attach serves wire connections that programs of e make to l until l is
// closed. The socket lies in e's own file tree and nowhere else, and owns must
// tell whether the process that a pidfd refers to belongs to e: a connection
// made by anybody else is closed.
//
// Connections are looked at one after the other, and beyond a burst at the pace
// of the ration: a storm of them is its maker's to wait out.
func (e *Env) Attach(l *net.UnixListener, owns func(pidfd *os.File) (bool, error)) {
	for {
		nc, err := l.AcceptUnix()
		if err != nil {
			if ended(err) {
				return
			}
			continue
		}
		e.attach(nc, owns)
	}
}

// acceptPause is how long nobody is accepted after accept(2) has said that
// there are no descriptors or no memory. Such an error passes; to stop accepting
// would be for ever.
const acceptPause = 50 * time.Millisecond

// ended tells whether an error of accept is the last one, and waits if not.
func ended(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	time.Sleep(acceptPause)
	return false
}

func (e *Env) attach(nc *net.UnixConn, owns func(*os.File) (bool, error)) {
	c, err := newConn(e, nc)
	if err != nil {
		return
	}
	v := Verdict{Allowed: true, Rule: "peer is inside"}
	if err := checkPeer(c.out.socket, owns); err != nil {
		v = Verdict{Rule: err.Error()}
	}
	err = e.m.record(e, opAttach, "", 0, v)
	time.Sleep(e.records.take(time.Now()))
	if err != nil {
		c.close()
		return
	}
	c.begin()
}

// Serve reads requests of e from nc until it ends. The caller vouches that
// only e holds the other end.
func (e *Env) Serve(nc *net.UnixConn) {
	c, err := newConn(e, nc)
	if err != nil {
		return
	}
	c.begin()
	<-c.over
}

func checkPeer(socket *wire.Socket, owns func(*os.File) (bool, error)) (err error) {
	pidfd := -1
	ctlErr := socket.Control(func(fd int) {
		if pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == unix.ENOPROTOOPT {
			pidfd, err = peerByPid(fd)
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	if err != nil {
		return fmt.Errorf("peer has no pidfd: %v", err)
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	inside, err := owns(f)
	if err != nil {
		return fmt.Errorf("peer cannot be identified: %v", err)
	}
	if !inside {
		return fmt.Errorf("peer is not inside the environment")
	}
	return nil
}

// peerByPid does for a kernel before Linux 6.5 what SO_PEERPIDFD does since. A pid
// may have been reused since its owner connected (unix(7), SO_PEERCRED), so a
// stranger can pass if he has got at the socket, which lies inside alone, has ended
// since, and his pid has gone to a process inside, which decides when it forks:
// only somebody whom a program inside wants to speak in its place, as it could
// without this.
func peerByPid(fd int) (int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	return unix.PidfdOpen(int(cred.Pid), 0)
}

// hold counts a connection against MaxConns.
func (e *Env) hold(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= MaxConns {
		return false
	}
	if e.m.conns.Add(1) > MaxConnsInAll {
		e.m.conns.Add(-1)
		return false
	}
	e.conns[c] = struct{}{}
	e.connected++
	c.number = e.connected
	return true
}

func (e *Env) drop(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, held := e.conns[c]; held {
		delete(e.conns, c)
		e.m.conns.Add(-1)
	}
}

func (e *Env) close() {
	e.mu.Lock()
	e.closed = true
	conns := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		conns = append(conns, c)
	}
	relays, inbound := slices.Collect(maps.Keys(e.relays)), slices.Collect(maps.Keys(e.inbound))
	e.mu.Unlock()

	e.self.instanceGone(e)
	e.endMounts()
	e.leaveChildren()
	for _, c := range conns {
		c.close()
	}
	e.endFlow() // and with it privileges that e gave: who was asking e with one has been told that e ended
	for _, b := range e.rights.Load().policy.owned[e.id.Service] {
		b.leave(e)
	}
	for _, r := range relays {
		r.nearGone()
	}
	for _, r := range inbound {
		r.farGone()
	}
	e.hands.end()
}
