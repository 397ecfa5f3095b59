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

// WriteNow writes to a stream socket what it has room for, as [ReadNow] reads.
//
// Source: send(2).
func WriteNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_SENDTO, fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
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
