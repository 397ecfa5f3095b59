package linux

import (
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
