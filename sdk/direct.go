package sdk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// Dial connects to a port of a service, "service:port". Where the manifest says direct: true of
// that, and nothing stands against it, the connection is a [*Conn]: a TCP socket of the other
// environment's, of which the monitor keeps a duplicate. Otherwise it is the same as that of
// [net.Dial], which the monitor relays. In either case the manifest must have {connect: service:port}
// among our uses, and the decision is recorded.
//
// A Conn lasts until it is closed, until c is, or until the monitor ends it; then reading and writing
// fail. What is refused is a [*CallError], as of a call; of a connection that is relayed that is
// one that ends without a byte.
func (c *Client) Dial(ctx context.Context, address string) (net.Conn, error) {
	return c.DialAs(ctx, address, wire.Dial{})
}

// DialFor is Dial in the name of a principal, as [DialFor].
func (c *Client) DialFor(ctx context.Context, address, principal string) (net.Conn, error) {
	if err := checkPrincipal(principal); err != nil {
		return nil, fmt.Errorf("dial %s for %q: %w", address, principal, err)
	}
	return c.DialAs(ctx, address, wire.Dial{Principal: principal})
}

// DialAs is Dial with all that there is to say; a route is the gateway's to name.
func (c *Client) DialAs(ctx context.Context, address string, d wire.Dial) (net.Conn, error) {
	line := "" // that says the same to the relay
	switch {
	case d.Route > 0 && d.Principal == "":
		line = fmt.Sprintf("COFFERDAM for - %d\n", d.Route-1)
	case d.Route > 0:
		line = fmt.Sprintf("COFFERDAM for %s %d\n", hex.EncodeToString([]byte(d.Principal)), d.Route-1)
	case d.Principal != "":
		line = "COFFERDAM for " + hex.EncodeToString([]byte(d.Principal)) + "\n"
	}
	conn, err := c.dials.dial(ctx, address, d)
	if err != nil {
		return nil, &CallError{Op: "dial", Name: address, Err: err}
	}
	if conn != nil {
		return conn, nil
	}
	return byName(ctx, address, line)
}

// byName connects by the name, and begins with a line.
func byName(ctx context.Context, address, line string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil || line == "" {
		return c, err
	}
	// A line fits into the empty buffer of a new socket: this does not wait.
	if _, err := io.WriteString(c, line); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func checkPrincipal(principal string) error {
	if principal == "" || len(principal) > wire.MaxPrincipal || !utf8.ValidString(principal) || strings.ContainsRune(principal, 0) {
		return fmt.Errorf("want UTF-8 of 1 to %d bytes, without zero bytes", wire.MaxPrincipal)
	}
	return nil
}

// Conn is a connection of which the program has the socket itself. Close tells the monitor; a
// socket of which it is not told lasts as long as its [Client].
type Conn struct {
	*net.TCPConn
	dials *dials
	id    uint64
	once  sync.Once
	err   error
}

// Close ends the connection. What was written is delivered.
func (c *Conn) Close() error { return c.close(0) }

// Unanswered ends it at once, and says that all of a request was sent on it and no answer has begun in
// time. It is for the gateway, which is believed that.
func (c *Conn) Unanswered() error { return c.close(wire.FlagUnanswered) }

func (c *Conn) close(flags uint16) error {
	c.once.Do(func() {
		if raw, err := c.SyscallConn(); err == nil && flags == 0 {
			// To close one descriptor of several ends nothing.
			raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
		}
		c.err = c.TCPConn.Close()
		c.dials.cancel(c.id, flags)
	})
	return c.err
}

// dials are the connections of a client of which it has the sockets. They are asked for on a wire connection
// of their own, made when the first is: descriptors come with bytes, and have to be taken with them by
// whoever reads.
type dials struct {
	mu     sync.Mutex
	closed bool
	nc     *net.UnixConn // nil for none
	last   uint64
	asked  map[uint64]chan dialled
}

// dialled is how a request for a connection ended.
type dialled struct {
	conn *net.TCPConn // nil if it is to be relayed, or with err
	err  error
}

// dial returns nil, nil for a connection that is to be relayed.
func (d *dials) dial(ctx context.Context, address string, as wire.Dial) (net.Conn, error) {
	if len(address) == 0 || len(address) > wire.MaxName {
		return nil, wire.Error{Code: wire.Malformed, Message: "not a service:port"}
	}
	f := wire.Frame{Header: wire.Header{Op: wire.OpDial}, NameBytes: []byte(address), Body: as.Append(nil)}
	if at, ok := ctx.Deadline(); ok {
		f.Timeout = max(time.Until(at), time.Millisecond)
	}
	answer := make(chan dialled, 1)
	d.mu.Lock()
	err := d.connect(ctx)
	if err == nil {
		d.last++
		f.ID = d.last
		d.asked[f.ID] = answer
		_, err = d.nc.Write(wire.AppendFrame(nil, &f))
	}
	d.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	select {
	case r := <-answer:
		return d.own(f.ID, r)
	case <-ctx.Done():
	}
	d.mu.Lock()
	delete(d.asked, f.ID)
	d.mu.Unlock()
	select {
	case r := <-answer:
		return d.own(f.ID, r)
	default:
	}
	d.cancel(f.ID, 0)
	return nil, withdrawn(ctx)
}

// own makes a Conn of what came.
func (d *dials) own(id uint64, r dialled) (net.Conn, error) {
	if r.conn == nil {
		return nil, r.err
	}
	return &Conn{TCPConn: r.conn, dials: d, id: id}, nil
}

// connect makes the wire connection if there is none. The caller holds mu.
func (d *dials) connect(ctx context.Context) error {
	switch {
	case d.closed:
		return ErrClosed
	case d.nc != nil:
		return nil
	}
	path := os.Getenv(SocketVariable)
	if path == "" {
		return errors.New(SocketVariable + " is not set: not inside an environment")
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	d.nc, d.asked = nc.(*net.UnixConn), make(map[uint64]chan dialled)
	go d.read(d.nc)
	return nil
}

// cancel says that a connection, or a request for one, is over.
func (d *dials) cancel(id uint64, flags uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nc != nil {
		d.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id, Flags: flags}}))
	}
}

