package monitor

import (
	"errors"
	"net"
	"sync"
	"time"

	"cofferdam/wire"
)

// Why a frame was not taken.
var (
	errFull = errors.New("too much is waiting for the peer")
	errGone = errors.New("peer is gone")
)

// outbox sends frames on a connection without ever waiting for its peer: what
// the socket does not take at once is kept, up to maxBacklogBytes and what the
// environment may hold in all, and sent by a flusher that lives while there is
// something to send.
type outbox struct {
	socket *wire.Socket
	held   *store // of the environment that is to read

	mu       sync.Mutex
	scratch  []byte // the frame being sent
	backlog  []byte
	flushing bool
	closed   bool
}

// newOutbox takes nc over.
func newOutbox(nc *net.UnixConn, held *store) (*outbox, error) {
	socket, err := wire.NewSocket(nc)
	if err != nil {
		return nil, err
	}
	return &outbox{socket: socket, held: held}, nil
}

// send takes a frame whole or not at all. It returns errFull if the peer is too
// far behind, and errGone if it will read nothing any more.
func (o *outbox) send(f *wire.Frame) error {
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
	o.scratch = wire.AppendFrame(o.scratch[:0], f)
	n, err := o.socket.Try(o.scratch)
	if err != nil {
		return errGone
	}
	rest := o.scratch[n:]
	if len(rest) > 0 {
		if !o.held.take(len(rest)) {
			if len(rest) == len(o.scratch) {
				return errFull
			}
			o.held.add(len(rest)) // the peer has begun to read it
		}
		o.backlog = append(o.backlog[:0], rest...)
		o.flushing = true
		go o.flush()
	}
	if cap(o.scratch) > 64<<10 {
		o.scratch = nil // a rare large frame does not keep its memory
	}
	return nil
}

// flush sends in place of those who send.
func (o *outbox) flush() {
	for pause := wire.FirstLook; ; pause = min(2*pause, wire.LastLook) {
		time.Sleep(pause)
		sent, more := o.flushSome()
		if !more {
			return
		}
		if sent > 0 {
			pause = wire.FirstLook / 2
		}
	}
}

// flushSome sends what the socket takes of the backlog. It reports false once
// there is nothing more to do.
func (o *outbox) flushSome() (sent int, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, false
	}
	sent, err := o.socket.Try(o.backlog)
	if err != nil {
		o.end()
		return 0, false
	}
	o.held.give(sent)
	o.backlog = o.backlog[sent:]
	if len(o.backlog) > 0 {
		return sent, true
	}
	o.backlog, o.flushing = nil, false
	return sent, false
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
