package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadNow reads from a non-blocking descriptor. It does not tell the Go
// scheduler, which for a call that cannot wait costs more than the call: among
// other things it wakes the thread that looks for calls that take long.
//
// Source: read(2), recv(2).
func ReadNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_RECVFROM, fd, b, unix.MSG_DONTWAIT)
}

// PeekNow is ReadNow of a socket, but what it reads is there afterwards as well.
//
// Source: recv(2).
func PeekNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_RECVFROM, fd, b, unix.MSG_DONTWAIT|unix.MSG_PEEK)
}

// TakeNow is ReadNow of a Unix socket. It reports more if it has stopped before the end of what
// has come, at descriptors, which it drops: nobody has asked for any.
//
// Source: recvmsg(2), unix(7).
func TakeNow(fd int, b []byte) (n int, more bool, err error) {
	iov := unix.Iovec{Base: unsafe.SliceData(b)}
	iov.SetLen(len(b))
	for {
		msg := unix.Msghdr{Iov: &iov}
		msg.SetIovlen(1)
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, false, errno
		}
		return int(n), msg.Flags&unix.MSG_CTRUNC != 0, nil
	}
}

// WriteNow writes to a stream socket what it has room for, as [ReadNow] reads.
//
// Source: send(2).
func WriteNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_SENDTO, fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// EpollNow is how many events there are now, as in epoll_wait(2), of at most len(events).
func EpollNow(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// WriteBothNow writes a and then b, as one, like WriteNow.
//
// Source: sendmsg(2).
func WriteBothNow(fd int, a, b []byte) (int, error) {
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	iov[0].SetLen(len(a))
	iov[1].SetLen(len(b))
	for {
		msg := unix.Msghdr{Iov: &iov[0]}
		msg.SetIovlen(len(iov))
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

func now(nr uintptr, fd int, b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(nr, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// Dissolve ends the connection of a TCP socket at once, for both sides: what was sent and
// not yet delivered is lost, and so is what has come and was not yet read, for
// whoever has the socket.
//
// Source: connect(2), AF_UNSPEC.
func Dissolve(fd int) error {
	var unspecified [16]byte // a struct sockaddr of family 0
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		return errno
	}
	return nil
}
