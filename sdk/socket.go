package sdk

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// socket is our end of the connection to the monitor. One at a time reads, and
// can be disturbed.
type socket struct {
	f    *os.File // see wire.Blocking
	wake *os.File // an eventfd: who reads is to look up

	raw [2]syscall.RawConn // of the two
	fds [2]unix.PollFd     // for the one who reads
}

// newSocket takes a connection over. It closes nc in any case.
func newSocket(nc *net.UnixConn) (s *socket, err error) {
	s = &socket{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.f, err = wire.Blocking(nc); err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	s.wake = os.NewFile(uintptr(wake), "eventfd")
	for i, f := range []*os.File{s.f, s.wake} {
		if s.raw[i], err = f.SyscallConn(); err != nil {
			return nil, err
		}
		s.fds[i].Events = unix.POLLIN
	}
	return s, nil
}

// Read reads what there is, once there is something. It returns
// os.ErrDeadlineExceeded, once, if it was disturbed meanwhile or before.
func (s *socket) Read(b []byte) (int, error) {
	var err error
	// Within Control a descriptor stays what it is, even if it is closed.
	closed := s.raw[0].Control(func(fd uintptr) {
		s.fds[0].Fd = int32(fd)
		err = s.raw[1].Control(s.wait)
	})
	switch {
	case closed != nil:
		return 0, closed
	case err != nil:
		return 0, err
	case s.fds[1].Revents != 0:
		var count [8]byte
		if _, err := s.wake.Read(count[:]); err != nil {
			return 0, err
		}
		return 0, os.ErrDeadlineExceeded
	}
	return s.f.Read(b)
}

// wait returns once there is something to read, here or at wakeFD.
func (s *socket) wait(wakeFD uintptr) {
	s.fds[1].Fd = int32(wakeFD)
	for {
		s.fds[0].Revents, s.fds[1].Revents = 0, 0
		if _, err := unix.Poll(s.fds[:], -1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// disturb makes the one who reads, or who reads next, look up.
func (s *socket) disturb() {
	s.wake.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1}) // any number but 0
}

// Write writes all of b. The monitor always reads, so it does not wait for long.
func (s *socket) Write(b []byte) (int, error) { return s.f.Write(b) }

// Close ends the connection, also for who reads from it now.
func (s *socket) Close() {
	for _, f := range []*os.File{s.f, s.wake} {
		if f != nil {
			if raw, err := f.SyscallConn(); err == nil {
				raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
			}
			f.Close()
		}
	}
}
