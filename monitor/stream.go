package monitor

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/numbers"
)

// side is one of the two connections of a relay: a socket in the network of an
// environment, or to a machine outside.
type side struct {
	net.Conn
	raw syscall.RawConn

	// hidden says that what becomes of this end is nothing for the other one to
	// see: not that it ends, nor that it does not read.
	hidden atomic.Bool
}

var errNoSocket = errors.New("not a socket")

func newSide(c net.Conn) (*side, error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, errNoSocket
	}
	raw, err := s.SyscallConn()
	return &side{Conn: c, raw: raw}, err
}

// halfClose tells whoever reads that nothing more comes.
func (x *side) halfClose() {
	if half, ok := x.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	x.Close()
}

// stream is one direction of a relay: what the program at from writes, on its way to
// the one at to.
//
// Few bytes are copied, and where there are many the kernel moves them from socket to socket (splice(2)). It does so by
// reference: what a program sends from a file (sendfile(2)) stays its own memory until it is read at the
// other end, which then sees what is written there after the stream was cut. So of a program that may do that
// all is copied.
type stream struct {
	from, to *side
	through  *meter // that counts the bytes; nil for none
	count    *numbers.Counter
	heard    *atomic.Uint64 // counts that something has come; nil for nobody who counts
	request  *carried       // that this is, of a door
	asks     *atomic.Bool   // is set when something has come; nil if this is the way back
	answered *atomic.Bool   // is cleared then; nil if it is the way there
	pace     *pace          // of the connection, by how the reader takes this; nil for none
	answers  *pace          // the same, if the writer is who has a deadline
	any      bool           // something has come; read and written by who runs it, as err
	err      error          // how it has ended
	ended    chan struct{}  // closed when the relay is

	mu    sync.Mutex // held for each step of reading; taken last, and alone
	cut   bool       // nothing more of the writer is passed on,
	rest  []byte     // but for this,
	keeps *store     // which is counted here

	step    func(fd uintptr) bool // read, made once for all that take asks of
	limit   int                   // that read asks for
	n       int                   // that it got
	readErr error                 // or why not
	buf     *[chunk]byte          // what it has read into; nil as long as there is nothing
	hose    *hose                 // the same, while the kernel moves what comes
	moves   bool                  // what the writer sends is no memory that it can still change: the kernel may move it

	late *late // where bytes wait for a reader that is hidden; nil as long as it is not
}

const (
	chunk     = 64 << 10 // that are read at a time
	readChunk = 32 << 10 // where they are counted, or wait for a reader that is hidden
	maxRest   = 1 << 20  // that a cut takes of what is in the buffer of a socket
)

// chunks are buffers that nobody uses: a stream has one only while it has something in it.
var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

var (
	errCut     = errors.New("the writer is not to be heard any more")
	errTooSlow = errors.New("the reader is too slow to be waited for")
)

// stop lets nothing more of what from writes pass, but for what has been accepted:
// what has come to our socket by now, as far as held has room for it. It does not wait
// for that to be passed on. From now on the other end does not see what becomes of
// from.
func (s *stream) stop(held *store) {
	s.from.hidden.Store(true)
	s.mu.Lock()
	if !s.cut {
		s.cut, s.keeps = true, held
		s.from.raw.Control(func(fd uintptr) { s.rest = accepted(int(fd), held) })
	}
	s.mu.Unlock()
	s.from.SetDeadline(time.Unix(1, 0)) // wakes who waits for it to write, or to read
}

// accepted reads what there is.
func accepted(fd int, held *store) []byte {
	n, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
	for n = min(n, maxRest); n > 0 && !held.take(n); {
		n /= 2
	}
	if n <= 0 {
		return nil
	}
	b := make([]byte, n)
	got, err := unix.Read(fd, b)
	if err != nil {
		got = 0
	}
	held.give(n - got)
	return b[:got]
}

// last is what a cut has left over, and whether there was one.
func (s *stream) last() ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rest, s.cut
}

func (s *stream) isCut() bool {
	_, cut := s.last()
	return cut
}

// run moves bytes until the writer ends, or is cut, or nobody is left to read.
func (s *stream) run() error {
	defer s.close()
	defer s.closeHose()
	for {
		if s.late == nil && s.to.hidden.Load() {
			s.startLate()
		}
		if rest, cut := s.last(); cut {
			return s.giveRest(rest)
		}
		n, err := s.take()
		if n > 0 {
			if s.count != nil {
				s.count.Add(uint64(n))
			}
			failed := s.pass(n)
			s.drop()
			if failed != nil {
				return &readerGone{failed}
			}
		}
		if err != nil && !s.isCut() {
			return err
		}
	}
}

// pass is give, seen by who watches how the connection goes on.
func (s *stream) pass(n int) error {
	switch {
	case s.answers != nil:
		s.answers.holds(true)
		defer s.answers.holds(false)
	case s.pace != nil:
		s.pace.gives() // which may take as long as the reader likes
		defer s.pace.gives()
	}
	if s.hose != nil {
		return s.pump()
	}
	return s.give(s.buf[:n])
}

// giveRest is the end of a stream that was cut.
func (s *stream) giveRest(b []byte) error {
	defer s.keeps.give(len(b))
	if len(b) > 0 {
		if err := s.give(b); err != nil {
			return &readerGone{err}
		}
	}
	return errCut
}

