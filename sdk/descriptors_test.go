package sdk

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// One of two sockets does not come, for there is no room for its descriptor: the other one is not taken for it.
func TestDescriptorThatDoesNotCome(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	var sent []net.Addr
	for range 2 {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, _, err := theirs.WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, c.LocalAddr())
	}
	in := descriptors{nc: ours}
	defer in.close()
	read := func() {
		if n, err := in.Read(make([]byte, 100)); n != 1 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	var before unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}, nil); err != nil {
		t.Fatal(err)
	}
	read()
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	read()
	if c, err := in.next(); err == nil {
		t.Errorf("the first socket is %v, want none", c.LocalAddr())
	}
	c, err := in.next()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.LocalAddr().String() != sent[1].String() {
		t.Errorf("the second socket is %v, want %v", c.LocalAddr(), sent[1])
	}
}

// A connection whose socket has not come is given up, and the monitor is told.
func TestGivenUpWithoutItsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv(SocketVariable, path)
	told := make(chan wire.Frame, 1)
	go func() {
		defer close(told)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		r := wire.NewReader(c)
		asked, err := r.Next()
		if err != nil {
			return
		}
		c.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: asked.ID, Flags: wire.FlagSocket}}))
		if f, err := r.Next(); err == nil && f.ID == asked.ID {
			told <- f
		}
		io.Copy(io.Discard, c)
	}()
	var d dials
	defer d.close()
	if c, err := d.dial(context.Background(), "bank:80", wire.Dial{}); err == nil {
		t.Errorf("connected: %v", c)
	}
	if f := <-told; f.Op != wire.OpCancel {
		t.Errorf("the monitor is told %v, want %v", f.Op, wire.OpCancel)
	}
}
