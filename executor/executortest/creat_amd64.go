package executortest

import "golang.org/x/sys/unix"

// creat is creat(2), an older form that newer architectures lack.
func creat(path string, mode uint32) error { return raw0(unix.SYS_CREAT, path, mode) }
