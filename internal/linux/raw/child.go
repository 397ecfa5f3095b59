package raw

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Outcome is how a system call ended that was made by a child of its own.
type Outcome struct {
	Returned bool // it came back; Errno says with what
	Errno    unix.Errno
	Status   syscall.WaitStatus // of the child, which was killed if it took too long
}

// InChild has a child make the system call nr, which may do to it what it likes. After
// patience the child is killed.
func InChild(patience time.Duration, nr uintptr, args [6]uintptr) (Outcome, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return Outcome{}, fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	pid, errno := forkAndCall(nr, &args, uintptr(pipe[1]))
	unix.Close(pipe[1])
	if errno != 0 {
		return Outcome{}, fmt.Errorf("fork: %w", errno)
	}
	var o Outcome
	fds := []unix.PollFd{{Fd: int32(pipe[0]), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if n, _ := unix.Poll(fds, int(time.Until(end).Milliseconds())+1); n > 0 {
			break
		}
	}
	var got [8]byte
	if fds[0].Revents&unix.POLLIN != 0 {
		n, _ := unix.Read(pipe[0], got[:])
		o.Returned = n == len(got)
		o.Errno = unix.Errno(binary.NativeEndian.Uint64(got[:]))
	}
	if fds[0].Revents == 0 {
		unix.Kill(int(pid), unix.SIGKILL)
	}
	for {
		_, err := unix.Wait4(int(pid), (*unix.WaitStatus)(&o.Status), unix.WALL, nil)
		if err != unix.EINTR {
			return o, err
		}
	}
}

// forkAndCall makes the child. It has one thread, and does nothing that the runtime
// would have to know of.
//
//go:nosplit
//go:norace
//go:noinline
func forkAndCall(nr uintptr, args *[6]uintptr, pipe uintptr) (uintptr, unix.Errno) {
	var result uint64
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	_, _, errno = syscall.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	result = uint64(errno)
	syscall.RawSyscall(unix.SYS_WRITE, pipe, uintptr(unsafe.Pointer(&result)), 8)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
