package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

// Ports that sockets of Hand have: those above which the kernel chooses by itself, so that
// programs inside notice nothing of them.
const firstHanded, lastHanded = 61000, 65535

// maxHandTries is how many ports are tried, one after the other.
const maxHandTries = 16

// lastPort is where the search for the next one begins.
type lastPort struct{ n atomic.Uint32 }

func (l *lastPort) next() int {
	return firstHanded + int(l.n.Add(1)%(lastHanded-firstHanded+1))
}

// Hand connects as Dial does, for a program of another environment, which may get the
// socket: it is locked, so that nothing can be done with it but what the connection is for.
//
// A TCP socket belongs to the network that it was made in, and whoever has it can dissolve
// its connection (connect(2) to AF_UNSPEC) and connect it anew, to any port there, as
// if he was inside, or bind it and listen. No filter of system calls can see to what a socket is connected, and Landlock
// lets a connection be dissolved. So the socket carries a filter of its own (socket(7),
// SO_ATTACH_FILTER), which the spawner attaches, since newer kernels ask for a capability: it lets nothing in but packets of this one connection, and none that begins
// one; SO_LOCK_FILTER makes that final. And it has its port from bind(2), which it keeps when it is
// dissolved, so that it cannot be bound to another one, in whose way it would be.
func (p *Process) Hand(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("hand a connection to %v: only to the loopback, by IPv4", addr)
	}
	for try := 1; ; try++ {
		c, err := p.hand(ctx, addr, p.ports.next())
		taken := errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL)
		if !taken || try == maxHandTries {
			return c, err
		}
	}
}

// hand does it from that port.
func (p *Process) hand(ctx context.Context, addr netip.AddrPort, port int) (net.Conn, error) {
	fd, err := p.socket(ctx, false)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "hand")
	defer f.Close()
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // one that has ended holds its port for a while
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: from.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("bind a socket to %v inside: %w", from, err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(ctx, f)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %v inside: %w", addr, err)
	}
	_, _, err = p.e.callSoon(&link.Request{Env: p.env, Lock: true}, []int{fd})
	if err != nil {
		return nil, fmt.Errorf("lock a socket to %v: %w", addr, err)
	}
	return net.FileConn(f)
}
