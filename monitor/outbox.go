package monitor

import (
	"net"
	"sync"
	"syscall"

	"cofferdam/wire"
)

// outbox sends frames on a connection without ever waiting for its peer: what
// the socket does not take at once is kept, up to maxBacklogBytes, and sent by
// a flusher that lives while there is something to send.
type outbox struct {
	nc  *net.UnixConn
	raw syscall.RawConn

	mu       sync.Mutex
	scratch  []byte // the frame being sent
	backlog  []byte
	flushing bool
	closed   bool
}

func newOutbox(nc *net.UnixConn) (*outbox, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &outbox{nc: nc, raw: raw}, nil
}

// send reports false if the peer is gone or so far behind that the frame was
// not taken; a frame is taken whole or not at all.
func (o *outbox) send(f *wire.Frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if len(o.backlog) > maxBacklogBytes {
		return false
	}
	if o.flushing {
		o.backlog = wire.AppendFrame(o.backlog, f)
		return true
	}
	o.scratch = wire.AppendFrame(o.scratch[:0], f)
	rest, ok := o.try(o.scratch)
	if !ok {
		return false
	}
	if len(rest) > 0 {
		o.backlog = append(o.backlog[:0], rest...)
		o.flushing = true
		go o.flush()
	}
	if cap(o.scratch) > 64<<10 {
		o.scratch = nil // a rare large frame does not keep its memory
	}
	return true
}

// try writes what the socket takes now and returns the rest.
func (o *outbox) try(b []byte) (rest []byte, ok bool) {
	var err error
	werr := o.raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			var n int
			n, err = syscall.SendmsgN(int(fd), b, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				break
			}
			b = b[n:]
		}
		return true
	})
	if werr != nil || (err != nil && err != syscall.EAGAIN) {
		return nil, false
	}
	return b, true
}

// flush waits for the peer in place of those who send.
func (o *outbox) flush() {
	var batch []byte
	for {
		o.mu.Lock()
		if len(o.backlog) == 0 || o.closed {
			o.backlog, o.flushing = nil, false
			o.mu.Unlock()
			return
		}
		batch, o.backlog = o.backlog, batch[:0]
		o.mu.Unlock()
		if _, err := o.nc.Write(batch); err != nil {
			o.close()
		}
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		o.nc.Close()
	}
}
