package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Where in the kernel's messages about routes things stand: rtnetlink(7).
const (
	messageHead = 16 // length, type, flags, number, sender
	routeHead   = 12 // family, length of the destination, …, type of the route, flags
	routeKind   = 7
	attrHead    = 4 // length, type
)

// isOwn tells whether what is sent to addr stays on this host, as the kernel would
// send it: to an address that the host has, or that it was told to answer at, as
// those that a load balancer passes on are. The latter stand at no interface.
func isOwn(addr netip.Addr) (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("ask for a route: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, routeQuestion(addr), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ask for a route: %w", err)
	}
	// The kernel has answered by now: it does so while we send.
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return false, fmt.Errorf("ask for a route: %w", err)
	}
	return ownRoute(answer[:n])
}

func routeQuestion(addr netip.Addr) []byte {
	raw, family := addr.AsSlice(), byte(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	size := messageHead + routeHead + attrHead + len(raw)
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, uint32(size))
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETROUTE)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, messageHead-len(b))...)
	b = append(b, family, byte(addr.BitLen()))
	b = append(b, make([]byte, messageHead+routeHead-len(b))...)
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHead+len(raw)))
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_DST)
	return append(b, raw...)
}

var errRoute = errors.New("ask for a route: an answer that makes no sense")

func ownRoute(b []byte) (bool, error) {
	if len(b) < messageHead+routeHead {
		return false, errRoute
	}
	switch binary.NativeEndian.Uint16(b[4:]) {
	case unix.RTM_NEWROUTE:
		return b[messageHead+routeKind] != unix.RTN_UNICAST, nil
	case unix.NLMSG_ERROR:
		err := unix.Errno(-int32(binary.NativeEndian.Uint32(b[messageHead:])))
		if err == unix.ENETUNREACH || err == unix.EHOSTUNREACH {
			return false, nil // nothing is sent anywhere
		}
		return false, fmt.Errorf("ask for a route: %w", err)
	}
	return false, errRoute
}
