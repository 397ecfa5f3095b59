package canary

import (
	"errors"
	"net"
	"os"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// shownPath is where the canary finds the one socket of the host that it may reach.
// That it can is the control of those that it may not.
const shownPath = "/run/canary"

// Whether an executor says of a connection that it comes from its environment.
const (
	known   = "known"
	unknown = "unknown"
)

// peer takes the canary's connection, which is there by now, and asks p whose it is.
func (b *bait) peer(p executor.Process) (string, error) {
	b.shown.SetDeadline(time.Now().Add(time.Second))
	c, err := b.shown.AcceptUnix()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return whoseIs(c, p)
}

// stranger does that with a connection of the trusted process, which p must not
// take for its own.
func (b *bait) stranger(p executor.Process) (string, error) {
	ours, err := net.DialUnix("unix", nil, b.shown.Addr().(*net.UnixAddr))
	if err != nil {
		return "", err
	}
	defer ours.Close()
	return b.peer(p)
}

// whoseIs asks p with a descriptor of the process that has connected, as the monitor
// does. A kernel without gives no answer, and the protection is not there.
func whoseIs(c *net.UnixConn, p executor.Process) (string, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	var fd int
	var failed error
	if err := raw.Control(func(s uintptr) { fd, failed = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD) }); err != nil {
		return "", err
	}
	if errors.Is(failed, unix.ENOPROTOOPT) {
		return unknown, nil
	}
	if failed != nil {
		return "", failed
	}
	pidfd := os.NewFile(uintptr(fd), "peer")
	defer pidfd.Close()
	owns, err := p.Owns(pidfd)
	if err != nil || !owns {
		return unknown, err
	}
	return known, nil
}
