package namespace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// Reading is how many bytes that were written to c have been read inside, and how many not.
// Where TCP is spoken over a loopback, what was written is in the other socket at once, acknowledged
// and out of ours: only the kernel knows whether it was read there. It says so by
// sock_diag(7), asked for that one socket by its two addresses.
func (p *Process) Reading(c net.Conn) (read int64, unread int, err error) {
	ours, theirs, err := endsOf(c)
	if err != nil {
		return 0, 0, err
	}
	arrived, unsent, err := written(c)
	if err != nil {
		return 0, 0, err
	}
	d, err := p.diagnoser()
	if err == nil {
		unread, err = d.unread(theirs, ours)
	}
	if errors.Is(err, unix.ENOENT) {
		// It has gone; or the kernel cannot say, and then knows nothing of ours either.
		if _, err = d.unread(ours, theirs); errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: sock_diag of TCP (CONFIG_INET_TCP_DIAG, or the module tcp_diag)", executor.ErrUnsupported)
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask what is read inside: %w", err)
	}
	return arrived - int64(unread), unread + unsent, nil
}

func endsOf(c net.Conn) (ours, theirs netip.AddrPort, err error) {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	b, alsoOK := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !alsoOK {
		return ours, theirs, fmt.Errorf("%T is no connection of TCP", c)
	}
	return a.AddrPort(), b.AddrPort(), nil
}

// written is how much of what was written to c has arrived in the other socket, and what is
// in our own still because that is full.
func written(c net.Conn) (arrived int64, unsent int, err error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0, 0, fmt.Errorf("%T is no socket", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	ctlErr := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			arrived = int64(info.Bytes_acked)
			unsent, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ)
		}
	})
	return arrived, unsent, errors.Join(ctlErr, err)
}

// diagnoser is the socket that is asked, made inside by the spawner when it is first
// needed.
func (p *Process) diagnoser() (*diag, error) {
	p.mu.Lock()
	d, ended := p.diag, p.ended
	p.mu.Unlock()
	if ended {
		return nil, executor.ErrStopped
	}
	if d != nil {
		return d, nil
	}
	_, fds, err := p.e.callSoon(&link.Request{Env: p.env, Dial: &link.Dial{Diag: true}}, nil)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		linux.CloseFDs(fds)
		return nil, errors.New("the spawner has sent no socket")
	}
	d = &diag{fd: fds[0]}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		d.close()
		return nil, executor.ErrStopped
	case p.diag != nil:
		d.close()
	default:
		p.diag = d
	}
	return p.diag, nil
}

// diag is a socket of sock_diag(7).
type diag struct {
	mu     sync.Mutex // held from question to answer
	fd     int
	closed bool
	asked  uint32
}

func (d *diag) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	unix.Close(d.fd)
}

// unread is what the socket at local has of what remote has sent.
func (d *diag) unread(local, remote netip.AddrPort) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, executor.ErrStopped
	}
	d.asked++
	if err := unix.Sendto(d.fd, diagQuestion(d.asked, local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	// The kernel has answered by now: it does so while we send.
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(d.fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	return unreadIn(answer[:n], d.asked, remote.Port())
}

// What of a message of sock_diag stands where: netlink(7), sock_diag(7).
const (
	netlinkHead = 16 // length, type, flags, number, sender
	diagByIDs   = 20 // SOCK_DIAG_BY_FAMILY
	diagState   = netlinkHead + 1
	diagPort    = netlinkHead + 6  // of the other end
	diagUnread  = netlinkHead + 56 // idiag_rqueue
	diagSize    = netlinkHead + 72
)

// diagQuestion asks for the one TCP socket with these addresses.
func diagQuestion(number uint32, local, remote netip.AddrPort) []byte {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() && !local.Addr().Is4In6() {
		family = unix.AF_INET6
	}
	b := make([]byte, 4, netlinkHead+56)
	b = binary.NativeEndian.AppendUint16(b, diagByIDs)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, number)
	b = append(b, 0, 0, 0, 0)
	b = append(b, family, unix.IPPROTO_TCP, 0, 0, 0xff, 0xff, 0xff, 0xff) // in whatever state
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr().Unmap(), remote.Addr().Unmap()} {
		raw := a.AsSlice()
		b = append(b, append(raw, make([]byte, 16-len(raw))...)...)
	}
	b = append(b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // any interface, no cookie
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

var errDiag = errors.New("sock_diag: an answer that makes no sense")

// States of TCP as the kernel counts them, after which the other end has said all.
const (
	tcpCloseWait = 8
	tcpLastAck   = 9
	tcpListen    = 10
	tcpClosing   = 11
)

// unreadIn reads the answer to the question with that number about a connection from
// that port.
func unreadIn(b []byte, number uint32, from uint16) (int, error) {
	if len(b) < netlinkHead || binary.NativeEndian.Uint32(b[8:]) != number {
		return 0, errDiag
	}
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == unix.NLMSG_ERROR && len(b) >= netlinkHead+4:
		err := unix.Errno(-int32(binary.NativeEndian.Uint32(b[netlinkHead:])))
		return 0, fmt.Errorf("sock_diag: %w", err)
	case kind != diagByIDs || len(b) < diagSize:
		return 0, errDiag
	}
	state := b[diagState]
	if state == tcpListen || binary.BigEndian.Uint16(b[diagPort:]) != from {
		return 0, fmt.Errorf("sock_diag: %w", unix.ENOENT) // the kernel has fallen back on who listens
	}
	unread := int(binary.NativeEndian.Uint32(b[diagUnread:]))
	if unread > 0 && (state == tcpCloseWait || state == tcpLastAck || state == tcpClosing) {
		unread-- // that nothing more comes is counted as a byte, and nobody has to ask for it
	}
	return unread, nil
}
