package namespace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// What is in the network of the environment that a socket was handed from.
const (
	grantedPort = 7001 // that the socket is connected to
	otherPort   = 7002 // of another program's
	ownPort     = 7003 // of a listener of ours on address 127.0.1.1, that leads elsewhere in its name
	closedPort  = 7004
)

// A socket that is handed out is for its connection, and for nothing else.
func TestHandedSocket(t *testing.T) {
	e := open(t)
	ctx := context.Background()
	b := probing(t, "victim")
	b.Listen = []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.1.1:%d", ownPort))}
	out, in := io.Pipe()
	b.Command.Stdout = in
	victim, err := e.Start(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { victim.Kill(executor.CausePolicy, ""); <-victim.Done() }()
	visits := make(chan string, 16)
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the victim says %q, %v", lines.Text(), lines.Err())
	}
	go func() {
		for lines.Scan() {
			visits <- lines.Text()
		}
	}()
	go func() {
		if c, err := victim.Listeners()[0].Accept(); err == nil {
			visits <- "a connection in the victim's name"
			c.Close()
		}
	}()

	holder := newHolder(t, e, false)
	granted := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), grantedPort)
	locked := func() *net.TCPConn {
		c, err := victim.Hand(ctx, granted)
		if err != nil {
			t.Fatalf("%v; the victim: %+v", err, victim.Exit())
		}
		return c.(*net.TCPConn)
	}

	// Without the lock the socket is a way in: if it was not, the rest would show nothing.
	free, err := victim.Dial(ctx, granted)
	if err != nil {
		t.Fatal(err)
	}
	if got := holder.does("reconnect other", free.(*net.TCPConn)); got != "connected" {
		t.Errorf("a socket without a lock, connected anew: %q, want this to work", got)
	}
	if got := <-visits; got != "visited" {
		t.Errorf("the victim says %q", got)
	}

	for _, tt := range []struct{ trick, want string }{
		{"use", "echoed"},
		{"reconnect granted", "i/o timeout"}, {"reconnect other", "i/o timeout"}, {"reconnect own", "i/o timeout"},
		{"reconnect closed", "i/o timeout"}, // as if there was something
		{"reconnect again and again", "i/o timeout"},
		{"fast open", "no answer"}, {"fast open, connecting", "no answer"},
		{"bind", "invalid argument"}, {"bind, allowing reuse", "invalid argument"},
		{"detach the filter", "operation not permitted"}, {"unlock the filter", "operation not permitted"},
		{"attach a filter", "protocol not available"}, {"repair", "protocol not available"},
		{"tls", "protocol not available"}, {"mptcp", "protocol not available"},
		{"sendfile", "invalid argument"}, {"sendfile to a pipe", "invalid argument"}, {"splice in", "invalid argument"}, {"splice out", "invalid argument"},
		{"map what comes", "protocol not available"}, {"send by reference", "protocol not available"}, {"reserve memory", "protocol not available"},
		{"count what was dropped", "protocol not available"}, {"name the network", "protocol not available"}, {"open the network", "operation not permitted"},
		{"set the loopback down", "operation not permitted"}, {"add an address", "operation not permitted"}, {"another device", "no such device"},
	} {
		if got := holder.does(tt.trick, locked()); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.trick, got, tt.want)
		}
	}

	// It listens on the port that it has, and nobody gets there.
	c := locked()
	at := c.LocalAddr().(*net.TCPAddr).AddrPort()
	if got := holder.does("listen", c); got != "listens" {
		t.Errorf("listen: %q", got)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c, err := victim.Dial(short, at); err == nil {
		t.Error("a connection to a socket that was dissolved and listens")
		c.Close()
	}
	select {
	case got := <-visits:
		t.Errorf("the victim says %q", got)
	default:
	}

	// Many at a time, and their ends, leave ports for more.
	for range 3 {
		var all []net.Conn
		for range 200 {
			all = append(all, locked())
		}
		for _, c := range all {
			c.Close()
		}
	}

	// A program whose spec says so has the calls.
	other := newHolder(t, e, true)
	if got := other.does("sendfile", locked()); got != "sent" {
		t.Errorf("sendfile elsewhere: %q", got)
	}
	if _, err := victim.Hand(ctx, netip.MustParseAddrPort("[::1]:7001")); err == nil {
		t.Error("handed a socket of IPv6")
	}
}

