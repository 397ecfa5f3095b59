package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of arch_prctl(2).
const (
	archSetFS = 0x1002
	archGetFS = 0x1003
)

// threadPointer is that of the calling thread, 0 if it matters to nobody: close to it lies what a C
// library has told the kernel to write to, rseq(2).
func threadPointer() (fs uintptr) {
	unix.RawSyscall(unix.SYS_ARCH_PRCTL, archGetFS, uintptr(unsafe.Pointer(&fs)), 0)
	return fs
}

// ownTLS gives the child a place of its own for what the compiler keeps below the thread
// pointer: its parent's was in memory that it does not have. A call of assembly reads it,
// to no effect here.
func (s *Script) ownTLS() {
	s.born.Add("set the thread pointer", unix.SYS_ARCH_PRCTL, archSetFS, uintptr(unsafe.Pointer(&s.a.tls))+unsafe.Sizeof(s.a.tls))
}
