package monitor

import (
	"errors"
	"net"
	"sync"
	"syscall"

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
	nc   *net.UnixConn
	raw  syscall.RawConn
	held *store // of the environment that is to read

	mu       sync.Mutex
	scratch  []byte // the frame being sent
	attempt  attempt
	backlog  []byte
	unsent   int // bytes of backlog and of what the flusher has taken from it
	flushing bool
	closed   bool
}

func newOutbox(nc *net.UnixConn, held *store) (*outbox, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &outbox{nc: nc, raw: raw, held: held}
	o.attempt.do = o.attempt.write
	return o, nil
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
		if o.unsent+n > maxBacklogBytes || !o.held.take(n) {
			return errFull
		}
		o.backlog = wire.AppendFrame(o.backlog, f)
		o.unsent += n
		return nil
	}
	o.scratch = wire.AppendFrame(o.scratch[:0], f)
	rest, err := o.try(o.scratch)
	if err != nil {
		return errGone
	}
	if len(rest) > 0 {
		if !o.held.take(len(rest)) {
			if len(rest) == len(o.scratch) {
				return errFull
			}
			o.held.add(len(rest)) // the peer has begun to read it
		}
		o.backlog = append(o.backlog[:0], rest...)
		o.unsent = len(rest)
		o.flushing = true
		go o.flush()
	}
	if cap(o.scratch) > 64<<10 {
		o.scratch = nil // a rare large frame does not keep its memory
	}
	return nil
}

// try writes what the socket takes now and returns the rest.
func (o *outbox) try(b []byte) (rest []byte, err error) {
	o.attempt.rest = b
	if err := o.raw.Write(o.attempt.do); err != nil {
		return nil, err
	}
	rest, err = o.attempt.rest, o.attempt.err
	o.attempt.rest, o.attempt.err = nil, nil
	if err == syscall.EAGAIN {
		err = nil
	}
	return rest, err
}

// attempt is one try to write. It is part of the outbox so that a call does not
// allocate it.
type attempt struct {
	do   func(fd uintptr) bool
	rest []byte
	err  error
}

func (a *attempt) write(fd uintptr) bool {
	for len(a.rest) > 0 {
		n, err := syscall.SendmsgN(int(fd), a.rest, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			a.err = err
			break
		}
		a.rest = a.rest[n:]
	}
	return true
}

// flush waits for the peer in place of those who send.
func (o *outbox) flush() {
	var batch []byte
	for {
		o.mu.Lock()
		if !o.closed {
			o.unsent -= len(batch)
			o.held.give(len(batch))
		}
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
		o.held.give(o.unsent)
		o.unsent = 0
		o.nc.Close()
	}
}
