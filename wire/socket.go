package wire

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"cofferdam/internal/linux"
)

// Socket is an end of a wire connection. One at a time reads; anybody writes.
//
// The runtime's poller asks the kernel for both directions of what it watches,
// and a Unix socket reports that it can be written to whenever its peer has read
// something: every frame sent would wake the sender once more, for nothing. So
// the poller does not watch the socket but an epoll(7) instance of its own, which
// asks for input alone.
type Socket struct {
	f   *os.File // the socket; non-blocking, and os.File does not know
	raw syscall.RawConn
	in  *os.File // the epoll instance
	ep  syscall.RawConn

	// What the reader reads into and what came of it: here, so that a read does
	// not allocate.
	buf  []byte
	n    int
	err  error
	take func(uintptr)
	look func(uintptr) bool
}

// NewSocket takes nc over, which is closed in any case.
func NewSocket(nc *net.UnixConn) (_ *Socket, err error) {
	defer nc.Close()
	s := &Socket{}
	s.take, s.look = s.receive, s.received
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.f, err = duplicate(nc); err != nil {
		return nil, err
	}
	if s.raw, err = s.f.SyscallConn(); err != nil {
		return nil, err
	}
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err = syscall.SetNonblock(ep, true); err != nil {
		syscall.Close(ep)
		return nil, err
	}
	s.in = os.NewFile(uintptr(ep), "epoll")
	if s.ep, err = s.in.SyscallConn(); err != nil {
		return nil, err
	}
	if ctlErr := s.raw.Control(func(fd uintptr) {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP}
		if err = syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, int(fd), &event); err == nil {
			err = syscall.SetNonblock(int(fd), true)
		}
	}); ctlErr != nil {
		return nil, ctlErr
	}
	return s, err
}

// duplicate makes a blocking file of nc, which the poller leaves alone.
func duplicate(nc *net.UnixConn) (*os.File, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dup uintptr
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		dup, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, fmt.Errorf("duplicate a socket: %w", errno)
	}
	if err := syscall.SetNonblock(int(dup), false); err != nil {
		syscall.Close(int(dup))
		return nil, fmt.Errorf("make a socket blocking: %w", err)
	}
	return os.NewFile(dup, "wire"), nil
}

// Read reads what there is, once there is something. It returns
// os.ErrDeadlineExceeded if it was disturbed meanwhile or before, until Calm.
func (s *Socket) Read(b []byte) (int, error) {
	s.buf, s.n, s.err = b, 0, nil
	err := s.ep.Read(s.look)
	s.buf = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// received reports whether there was something to receive, be it an end.
func (s *Socket) received(uintptr) bool {
	if err := s.raw.Control(s.take); err != nil {
		s.err = err
	}
	return s.err != syscall.EAGAIN
}

func (s *Socket) receive(fd uintptr) {
	s.n, s.err = linux.ReadNow(int(fd), s.buf)
}

// Disturb makes the one who reads, or who reads next, look up; Calm is for them
// to call then.
func (s *Socket) Disturb() { s.in.SetReadDeadline(time.Unix(1, 0)) }

// Calm takes back what Disturb did.
func (s *Socket) Calm() { s.in.SetReadDeadline(time.Time{}) }

// Try writes what the peer has room for and returns how much that was. It never
// waits.
func (s *Socket) Try(b []byte) (n int, err error) {
	if ctlErr := s.raw.Control(func(fd uintptr) {
		for n < len(b) && err == nil {
			var m int
			m, err = linux.WriteNow(int(fd), b[n:])
			n += m
		}
	}); ctlErr != nil {
		return n, ctlErr
	}
	if err == syscall.EAGAIN {
		err = nil
	}
	return n, err
}

// How often a writer looks whether the peer has made room: soon, and less and
// less often while it has not.
const (
	FirstLook = 20 * time.Microsecond
	LastLook  = 20 * time.Millisecond
)

// Write writes all of b, and waits for the peer to read it.
func (s *Socket) Write(b []byte) (int, error) {
	done := 0
	for pause := FirstLook; ; pause = min(2*pause, LastLook) {
		n, err := s.Try(b[done:])
		done += n
		if err != nil || done == len(b) {
			return done, err
		}
		if n > 0 {
			pause = FirstLook
		}
		time.Sleep(pause)
	}
}

// Control gives the descriptor to f, for questions about the peer.
func (s *Socket) Control(f func(fd uintptr)) error { return s.raw.Control(f) }

// Close ends the connection, also for who reads from it now. Closing twice is
// no error.
func (s *Socket) Close() {
	if s.raw != nil {
		s.raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
	if s.in != nil {
		s.in.Close() // who reads gets os.ErrClosed
	}
	if s.f != nil {
		s.f.Close()
	}
}
