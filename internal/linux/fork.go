package linux

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxForks bounds what [Forks] makes.
const maxForks = 256

// Forks forks idle children until there are most of them, or the kernel refuses one,
// and ends them again. It returns how many there were, and the refusal.
//
// While they live nothing else of this process's Go runtime may want a thread,
// which it could not get and would not survive: so all of it is done on one thread
// that the runtime cannot interrupt.
//
// Source: clone(2); not clone3, which filters of system calls cannot look into.
func Forks(most int) (int, error) {
	if most > maxForks {
		return 0, fmt.Errorf("%d forks: at most %d", most, maxForks)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var pids [maxForks]uintptr
	n, errno := forks(&pids, most)
	if errno != 0 {
		return n, fmt.Errorf("fork: %w", unix.Errno(errno))
	}
	return n, nil
}

// forks has every signal blocked, in the children too: a handler of the Go runtime
// must not run there, and its signals would take the thread away here.
//
//go:nosplit
//go:norace
//go:noinline
func forks(pids *[maxForks]uintptr, most int) (n int, errno uintptr) {
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	for n < most {
		r, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e != 0 {
			errno = uintptr(e)
			break
		}
		if r == 0 {
			for {
				syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		pids[n] = r
		n++
	}
	for i := 0; i < n; i++ {
		syscall.RawSyscall6(unix.SYS_KILL, pids[i], uintptr(unix.SIGKILL), 0, 0, 0, 0)
	}
	for i := 0; i < n; i++ {
		syscall.RawSyscall6(unix.SYS_WAIT4, pids[i], 0, 0, 0, 0, 0)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return n, errno
}
