package wire

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"cofferdam/internal/linux"
)

// Socket is an end of a wire connection. One at a time reads; anybody writes.
//
// The runtime's poller has no part in it. It asks the kernel for both directions
// of what it watches, and a Unix socket reports that it can be written to whenever
// its peer has read something, so that every frame sent would wake the sender once
// more; and it looks twice for what is not there before it waits. So who reads
// waits in the kernel, with a thread: Read, of which there is one at a time in a
// program. Who has thousands of connections (the monitor) watches them by
// other means, and takes what there is: Take.
type Socket struct {
	fd    int
	users atomic.Int64 // who uses fd now; and closed, once it is

	heeds bool           // Read looks up when the bell rings; used by who reads
	bell  int            // an eventfd(2), -1 for none
	polls [2]unix.PollFd // here, so that a read does not allocate
}

// closed is added to the users of a socket that nobody may use any more. The last
// of those that do closes the descriptors.
const closed = math.MinInt64 / 2

// NewSocket takes nc over, which is closed in any case. It takes no descriptors.
func NewSocket(nc *net.UnixConn) (*Socket, error) {
	defer nc.Close()
	fd, err := duplicate(nc)
	if err == nil {
		if err = noDescriptors(fd); err == nil {
			return &Socket{fd: fd, bell: -1}, nil
		}
		syscall.Close(fd)
	}
	return nil, err
}

// NoDescriptors has the kernel refuse who sends descriptors (SCM_RIGHTS) on connections to l. One that
// is dropped unseen is closed by who drops it, and that can take long: a socket that lingers, a file
// in memory that is large. Before Linux 6.16 it does nothing.
//
// Source: net/unix/af_unix.c, SO_PASSRIGHTS: what is connected has it from its listener.
func NoDescriptors(l *net.UnixListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	if ctlErr := raw.Control(func(fd uintptr) { err = noDescriptors(int(fd)) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

func noDescriptors(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
	if err == unix.ENOPROTOOPT {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_PASSRIGHTS", err)
}

// duplicate makes a blocking descriptor of nc.
func duplicate(nc *net.UnixConn) (int, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup, dupErr := -1, error(nil)
	if err := raw.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicate a socket: %w", dupErr)
	}
	if err := syscall.SetNonblock(dup, false); err != nil {
		syscall.Close(dup)
		return -1, fmt.Errorf("make a socket blocking: %w", err)
	}
	return dup, nil
}

// enter reports whether fd may be used until leave.
func (s *Socket) enter() bool {
	if s.users.Add(1) > 0 {
		return true
	}
	s.leave()
	return false
}

func (s *Socket) leave() {
	if s.users.Add(-1) != closed || !s.users.CompareAndSwap(closed, 2*closed) {
		return
	}
	syscall.Close(s.fd)
	if s.bell >= 0 {
		syscall.Close(s.bell)
	}
}

// Read reads what there is, once there is something. If it heeds the bell, it returns
// os.ErrDeadlineExceeded when Disturb was called meanwhile or before, until Calm.
func (s *Socket) Read(b []byte) (int, error) {
	if !s.enter() {
		return 0, os.ErrClosed
	}
	defer s.leave()
	for {
		if err := s.wait(); err != nil {
			return 0, err
		}
		n, err := linux.ReadNow(s.fd, b)
		switch {
		case err == unix.EAGAIN:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// wait returns nil once there is something to read, and an error when it is disturbed. A read
// that waits itself would be woken by what its peer reads, too.
func (s *Socket) wait() error {
	s.polls = [...]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLRDHUP}, {Fd: int32(s.bell), Events: unix.POLLIN}}
	polls := s.polls[:1]
	if s.heeds {
		polls = s.polls[:]
	}
	for {
		_, err := unix.Ppoll(polls, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("ppoll", err)
		case s.polls[1].Revents != 0:
			return os.ErrDeadlineExceeded
		default:
			return nil
		}
	}
}

// Hang makes the bell that Heed needs.
func (s *Socket) Hang() (err error) {
	s.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return os.NewSyscallError("eventfd", err)
}

// Heed says whether the reads that follow heed the bell. It is for who reads.
func (s *Socket) Heed(bell bool) { s.heeds = bell }

// Disturb makes the one who reads, or who reads next, look up, if he heeds the bell; Calm is for
// him to call then.
func (s *Socket) Disturb() {
	if s.enter() {
		unix.Write(s.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		s.leave()
	}
}

// Calm takes back what Disturb did.
func (s *Socket) Calm() {
	if s.enter() {
		unix.Read(s.bell, make([]byte, 8))
		s.leave()
	}
}

// Take reads what there is and never waits: it is 0 if there is nothing yet. Unless there
// may be more, there is nothing but what comes from now on.
func (s *Socket) Take(b []byte) (n int, more bool, err error) {
	if !s.enter() {
		return 0, false, os.ErrClosed
	}
	defer s.leave()
	n, more, err = linux.TakeNow(s.fd, b)
	switch {
	case err == unix.EAGAIN:
		return 0, false, nil
	case err == nil && n == 0:
		return 0, false, io.EOF
	}
	return n, more || n == len(b), err
}

// Try writes what the peer has room for of a and then b, and returns how much that
// was. It never waits.
func (s *Socket) Try(a, b []byte) (n int, err error) {
	if !s.enter() {
		return 0, os.ErrClosed
	}
	defer s.leave()
	for n < len(a)+len(b) && err == nil {
		var m int
		switch {
		case len(b) == 0:
			m, err = linux.WriteNow(s.fd, a[n:])
		case n < len(a):
			m, err = linux.WriteBothNow(s.fd, a[n:], b)
		default:
			m, err = linux.WriteNow(s.fd, b[n-len(a):])
		}
		n += m
	}
	if err == unix.EAGAIN {
		err = nil
	}
	return n, err
}

// Write writes all of a and then b, and waits for the peer to read it.
func (s *Socket) Write(a, b []byte) error {
	for {
		n, err := s.Try(a, b)
		if err != nil || n == len(a)+len(b) {
			return err
		}
		of := min(n, len(a))
		a, b = a[of:], b[n-of:]
		if err := s.room(); err != nil {
			return err
		}
	}
}

// room waits until the peer has read.
func (s *Socket) room() error {
	if !s.enter() {
		return os.ErrClosed
	}
	defer s.leave()
	for {
		_, err := unix.Ppoll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, nil, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("ppoll", err)
		}
	}
}

// Control gives the descriptor to f, for questions about the peer.
func (s *Socket) Control(f func(fd int)) error {
	if !s.enter() {
		return os.ErrClosed
	}
	defer s.leave()
	f(s.fd)
	return nil
}

// Close ends the connection, also for who reads from it now. Closing twice is
// no error.
func (s *Socket) Close() {
	if !s.enter() {
		return
	}
	syscall.Shutdown(s.fd, syscall.SHUT_RDWR) // who reads gets io.EOF
	for {
		n := s.users.Load()
		if n < 0 || s.users.CompareAndSwap(n, n+closed) {
			break
		}
	}
	s.leave()
}
