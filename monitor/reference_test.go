package monitor

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSentIsACopy: sendfile(2) sends memory by reference. What its program writes there
// afterwards, when its connection may be cut and its label another one, is not to be seen at
// the other end, which looks without taking.
func TestSentIsACopy(t *testing.T) {
	l := newLab(t, bank())
	l.sendfile = true
	_, _, _, near, far := relayPairOf(l)
	for name, ends := range map[string][2]*net.TCPConn{"what is asked": {near, far}, "what is answered": {far, near}} {
		t.Run(name, func(t *testing.T) {
			from, to := ends[0], ends[1]
			fd, err := unix.MemfdCreate("sent", unix.MFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			before, after := bytes.Repeat([]byte("a"), 4096), bytes.Repeat([]byte("b"), 4096)
			if _, err := unix.Pwrite(fd, before, 0); err != nil {
				t.Fatal(err)
			}
			sendFile(t, from, fd, len(before))
			if got := peek(t, to, len(before)); !bytes.Equal(got, before) {
				t.Fatalf("got %.16q…, want what was sent", got)
			}
			if _, err := unix.Pwrite(fd, after, 0); err != nil {
				t.Fatal(err)
			}
			if got := peek(t, to, len(before)); !bytes.Equal(got, before) {
				t.Errorf("got %.16q…: what was written after it was sent", got)
			}
		})
	}

	// The kernel does it, where nothing is between: otherwise this shows nothing.
	from, to := tcpPair(t)
	fd, err := unix.MemfdCreate("sent", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Pwrite(fd, []byte("a"), 0)
	sendFile(t, from, fd, 1)
	peek(t, to, 1)
	unix.Pwrite(fd, []byte("b"), 0)
	if got := peek(t, to, 1); string(got) != "b" {
		t.Errorf("got %q on a direct connection: this kernel copies, and the test above shows nothing", got)
	}
}

func sendFile(t testing.TB, c *net.TCPConn, fd, n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var offset int64
	var sendErr error
	raw.Write(func(to uintptr) bool {
		_, sendErr = unix.Sendfile(int(to), fd, &offset, n-int(offset))
		return sendErr != unix.EAGAIN && (sendErr != nil || int(offset) == n)
	})
	if sendErr != nil {
		t.Fatalf("sendfile: %v", sendErr)
	}
}

// peek waits for n bytes and leaves them where they are.
func peek(t testing.TB, c *net.TCPConn, n int) []byte {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	var got int
	var readErr error
	if err := raw.Read(func(fd uintptr) bool {
		got, _, readErr = unix.Recvfrom(int(fd), b, unix.MSG_PEEK)
		return readErr != unix.EAGAIN && (readErr != nil || got == n)
	}); err != nil || readErr != nil || got != n {
		t.Fatalf("peek: %d bytes, %v %v", got, err, readErr)
	}
	return b
}
