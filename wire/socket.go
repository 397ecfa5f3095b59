package wire

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// Blocking takes nc over as a file whose reader is a thread that waits in the
// kernel. Both ends of a wire connection are used like this, and not through the
// runtime's poller, which asks the kernel for both directions: a Unix socket
// reports that it can be written to whenever its peer has read something, so
// every frame sent would wake the sender once more, for nothing.
//
// nc is closed in any case. To interrupt a reader, shut the socket down.
func Blocking(nc *net.UnixConn) (*os.File, error) {
	defer nc.Close()
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
