package seccomp

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var allowedHere []uint32

var watchingHere []uint32

var refusedHere = []uint32{unix.SYS_KEXEC_FILE_LOAD}

var modesHere, opensHere map[uint32]int
