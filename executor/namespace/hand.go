package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

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
// SO_ATTACH_FILTER), which lets nothing in but packets of this one connection, and none that begins
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
	if err := lock(fd, from, addr); err != nil {
		return nil, fmt.Errorf("lock a socket to %v: %w", addr, err)
	}
	return net.FileConn(f)
}

// lock makes of a connected socket one that can never have another connection.
func lock(fd int, from, to netip.AddrPort) error {
	filter := onlyConnection(from, to)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return os.NewSyscallError("attach a filter", err)
	}
	return os.NewSyscallError("lock the filter", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
}

// onlyConnection lets in what has come from the port and address to, to the port of from, and
// does not begin a connection. The kernel shows the packet from its TCP header on, and the
// IP header at SKF_NET_OFF.
func onlyConnection(from, to netip.AddrPort) []unix.SockFilter {
	const (
		sourcePort, destinationPort, flags, syn = 0, 2, 13, 0x02

		source     = 12
		skfNetOff  = -0x100000
		everything = 0xffffffff
	)
	addr := to.Addr().As4()
	number := uint32(addr[0])<<24 | uint32(addr[1])<<16 | uint32(addr[2])<<8 | uint32(addr[3])
	at := skfNetOff + source
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: sourcePort},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(to.Port()), Jf: 7},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: destinationPort},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(from.Port()), Jf: 5},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(at)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: everything},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}
