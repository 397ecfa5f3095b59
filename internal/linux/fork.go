package linux

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ForkIdle makes a child, a copy of this process with one thread, that waits until
// it is killed. The caller kills it and waits for it.
//
// Source: clone(2); not clone3, which filters of system calls cannot look into.
func ForkIdle() (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := forkIdle()
	if errno != 0 {
		return 0, fmt.Errorf("fork: %w", unix.Errno(errno))
	}
	return int(pid), nil
}

// forkIdle blocks every signal meanwhile: a handler of the Go runtime must not run
// in the child, which never leaves it.
//
//go:nosplit
//go:norace
//go:noinline
func forkIdle() (pid, errno uintptr) {
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	r, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e == 0 && r == 0 {
		for {
			syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return r, uintptr(e)
}
