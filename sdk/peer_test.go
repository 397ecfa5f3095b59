package sdk

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"cofferdam/wire"
)

const patience = 10 * time.Second // after which a test is stuck

// peer is the monitor's end of a connection, played by a test frame by frame.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *wire.Reader
}

func socketpair(t testing.TB) (a, b *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc.(*net.UnixConn)
	}
	return conn(fds[0]), conn(fds[1])
}

// connected returns a client, after its hello, and the peer behind it.
func connected(t testing.TB) (*Client, *peer) {
	ours, theirs := socketpair(t)
	p := &peer{t: t, nc: theirs, r: wire.NewReader(theirs)}
	done := make(chan *Client)
	go func() {
		c, err := NewClient(testContext(t), ours)
		if err != nil {
			t.Errorf("NewClient() = %v", err)
		}
		done <- c
	}()
	f := p.next()
	if f.Op != wire.OpHello {
		t.Fatalf("first frame is a %v, want hello", f.Op)
	}
	self := Identity{Service: "front", Instance: "front-1", Principal: "alice", Bound: []byte("b")}
	p.reply(f.ID, wire.OK, self.Append(nil))
	c := <-done
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return c, p
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serving returns a client that serves handlers, and the channel of what Serve
// returns.
func serving(t testing.TB, ctx context.Context, handlers map[string]Handler) (*Client, *peer, <-chan error) {
	c, p := connected(t)
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, handlers) }()
	f := p.next()
	if f.Op != wire.OpServe {
		t.Fatalf("got a %v, want serve", f.Op)
	}
	p.reply(f.ID, wire.OK, nil)
	return c, p, served
}

// next is the next frame; a view until the one after.
func (p *peer) next() wire.Frame {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	f, err := p.r.Next()
	if err != nil {
		p.t.Fatalf("peer: Next() = %v", err)
	}
	return f
}

func (p *peer) send(f *wire.Frame) { p.sendBytes(wire.AppendFrame(nil, f)) }

func (p *peer) sendBytes(b []byte) {
	p.t.Helper()
	p.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.nc.Write(b); err != nil {
		p.t.Errorf("peer: Write() = %v", err)
	}
}

func (p *peer) reply(id uint64, code wire.Code, body []byte) {
	p.t.Helper()
	p.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: code, ID: id}, Body: body})
}

var alice = Identity{Service: "front", Instance: "front-1", Principal: "alice", Bound: []byte{0, 1}}

func (p *peer) call(id uint64, method string, timeout time.Duration, body []byte) {
	p.t.Helper()
	p.send(&wire.Frame{
		Header:      wire.Header{Op: wire.OpCall, ID: id, Call: id + 1000, Timeout: timeout},
		NameBytes:   []byte(method),
		CallerBytes: alice.Append(nil),
		Body:        body,
	})
}

// wantReply reads a reply and compares it.
func (p *peer) wantReply(id uint64, code wire.Code, body string) {
	p.t.Helper()
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id || f.Code != code || string(f.Body) != body {
		p.t.Errorf("got %v %d %v %.80q, want reply %d %v %.80q", f.Op, f.ID, f.Code, f.Body, id, code, body)
	}
}
