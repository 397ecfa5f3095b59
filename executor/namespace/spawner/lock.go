package spawner

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// lockSocket makes of a connected TCP socket one that can never have another connection. See
// Process.Hand.
func lockSocket(fd int) error {
	from, err := endOf(unix.Getsockname(fd))
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	to, err := endOf(unix.Getpeername(fd))
	if err != nil {
		return os.NewSyscallError("getpeername", err)
	}
	filter := onlyConnection(from, to)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return os.NewSyscallError("attach a filter", err)
	}
	return os.NewSyscallError("lock the filter", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
}

// endOf is an address and port of IPv4, in which alone filters are written.
func endOf(a unix.Sockaddr, err error) (netip.AddrPort, error) {
	if err != nil {
		return netip.AddrPort{}, err
	}
	v4, ok := a.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, errors.New("not an address of IPv4")
	}
	return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)), nil
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