// holder is a program that is handed sockets.
type holder struct {
	t *testing.T
	c *net.UnixConn
	r *bufio.Reader
}

func newHolder(t *testing.T, e executor.Executor, sendfile bool) *holder {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o711)
	}
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	os.Chmod(path, 0o666)
	spec := probing(t, "holder")
	spec.Sendfile = sendfile
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountSocket, Source: path, Target: "/run/s"})
	p, err := e.Start(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(executor.CausePolicy, ""); <-p.Done() })
	l.SetDeadline(time.Now().Add(time.Minute))
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	return &holder{t, c, bufio.NewReader(c)}
}

// does hands c over and returns what came of a trick with it.
func (h *holder) does(trick string, c *net.TCPConn) string {
	h.t.Helper()
	f, err := c.File()
	if err != nil {
		h.t.Fatal(err)
	}
	c.Close()
	_, _, err = h.c.WriteMsgUnix([]byte(trick+"\n"), unix.UnixRights(int(f.Fd())), nil)
	f.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	answer, err := h.r.ReadString('\n')
	if err != nil {
		h.t.Fatalf("%s: %v", trick, err)
	}
	return strings.TrimSpace(answer)
}

// victim listens on a port that others were granted, and on one that they were not.
func victim([]string) int {
	other, err := net.Listen("tcp", fmt.Sprintf(":%d", otherPort))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		for {
			if c, err := other.Accept(); err == nil {
				fmt.Println("visited")
				c.Close()
			}
		}
	}()
	granted, err := net.Listen("tcp", fmt.Sprintf(":%d", grantedPort))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	for {
		c, err := granted.Accept()
		if err != nil {
			return 1
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// tricker gets sockets, and tries on each what it is told.
func tricker([]string) int {
	// Calls that have a time limit are not begun again after a signal (signal(7)), and Go's runtime sends itself SIGURG.
	runtime.LockOSThread()
	urgent := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGURG - 1)}}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	c, err := net.Dial("unix", "/run/s")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		b, oob := make([]byte, 256), make([]byte, 256)
		n, oobn, _, _, err := c.(*net.UnixConn).ReadMsgUnix(b, oob)
		if err != nil {
			return 0
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return 1
		}
		fmt.Fprintln(c, trick(strings.TrimSpace(string(b[:n])), fds[0]))
	}
}