// readerGone is why a stream ended that could have gone on but for its reader.
type readerGone struct{ err error }

func (e *readerGone) Error() string { return e.err.Error() }

// take reads n bytes of what there is, into buf or the hose; after a cut, none.
func (s *stream) take() (n int, err error) {
	if s.late != nil {
		s.closeHose() // the writer must not be made to wait for who reads
	}
	if much := s.n >= chunk; s.hose == nil && much && s.moves && s.through == nil && s.late == nil {
		s.hose = newHose()
	}
	s.limit = chunk
	if s.late != nil {
		s.limit = readChunk
	}
	if s.through != nil {
		s.limit = s.through.chunk
	}
	if s.step == nil {
		s.step = s.read
	}
	for {
		rawErr := s.from.raw.Read(s.step)
		switch {
		case errors.Is(rawErr, os.ErrDeadlineExceeded) && s.from.hidden.Load():
			s.from.SetReadDeadline(time.Time{}) // it was to be woken; see stop
			continue
		case rawErr != nil:
			return 0, rawErr
		case s.readErr == unix.EINTR:
			continue
		case s.readErr == nil && s.n <= 0:
			return 0, io.EOF
		}
		if s.n > 0 {
			s.taken()
		}
		return max(s.n, 0), s.readErr
	}
}

// read is one try of take. It returns false if there is nothing yet.
func (s *stream) read(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		s.n, s.readErr = 0, errCut
		return true
	}
	if s.hose != nil {
		if s.n, s.readErr = s.hose.fill(int(fd)); s.n <= 0 {
			s.closeHose() // whoever waits has none
		}
		return s.readErr != unix.EAGAIN
	}
	s.buf = chunks.Get().(*[chunk]byte)
	if s.n, s.readErr = unix.Read(int(fd), s.buf[:s.limit]); s.n <= 0 {
		chunks.Put(s.buf)
		s.buf = nil
	}
	return s.readErr != unix.EAGAIN
}

// drop lets go of the buffer.
func (s *stream) drop() {
	if s.buf != nil {
		chunks.Put(s.buf)
		s.buf = nil
	}
}

func (s *stream) closeHose() {
	if s.hose != nil {
		s.hose.close()
		s.hose = nil
	}
}

// pump is give for what is in the hose.
func (s *stream) pump() error {
	err := s.hose.empty(s.to)
	if err == nil || !s.woken(err) {
		return err
	}
	b, err := s.hose.rest()
	s.closeHose()
	if err != nil {
		return err
	}
	s.startLate()
	return s.late.put(b)
}

// taken notes that something has come.
func (s *stream) taken() {
	s.any = true
	switch {
	case s.asks != nil:
		s.asks.Store(true)
	case s.answered != nil:
		s.answered.Store(false)
	}
	if s.heard != nil {
		s.heard.Add(1)
	}
	if s.request != nil {
		s.request.heard, s.request.sent = s.request.by.heard.Load(), time.Now()
	}
}

// give writes what take has read.
func (s *stream) give(b []byte) error {
	if s.through != nil {
		if err := s.through.pay(len(b), s.ended); err != nil {
			return err
		}
	}
	if s.late == nil {
		n, err := s.to.Write(b)
		if err == nil {
			return nil
		}
		if !s.woken(err) {
			return err
		}
		b = b[n:]
		s.startLate()
	}
	return s.late.put(slices.Clone(b))
}

// woken tells whether err is only that the reader is hidden now.
func (s *stream) woken(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && s.to.hidden.Load()
}

func (s *stream) close() {
	if s.late != nil {
		close(s.late.queue)
		<-s.late.done
	}
}

// discard reads what the writer still writes, so that it does not see that nobody
// does.
func (s *stream) discard() {
	for {
		s.from.SetReadDeadline(time.Time{})
		if _, err := io.Copy(io.Discard, s.from.Conn); !errors.Is(err, os.ErrDeadlineExceeded) || !s.from.hidden.Load() {
			return
		}
	}
}

// late keeps bytes for a reader that is hidden from their writer, who therefore must
// not be made to wait for it.
type late struct {
	to     *side
	queue  chan []byte
	done   chan struct{}
	failed atomic.Bool
}

// maxLate is how many chunks of bytes may wait for such a reader.
const maxLate = 64

func (s *stream) startLate() {
	s.late = &late{to: s.to, queue: make(chan []byte, maxLate), done: make(chan struct{})}
	s.to.SetWriteDeadline(time.Time{})
	go s.late.run()
}

func (l *late) put(b []byte) error {
	select {
	case l.queue <- b:
		if !l.failed.Load() {
			return nil
		}
	default:
		l.to.Close() // which ends the write that it does not read
	}
	return errTooSlow
}

func (l *late) run() {
	defer close(l.done)
	for b := range l.queue {
		if l.failed.Load() {
			continue
		}
		for {
			n, err := l.to.Write(b)
			if b = b[n:]; errors.Is(err, os.ErrDeadlineExceeded) {
				l.to.SetWriteDeadline(time.Time{}) // see stop
				continue
			}
			l.failed.Store(err != nil)
			break
		}
	}
}
