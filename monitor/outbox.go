package monitor

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

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
// environment may hold in all, and sent by a flusher that lives while there is
// something to send.
type outbox struct {
	f    *os.File // see wire.Blocking
	raw  syscall.RawConn
	held *store // of the environment that is to read

	mu       sync.Mutex
	scratch  []byte // the frame being sent
	attempt  attempt
	backlog  []byte
	flushing bool
	closed   bool
}

// newOutbox takes nc over.
func newOutbox(nc *net.UnixConn, held *store) (*outbox, error) {
	f, err := wire.Blocking(nc)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	o := &outbox{f: f, raw: raw, held: held}
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
		if len(o.backlog)+n > maxBacklogBytes || !o.held.take(n) {
			return errFull
		}
		o.backlog = wire.AppendFrame(o.backlog, f)
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

// How often a flusher looks whether the peer has read something: soon, and less
// and less often while it has not.
const (
	firstLook = 20 * time.Microsecond
	lastLook  = 20 * time.Millisecond
)

// flush sends in place of those who send.
func (o *outbox) flush() {
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		time.Sleep(pause)
		sent, more := o.flushSome()
		if !more {
			return
		}
		if sent > 0 {
			pause = firstLook / 2
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
	rest, err := o.try(o.backlog)
	if err != nil {
		o.end()
		return 0, false
	}
	sent = len(o.backlog) - len(rest)
	o.held.give(sent)
	o.backlog = rest
	if len(rest) > 0 {
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
	o.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	o.f.Close() // in truth once the reader has returned
}
