package sdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"cofferdam/wire"
)

// SocketVariable names the environment variable that holds the path of the
// monitor's socket.
const SocketVariable = "COFFERDAM_SOCKET"

// Identity is who an environment is.
type Identity = wire.Identity

// Client is a connection to the monitor, for all that there is to ask of it, and for
// serving, at once. It is safe for concurrent use.
//
// Whoever sends writes its frame itself, under writing. Who reads is said in
// lead.go. Of the two locks none is taken while the other is held.
type Client struct {
	socket *wire.Socket
	self   Identity
	closed chan struct{} // closed when the connection has ended

	dials   dials
	writing sync.Mutex
	scratch []byte // guarded by writing

	r       *wire.Reader // used by the leader only
	callers callers      // used by the leader only

	mu     sync.Mutex
	led    bool  // there is a leader
	err    error // why the connection has ended
	lastID uint64
	asked  map[uint64]*asked // unanswered requests of ours
	server *server           // nil until Serve
}

// asked is who asked.
type asked struct {
	answer  chan reply // has room for two: to lead, and the end
	waiting bool       // only for answer, so that it could lead
	certain bool       // the end comes, even after a cancel
}

// reply ends a request: with a code, a body and what it told before that, or with
// err. Or it ends nothing, and makes the one who waits for it the leader.
type reply struct {
	code wire.Code
	told *wire.Told // nil for nothing
	body []byte
	err  error
	lead bool

	after time.Duration // of Limited
}

// tells is what r told.
func (r reply) tells() wire.Told {
	if r.told == nil {
		return wire.Told{}
	}
	return *r.told
}

// Connect connects to the monitor of the environment that the program runs in.
// It is an error if COFFERDAM_SOCKET is not set: then it runs in none.
func Connect(ctx context.Context) (*Client, error) {
	path := os.Getenv(SocketVariable)
	if path == "" {
		return nil, errors.New("connect to the monitor: " + SocketVariable + " is not set: not inside an environment")
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	return NewClient(ctx, nc.(*net.UnixConn))
}

// NewClient talks to a monitor over a connection made elsewhere, which it owns
// from now on. It asks the monitor who we are and fails if that fails.
func NewClient(ctx context.Context, nc *net.UnixConn) (*Client, error) {
	nc.SetWriteBuffer(sendBytes) // as far as the host lets us
	socket, err := wire.NewSocket(nc)
	if err != nil {
		return nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	if err := socket.Hang(); err != nil {
		socket.Close()
		return nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	c := &Client{
		socket: socket,
		closed: make(chan struct{}),
		r:      wire.NewReader(socket),
		asked:  make(map[uint64]*asked),
	}
	body, err := c.request(ctx, wire.OpHello, "", nil)
	if err == nil {
		c.self, err = wire.ParseIdentity(body)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to the monitor: hello: %w", err)
	}
	return c, nil
}

// sendBytes is how much may be on its way to the monitor: a large body that has to wait for
// room takes several times as long.
const sendBytes = 512 << 10

// Self is who the monitor says we are. Its Bound must not be changed.
func (c *Client) Self() Identity { return c.self }

// Close ends the connection. What is in flight fails with ErrClosed, and the
// contexts of handlers end. Closing twice is no error.
func (c *Client) Close() error {
	c.end(nil)
	return nil
}

// send writes one frame. The monitor always reads, so it does not
// wait for long.
func (c *Client) send(f *wire.Frame) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(f.Body) <= copyBytes {
		c.scratch = wire.AppendFrame(c.scratch[:0], f)
		return c.socket.Write(c.scratch, nil)
	}
	c.scratch = wire.AppendHead(c.scratch[:0], f, len(f.Body))
	return c.socket.Write(c.scratch, f.Body)
}

// copyBytes is up to where a copy is cheaper than to have the kernel put two parts together.
const copyBytes = 4 << 10

// end ends the connection, for the first reason given.
func (c *Client) end(reason error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = ErrClosed
	if reason != nil {
		c.err = fmt.Errorf("%w: %w", ErrClosed, reason)
	}
	lost := reply{err: fmt.Errorf("%w: %w", ErrInterrupted, c.err)}
	for _, a := range c.asked {
		a.answer <- lost
	}
	c.asked = nil
	if c.server != nil {
		c.server.lose()
	}
	c.mu.Unlock()

	c.dials.close()
	c.socket.Close()
	close(c.closed)
}
