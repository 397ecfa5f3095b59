package linux

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// SendFDs writes head and, with its first byte, the descriptors fds to the Unix
// stream socket f. A short write is an error. It waits while the socket is full.
func SendFDs(f *os.File, head []byte, fds []int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for len(head) > 0 {
		var n int
		var serr error
		err = raw.Write(func(fd uintptr) bool {
			n, serr = unix.SendmsgN(int(fd), head, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			return serr != unix.EAGAIN
		})
		if err = errors.Join(err, serr); err != nil {
			return fmt.Errorf("send a message: %w", err)
		}
		head, oob = head[n:], nil
	}
	return nil
}

// RecvFDs fills head from the Unix stream socket f and returns the descriptors
// that came with it, close-on-exec. On error they are closed.
func RecvFDs(f *os.File, head []byte) ([]int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fds []int
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	for len(head) > 0 {
		var n, oobn, flags int
		var rerr error
		err = raw.Read(func(fd uintptr) bool {
			n, oobn, flags, _, rerr = unix.Recvmsg(int(fd), head, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
			return rerr != unix.EAGAIN
		})
		err = errors.Join(err, rerr)
		if err == nil {
			fds = append(fds, parseFDs(oob[:oobn])...)
			if flags&unix.MSG_CTRUNC != 0 {
				err = errors.New("descriptors were lost")
			} else if n == 0 {
				err = io.EOF
			}
		}
		if err != nil {
			CloseFDs(fds)
			return nil, err
		}
		head = head[n:]
	}
	return fds, nil
}

// CloseFDs closes them all.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