func trick(name string, s int) string {
	unix.SetNonblock(s, false)
	unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 300_000})
	unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000})
	target := func(port int, last ...byte) *unix.SockaddrInet4 {
		addr := [4]byte{127, 0, 0, 1}
		if last != nil {
			addr = [4]byte{127, 0, last[0], last[1]}
		}
		return &unix.SockaddrInet4{Port: port, Addr: addr}
	}
	reconnect := func(to *unix.SockaddrInet4) string {
		if err := linux.Dissolve(s); err != nil {
			return "dissolve: " + err.Error()
		}
		err := unix.Connect(s, to)
		if errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETIMEDOUT) {
			return "i/o timeout"
		}
		return said(err, "connected")
	}
	option := func(level, option, value int) string { return said(unix.SetsockoptInt(s, level, option, value), "set") }
	pipe := func() (r, w int) {
		var p [2]int
		unix.Pipe(p[:])
		return p[0], p[1]
	}
	switch name {
	case "use":
		if _, err := unix.Write(s, []byte("hello")); err != nil {
			return err.Error()
		}
		b := make([]byte, 16)
		if n, err := unix.Read(s, b); err != nil || string(b[:n]) != "hello" {
			return fmt.Sprint(n, err)
		}
		return "echoed"
	case "reconnect granted":
		return reconnect(target(grantedPort))
	case "reconnect other":
		return reconnect(target(otherPort))
	case "reconnect own":
		return reconnect(target(ownPort, 1, 1))
	case "reconnect closed":
		return reconnect(target(closedPort))
	case "reconnect again and again":
		got := ""
		for range 4 {
			if got = reconnect(target(otherPort)); got != "i/o timeout" {
				return got
			}
		}
		return got
	case "fast open":
		linux.Dissolve(s)
		unix.Sendto(s, []byte("GET / HTTP/1.0\r\n\r\n"), unix.MSG_FASTOPEN, target(otherPort))
		return answered(s)
	case "fast open, connecting":
		linux.Dissolve(s)
		unix.SetsockoptInt(s, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
		unix.Connect(s, target(otherPort))
		unix.Write(s, []byte("GET / HTTP/1.0\r\n\r\n"))
		return answered(s)
	case "bind":
		linux.Dissolve(s)
		return said(unix.Bind(s, target(7100)), "bound")
	case "bind, allowing reuse":
		linux.Dissolve(s)
		unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		return said(unix.Bind(s, target(otherPort)), "bound")
	case "listen":
		linux.Dissolve(s)
		return said(unix.Listen(s, 5), "listens")
	case "detach the filter":
		return option(unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	case "unlock the filter":
		return option(unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 0)
	case "attach a filter":
		accept := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}}
		return said(unix.SetsockoptSockFprog(s, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &accept[0]}), "attached")
	case "repair":
		return option(unix.SOL_TCP, unix.TCP_REPAIR, 1)
	case "tls", "mptcp":
		return said(unix.SetsockoptString(s, unix.SOL_TCP, unix.TCP_ULP, name), "set")
	case "sendfile":
		f, err := os.Open("/proc/self/exe")
		if err != nil {
			return err.Error()
		}
		_, err = unix.Sendfile(s, int(f.Fd()), nil, 100)
		return said(err, "sent")
	case "sendfile to a pipe":
		_, w := pipe()
		unix.Write(s, []byte("hello"))
		_, err := unix.Sendfile(w, s, nil, 5)
		return said(err, "sent")
	case "splice in":
		r, w := pipe()
		unix.Write(w, []byte("hello"))
		_, err := unix.Splice(r, nil, s, nil, 5, 0)
		return said(err, "spliced")
	case "splice out":
		_, w := pipe()
		unix.Write(s, []byte("hello"))
		_, err := unix.Splice(s, nil, w, nil, 5, 0)
		return said(err, "spliced")
	case "map what comes":
		_, err := unix.GetsockoptInt(s, unix.SOL_TCP, unix.TCP_ZEROCOPY_RECEIVE)
		return said(err, "mapped")
	case "send by reference":
		return option(unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1)
	case "reserve memory":
		return option(unix.SOL_SOCKET, unix.SO_RESERVE_MEM, 1<<20)
	case "count what was dropped":
		_, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MEMINFO)
		return said(err, "counted")
	case "name the network":
		_, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return said(err, "named")
	case "open the network":
		_, err := unix.IoctlRetInt(s, unix.SIOCGSKNS)
		return said(err, "opened")
	case "set the loopback down":
		ifr, _ := unix.NewIfreq("lo")
		return said(unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr), "down")
	case "add an address":
		ifr, _ := unix.NewIfreq("lo")
		ifr.SetInet4Addr([]byte{127, 9, 9, 9})
		return said(unix.IoctlIfreq(s, unix.SIOCSIFADDR, ifr), "added")
	case "another device":
		return said(unix.BindToDevice(s, "eth0"), "bound")
	}
	return "no trick"
}

// answered tells whether something comes from whoever s is connected to.
func answered(s int) string {
	if n, err := unix.Read(s, make([]byte, 16)); err == nil {
		return fmt.Sprint(n, " bytes")
	}
	if _, err := unix.Getpeername(s); err == nil {
		return "connected"
	}
	return "no answer"
}

func said(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}
