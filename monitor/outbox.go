package monitor

import (
	"errors"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// Why a frame was not taken.
var (
	errFull = errors.New("too much is waiting for the peer")
	errGone = errors.New("peer is gone")
)

// outbox sends frames on a connection without ever waiting for its peer: what
// the socket does not take at once is kept, up to maxBacklogBytes and what the
// environment may hold in all, and sent when the kernel says that there is room again.
type outbox struct {
	socket *wire.Socket
	held   *store          // of the environment that is to read
	await  func(room bool) // says whether flush is to be called as soon as there is room

	mu       sync.Mutex
	scratch  []byte // frames that are being sent, but for a large body
	corked   bool   // they wait for uncork
	backlog  []byte
	flushing bool
	closed   bool
}

// newOutbox takes nc over.
func newOutbox(nc *net.UnixConn, held *store, await func(room bool)) (*outbox, error) {
	socket, err := wire.NewSocket(nc)
	if err != nil {
		return nil, err
	}
	return &outbox{socket: socket, held: held, await: await}, nil
}

// send takes a frame whole or not at all. It returns errFull if the peer is too
// far behind, and errGone if it will read nothing any more. If a reader sends it, it may go out
// only when that one has done all that it has at hand.
func (o *outbox) send(by *reader, f *wire.Frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return errGone
	case o.flushing:
		n := wire.HeaderSize + len(f.NameBytes) + len(f.CallerBytes) + len(f.Body)
		if len(o.backlog)+n > maxBacklogBytes || !o.held.take(n) {
			return errFull
		}
		o.backlog = wire.AppendFrame(o.backlog, f)
		return nil
	}
	if !o.corked {
		o.scratch = o.scratch[:0]
	}
	before := len(o.scratch)
	if len(f.Body) > copyBytes {
		o.scratch = wire.AppendHead(o.scratch, f, len(f.Body))
		return o.write(before, f.Body)
	}
	o.scratch = wire.AppendFrame(o.scratch, f)
	if by == nil || len(o.scratch) > maxCorked {
		return o.write(before, nil)
	}
	if !o.corked {
		o.corked = true
		by.wrote = append(by.wrote, o)
	}
	return nil
}

// sendWith takes a frame with a descriptor, which the peer gets a duplicate of, if nothing waits for
// the peer; otherwise it returns errFull, and errGone as send does.
func (o *outbox) sendWith(f *wire.Frame, descriptor int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corked && !o.closed && o.write(len(o.scratch), nil) != nil {
		o.end() // as uncork
	}
	switch {
	case o.closed:
		return errGone
	case o.flushing:
		return errFull
	}
	b := wire.AppendFrame(nil, f)
	n, err := 0, error(nil)
	ctlErr := o.socket.Control(func(fd int) {
		n, err = unix.SendmsgN(fd, b, unix.UnixRights(descriptor), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	switch {
	case err == unix.EAGAIN || err == unix.EINTR || err == unix.ETOOMANYREFS:
		return errFull
	case ctlErr != nil || err != nil:
		return errGone
	case n < len(b):
		o.end() // half a frame
		return errGone
	}
	return nil
}

// uncork sends what was held back.
func (o *outbox) uncork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corked && !o.closed && o.write(len(o.scratch), nil) != nil {
		o.end() // who reads from it is told by the kernel
	}
}

// write sends scratch and then body. All but the first taken bytes of that is one frame, which may
// still be refused. The caller holds mu.
func (o *outbox) write(taken int, body []byte) error {
	o.corked = false
	n, err := o.socket.Try(o.scratch, body)
	if err != nil {
		return errGone
	}
	rest := len(o.scratch) + len(body) - n
	if rest == 0 {
		return nil
	}
	refused := false
	if !o.held.take(rest) {
		if refused = n <= taken && taken < n+rest; refused {
			o.scratch, body = o.scratch[:taken], nil
			if rest = taken - n; rest == 0 {
				return errFull
			}
		}
		o.held.add(rest) // the peer has begun to read it, or it was taken before
	}
	head := min(n, len(o.scratch))
	o.backlog = append(append(o.backlog[:0], o.scratch[head:]...), body[n-head:]...)
	o.flushing = true
	o.await(true)
	if refused {
		return errFull
	}
	return nil
}

// maxCorked is how much is held back.
const maxCorked = 32 << 10

// copyBytes is up to where a copy is cheaper than to have the kernel put two parts together.
const copyBytes = 4 << 10

// flush sends what the socket takes of the backlog.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || !o.flushing {
		return
	}
	sent, err := o.socket.Try(o.backlog, nil)
	if err != nil {
		o.end()
		return
	}
	o.held.give(sent)
	if o.backlog = o.backlog[sent:]; len(o.backlog) == 0 {
		o.backlog, o.flushing = nil, false
		o.await(false)
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
}

// end ends the connection, also for who reads from it. The caller holds mu.
func (o *outbox) end() {
	if o.closed {
		return
	}
	o.closed = true
	o.held.give(len(o.backlog))
	o.backlog = nil
	o.socket.Close()
}
