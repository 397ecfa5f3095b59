package executortest

import "golang.org/x/sys/unix"

// creat is what libraries make of creat(2) here.
func creat(path string, mode uint32) error {
	_, err := unix.Creat(path, mode)
	return err
}
