package link_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

func pair(t testing.TB) (a, b *link.Conn, raw int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = link.NewConn(p[0]), link.NewConn(p[1])
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b, p[0]
}

func TestMessagesAndDescriptors(t *testing.T) {
	a, b, _ := pair(t)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	big := strings.Repeat("x", 1<<20)
	fd := int(f.Fd())
	go func() {
		a.Send(&link.Request{ID: 1, Env: 7, Usage: true}, nil)
		a.Send(&link.Request{ID: 2, Start: &link.Start{Name: big}}, []int{fd, fd})
		a.Send(&link.Request{ID: 3}, nil)
	}()
	for n, wantFDs := range []int{0, 2, 0} {
		var r link.Request
		fds, err := b.Receive(&r)
		if err != nil || r.ID != uint64(n+1) || len(fds) != wantFDs {
			t.Fatalf("message %d: id %d with %d descriptors, %v", n+1, r.ID, len(fds), err)
		}
		if n == 1 && r.Start.Name != big {
			t.Error("a large message came mutilated")
		}
		for _, fd := range fds {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d is inherited: %v", fd, err)
			}
			unix.Close(fd)
		}
	}
}

func TestErrorsCross(t *testing.T) {
	start := link.FromError(&executor.StartError{Path: "/x", Err: syscall.ENOENT}).Err()
	var se *executor.StartError
	if !errors.As(start, &se) || se.Path != "/x" || !errors.Is(start, syscall.ENOENT) {
		t.Errorf("a StartError arrives as %v", start)
	}
	for _, sentinel := range []error{executor.ErrStopped, executor.ErrUnsupported} {
		if err := link.FromError(sentinel).Err(); !errors.Is(err, sentinel) || err.Error() != sentinel.Error() {
			t.Errorf("%v arrives as %v", sentinel, err)
		}
	}
	if link.FromError(nil).Err() != nil {
		t.Error("no error arrives as one")
	}
}

// Whatever comes, Receive returns and reserves no more than it was sent.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		_, to, raw := pair(t)
		unix.Write(raw, b)
		unix.Shutdown(raw, unix.SHUT_WR)
		for {
			var r link.Request
			fds, err := to.Receive(&r)
			if err != nil {
				return
			}
			if len(fds) > 0 {
				t.Errorf("descriptors %v out of nothing", fds)
			}
		}
	})
}