func (d *dials) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.nc != nil {
		d.nc.Close()
	}
}

// read hands on the answers until the wire connection ends.
func (d *dials) read(nc *net.UnixConn) {
	in := descriptors{nc: nc}
	r := wire.NewReader(&in)
	for {
		f, err := r.Next()
		if err == nil && f.Op != wire.OpReply {
			err = fmt.Errorf("monitor sent a %v to who only dials", f.Op)
		}
		if err != nil {
			d.lose(nc)
			in.close()
			return
		}
		got := dialled{err: reply{code: f.Code, body: append([]byte(nil), f.Body...), after: f.Timeout}.result()}
		if f.Flags&wire.FlagSocket != 0 {
			if got.conn, got.err = in.next(); got.err != nil {
				d.cancel(f.ID, 0) // it is nobody's, and would last as long as we do
			}
		}
		d.mu.Lock()
		answer := d.asked[f.ID]
		delete(d.asked, f.ID)
		if answer != nil {
			answer <- got
		}
		d.mu.Unlock()
		if answer == nil && got.conn != nil { // it was given up, which the monitor is told
			got.conn.Close()
		}
	}
}

// lose ends what was asked on nc.
func (d *dials) lose(nc *net.UnixConn) {
	nc.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, answer := range d.asked {
		answer <- dialled{err: ErrInterrupted}
	}
	d.nc, d.asked = nil, nil
}

// descriptors is what comes on a Unix socket: bytes, and descriptors with some of them.
type descriptors struct {
	nc  *net.UnixConn
	oob [64]byte
	fds []int // -1 for one that did not come
}

func (in *descriptors) Read(b []byte) (int, error) {
	n, oobn, flags, _, err := in.nc.ReadMsgUnix(b, in.oob[:])
	if oobn == 0 && flags&unix.MSG_CTRUNC != 0 {
		in.fds = append(in.fds, -1) // so that none takes the place of another
	}
	if oobn > 0 {
		messages, parseErr := unix.ParseSocketControlMessage(in.oob[:oobn])
		if parseErr != nil {
			return n, parseErr
		}
		for i := range messages {
			if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
				in.fds = append(in.fds, fds...)
			}
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// next is the socket that came first.
func (in *descriptors) next() (*net.TCPConn, error) {
	fd := -1
	if len(in.fds) > 0 {
		fd, in.fds = in.fds[0], in.fds[1:]
	}
	if fd < 0 {
		return nil, errors.New("a socket was announced, and none came: too many open files?")
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a TCP socket")
	}
	return conn, nil
}

func (in *descriptors) close() {
	for _, fd := range in.fds {
		if fd >= 0 {
			syscall.Close(fd)
		}
	}
}
