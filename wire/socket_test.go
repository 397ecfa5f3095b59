package wire

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// A connection of which no socket can be made, for it is closed already or there
// are no descriptors left, is an error and nothing worse.
func TestNewSocketFails(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "socketpair")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if s, err := NewSocket(nc.(*net.UnixConn)); err == nil {
		s.Close()
		t.Error("NewSocket of a closed connection is no error")
	}
}
