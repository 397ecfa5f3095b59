package spawner

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openNetworks makes networks, and the thread that visits them.
func openNetworks(t *testing.T) (*visitor, *networks) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to make network namespaces")
	}
	v, err := newVisitor()
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNetworks(v, 1, networkMaker(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return v, n
}

// TestUntouched does in a network namespace what a program can do, and has it told from one that
// nobody was in.
func TestUntouched(t *testing.T) {
	v, n := openNetworks(t)
	socket := func(family, kind int) (int, error) { return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0) }
	to4 := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
	to6 := &unix.SockaddrInet6{Port: 9, Addr: [16]byte{15: 1}}
	for name, tt := range map[string]struct {
		do   func() error
		same bool
	}{
		"nothing": {func() error { return nil }, true},
		"a socket that was never used": {func() error {
			s, err := socket(unix.AF_INET, unix.SOCK_STREAM)
			unix.Close(s)
			return err
		}, true},
		"a datagram": {func() error {
			s, err := socket(unix.AF_INET, unix.SOCK_DGRAM)
			if err == nil {
				err = unix.Sendto(s, []byte("x"), 0, to4)
			}
			unix.Close(s)
			return err
		}, false},
		"a datagram of version 6": {func() error {
			s, err := socket(unix.AF_INET6, unix.SOCK_DGRAM)
			if err == nil {
				err = unix.Sendto(s, []byte("x"), 0, to6)
			}
			unix.Close(s)
			return err
		}, false},
		"a connection refused": {func() error {
			s, err := socket(unix.AF_INET, unix.SOCK_STREAM)
			if err == nil {
				unix.Connect(s, to4)
			}
			unix.Close(s)
			return err
		}, false},
		"a connection to nowhere": {func() error {
			s, err := socket(unix.AF_INET, unix.SOCK_STREAM)
			if err == nil {
				unix.Connect(s, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 1, 1, 1}})
			}
			unix.Close(s)
			return err
		}, false},
		"a connection": {func() error {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			s, err := socket(unix.AF_INET, unix.SOCK_STREAM)
			if err == nil {
				err = unix.Connect(s, &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}})
			}
			unix.Close(s)
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := n.make()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := v.network(fd, tt.do); err != nil {
				t.Fatal(err)
			}
			// The kernel counts its own sockets, and ours, a while after their end.
			same := false
			for deadline := time.Now().Add(5 * time.Second); !same && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				if same = n.untouched(fd); same != tt.same && !tt.same {
					break
				}
				if !tt.same && time.Until(deadline) < 4*time.Second {
					break
				}
			}
			if same != tt.same {
				t.Errorf("untouched is %v, want %v", same, tt.same)
			}
		})
	}
	t.Run("a socket that is held", func(t *testing.T) {
		fd, err := n.make()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		held := -1
		v.network(fd, func() (err error) { held, err = socket(unix.AF_UNIX, unix.SOCK_STREAM); return err })
		defer unix.Close(held)
		time.Sleep(50 * time.Millisecond)
		if n.untouched(fd) {
			t.Error("with a socket in it, a network is as good as fresh")
		}
	})
}

// BenchmarkUntouched is what it costs to find out.
func BenchmarkUntouched(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: to make network namespaces")
	}
	v, err := newVisitor()
	if err != nil {
		b.Fatal(err)
	}
	n, err := newNetworks(v, 1, networkMaker(true))
	if err != nil {
		b.Fatal(err)
	}
	defer n.close()
	fd, err := n.make()
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	for !n.untouched(fd) {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		n.untouched(fd)
	}
}
