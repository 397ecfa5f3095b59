package linux

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LandlockABI is the version of Landlock that the kernel offers, 0 if none.
//
// Source: landlock(7).
func LandlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// LandlockError says why the kernel offers none: EOPNOTSUPP if it was not switched
// on, ENOSYS if it was not built in; nil if it does.
//
// Source: landlock(7).
func LandlockError() error {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		return errno
	}
	return nil
}

// LandlockRuleset are the bytes of a struct landlock_ruleset_attr.
type LandlockRuleset struct {
	HandledFS, HandledNet, Scoped uint64
}

// Bytes is the structure as the kernel reads it, cut to what abi knows.
func (r LandlockRuleset) Bytes(abi int) []byte {
	b := make([]byte, 24)
	*(*LandlockRuleset)(unsafe.Pointer(&b[0])) = r
	switch {
	case abi >= 6:
		return b
	case abi >= 4:
		return b[:16]
	default:
		return b[:8]
	}
}

// LandlockBeneath are the bytes of a struct landlock_path_beneath_attr whose
// parent_fd, at offset 8, is to be filled in.
func LandlockBeneath(access uint64) []byte {
	b := make([]byte, 12)
	*(*uint64)(unsafe.Pointer(&b[0])) = access
	return b
}

// maxLandlockLayers is how many domains a thread can be in, one within the other.
const maxLandlockLayers = 16

// LandlockRoom is how many further domains a thread of ours can be put into: 16 for
// one that is in none, 0 without Landlock. It tries, on a thread that ends with it.
//
// Source: landlock(7).
func LandlockRoom() int {
	room := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: what is restricted ends here
		room <- landlockRoom()
	}()
	return <-room
}

func landlockRoom() int {
	if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != nil {
		return 0
	}
	attr := LandlockRuleset{HandledFS: unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK}.Bytes(1)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)), 0)
	if errno != 0 {
		return 0
	}
	defer unix.Close(int(fd))
	for n := range maxLandlockLayers {
		if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
			return n
		}
	}
	return maxLandlockLayers
}
