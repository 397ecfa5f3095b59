package spawner

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// networks makes network namespaces ahead: the dearest part of an environment. One that
// nobody has used is used again: see untouched.
type networks struct {
	visitor *visitor
	make    func() (int, error) // makes one
	ahead   int                 // how many wait, when nothing happens
	most    int                 // how many are kept
	fresh   []byte              // what a namespace that nobody has used says of itself
	buf     []byte              // the visitor's, to read in

	mu    sync.Mutex
	free  []int       // guarded by mu
	trim  *time.Timer // guarded by mu
	ended bool        // guarded by mu
}

// networkMaker starts a thread that makes networks. accounted says that what sockets
// buffer counts as memory of the environment.
func networkMaker(accounted bool) func() (int, error) {
	work := make(chan func())
	go func() {
		runtime.LockOSThread() // lives in the last one it made, and does nothing there
		for f := range work {
			f()
		}
	}()
	return func() (fd int, err error) {
		done := make(chan struct{})
		work <- func() { fd, err = makeNetwork(accounted); close(done) }
		<-done
		return fd, err
	}
}

// newNetworks keeps ahead of what make makes ready.
func newNetworks(v *visitor, ahead int, make func() (int, error)) (*networks, error) {
	n := &networks{visitor: v, make: make, ahead: ahead, most: ahead + maxDismantled}
	first, err := n.make()
	if err != nil {
		return nil, err
	}
	if err := v.network(first, func() error { n.fresh = n.lookAround(nil); return nil }); err != nil {
		unix.Close(first)
		return nil, err
	}
	n.free = append(n.free, first)
	n.trim = time.AfterFunc(refillDelay, n.settle)
	return n, nil
}

// take returns a descriptor of one that is as good as fresh, with the loopback up.
func (n *networks) take() (int, error) {
	n.mu.Lock()
	if last := len(n.free) - 1; last >= 0 {
		fd := n.free[last]
		n.free = n.free[:last]
		if last < n.ahead {
			n.trim.Reset(refillDelay)
		}
		n.mu.Unlock()
		return fd, nil
	}
	n.mu.Unlock()
	return n.make()
}

// give takes one back in which nothing lives any more. Another environment gets it only if
// none can have left anything in it.
func (n *networks) give(fd int) {
	if n.wanted() && n.untouched(fd) && n.put(fd, n.most) {
		return
	}
	unix.Close(fd)
}

func (n *networks) wanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.ended && len(n.free) < n.most
}

// put keeps one, if there are fewer than most.
func (n *networks) put(fd, most int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended || len(n.free) >= most {
		return false
	}
	n.free = append(n.free, fd)
	n.trim.Reset(nestIdle)
	return true
}

// settle makes those that are missing, and gives up those that are too many when
// nothing has happened for a while.
func (n *networks) settle() {
	for {
		n.mu.Lock()
		ended, have := n.ended, len(n.free)
		var surplus []int
		if have > n.ahead {
			surplus = append(surplus, n.free[n.ahead:]...)
			n.free = n.free[:n.ahead]
		}
		n.mu.Unlock()
		linux.CloseFDs(surplus)
		if ended || have >= n.ahead {
			return
		}
		fd, err := n.make()
		if err != nil {
			return // take makes one itself then, and reports the error
		}
		if !n.put(fd, n.ahead) {
			unix.Close(fd)
		}
	}
}

// close gives up those that wait. No more are kept.
func (n *networks) close() {
	n.mu.Lock()
	n.ended = true
	n.trim.Stop()
	free := n.free
	n.free = nil
	n.mu.Unlock()
	linux.CloseFDs(free)
}

// What is looked at in a network namespace: proc_pid_net(5). Sockets of every family, and with them
// what belongs to one, as names and memberships do; those in TIME_WAIT; packets on the one device
// that there is; what was counted besides, as attempts that led to no packet; and labels of flows, which
// last longer than their socket. All other counters are of what packets do.
var netFiles = [...]string{"sockstat", "dev", "snmp", "snmp6", "ip6_flowlabel"}

// untouched tells whether a namespace, in which nothing lives any more, is in no way another than
// one that was just made: no packet was ever sent in it, no connection tried, no socket is left
// or in TIME_WAIT, no label of a flow is held. Everything that could tell the next environment of
// the last one would have shown. Ports that were bound and never connected to leave nothing.
func (n *networks) untouched(fd int) bool {
	same := false
	err := n.visitor.network(fd, func() error {
		same = n.lookAround(n.fresh) != nil
		return nil
	})
	return err == nil && same
}

// lookAround returns all that [netFiles] say of the namespace that the visitor is in; nil if want is
// given and they say anything else.
func (n *networks) lookAround(want []byte) []byte {
	if n.buf == nil {
		n.buf = make([]byte, 16<<10)
	}
	seen, buf := make([]byte, 0, len(want)), n.buf
	for _, name := range netFiles {
		fd, err := unix.Openat(n.visitor.net, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // without IPv6, say
		}
		size, err := unix.Read(fd, buf)
		unix.Close(fd)
		if err != nil || size == len(buf) {
			return nil
		}
		text := buf[:size]
		if name == "sockstat" {
			// Those of the kernel itself come to be counted no more only a while after
			// it has made them.
			used := 0
			if text, used = ownSockets(text); used != 0 && want != nil {
				return nil
			}
		}
		seen = append(seen, text...)
		if want != nil && !bytes.HasPrefix(want, seen) {
			return nil
		}
	}
	if want != nil && len(seen) != len(want) {
		return nil
	}
	return seen
}

// ownSockets is how many sockets there are, and what else sockstat says of a namespace, without
// what it says of the whole machine.
func ownSockets(text []byte) (kept []byte, used int) {
	for line := range bytes.Lines(text) {
		w := bytes.Fields(line)
		for i := 1; i+1 < len(w); i += 2 {
			switch string(w[i]) {
			case "used":
				used, _ = strconv.Atoi(string(w[i+1]))
			case "inuse", "tw":
				kept = append(append(append(kept, w[0]...), w[i]...), w[i+1]...)
			}
		}
	}
	return kept, used
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

// listenAll opens TCP listeners where enter runs what it is given.
func listenAll(addrs []netip.AddrPort, enter func(f func() error) error) (fds []int, err error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	err = enter(func() error {
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

// listen opens TCP listeners in the network namespace fd.
func (v *visitor) listen(fd int, addrs []netip.AddrPort) ([]int, error) {
	return listenAll(addrs, func(f func() error) error { return v.network(fd, f) })
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
