package spawner

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// networks makes network namespaces ahead: the dearest part of an environment.
// They are used once.
type networks struct {
	ready chan network
}

type network struct {
	fd  int
	err error
}

// newNetworks starts a thread that keeps ahead namespaces ready. accounted says that
// what sockets buffer counts as memory of the environment.
func newNetworks(ahead int, accounted bool) *networks {
	n := &networks{ready: make(chan network, ahead)}
	go func() {
		runtime.LockOSThread() // lives in the last one it made, and does nothing there
		for {
			fd, err := makeNetwork(accounted)
			n.ready <- network{fd, err}
		}
	}()
	return n
}

// take returns a descriptor of a fresh one with the loopback up.
func (n *networks) take() (int, error) {
	net := <-n.ready
	return net.fd, net.err
}

// What a TCP socket buffers where nobody counts it: least, first and most, in
// bytes, of tcp(7). The most is a sixtieth of the usual, and enough for a loopback.
const (
	smallReadBuffer  = "4096 65536 131072"
	smallWriteBuffer = "4096 16384 65536"
)

func makeNetwork(accounted bool) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := readyNetwork(accounted); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a network namespace: %w", err)
	}
	return fd, nil
}

// readyNetwork makes the network namespace that we are in what programs get.
func readyNetwork(accounted bool) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	// No port is privileged where nothing else lives. Where proc is read-only
	// programs cannot listen below 1024; what we open for them still can.
	os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	if !accounted {
		os.WriteFile("/proc/sys/net/ipv4/tcp_rmem", []byte(smallReadBuffer), 0)
		os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte(smallWriteBuffer), 0)
	}
	return nil
}

// loopbackUp sets the interface lo up: netdevice(7).
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket for the loopback: %w", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set the loopback up: %w", err)
	}
	return nil
}

// inside runs f on a thread that is in the network namespace fd. Sockets made
// there stay there.
func inside(fd int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		err := unix.Setns(fd, unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("enter a network namespace: %w", err)
		} else {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// listenInside opens TCP listeners in the network namespace fd.
func listenInside(fd int, addrs []netip.AddrPort) (fds []int, err error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	err = inside(fd, func() error {
		for _, addr := range addrs {
			l, err := listen(addr)
			if err != nil {
				return err
			}
			fds = append(fds, l)
		}
		return nil
	})
	if err != nil {
		linux.CloseFDs(fds)
		return nil, err
	}
	return fds, nil
}

// listen opens a TCP listener on addr in the namespace we are in.
func listen(addr netip.AddrPort) (int, error) {
	s, err := socket(addr.Addr().Is6())
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err = unix.Bind(s, sockaddr(addr)); err == nil {
		err = unix.Listen(s, 1024)
	}
	if err != nil {
		unix.Close(s)
		return -1, fmt.Errorf("listen on %v inside: %w", addr, err)
	}
	return s, nil
}

func socket(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	s, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket inside: %w", err)
	}
	return s, nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
}
