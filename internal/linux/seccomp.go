package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SeccompError says why the kernel has no filters of system calls that can refuse
// and kill; nil if it has.
//
// Source: seccomp(2), SECCOMP_GET_ACTION_AVAIL of Linux 4.14.
func SeccompError() error {
	for _, action := range []uint32{unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_KILL_PROCESS} {
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
			return fmt.Errorf("seccomp action %#x: %w", action, errno)
		}
	}
	return nil
}
