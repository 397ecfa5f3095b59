package namespace

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel says of both ends of a connection in our own network.
func TestUnread(t *testing.T) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		t.Fatal(err)
	}
	d := &diag{fd: fd}
	defer d.close()
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", network)
		if err != nil {
			t.Logf("%s: %v", network, err)
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ours, theirs, err := endsOf(c)
		if err != nil {
			t.Fatal(err)
		}
		want := func(when string, want int) {
			t.Helper()
			if n, err := d.unread(theirs, ours); n != want || err != nil {
				t.Errorf("%s, %s: %d unread, %v, want %d", network, when, n, err, want)
			}
		}
		want("before anything", 0)
		c.Write([]byte("hello"))
		want("not accepted yet", 5)
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		want("accepted", 5)
		s.Read(make([]byte, 2))
		want("a part is read", 3)
		c.(*net.TCPConn).CloseWrite()
		want("nothing more comes", 3)
		s.Read(make([]byte, 3))
		want("all is read", 0)
		s.Close()
		if n, err := d.unread(theirs, netip.AddrPortFrom(ours.Addr(), 1)); err == nil {
			t.Errorf("of a connection that is none: %d unread", n)
		}
	}
}

func FuzzUnreadIn(f *testing.F) {
	good := make([]byte, diagSize)
	binary.NativeEndian.PutUint16(good[4:], diagByIDs)
	binary.NativeEndian.PutUint32(good[8:], 7)
	binary.BigEndian.PutUint16(good[diagPort:], 80)
	f.Add(good, uint32(7), uint16(80))
	f.Add(good[:20], uint32(7), uint16(80))
	f.Fuzz(func(t *testing.T, b []byte, number uint32, from uint16) {
		n, err := unreadIn(b, number, from)
		if n < 0 || err != nil && n != 0 {
			t.Errorf("unreadIn = %d, %v", n, err)
		}
	})
}
