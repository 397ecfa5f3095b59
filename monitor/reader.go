package monitor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/internal/linux"
	"cofferdam/wire"
)

// readers read the wire connections of all environments. Each waits in the kernel for
// any of them, takes what has come, decides, and writes to the other side, all on the
// thread that was woken: to have the runtime's poller wake a goroutine takes several times
// as long as all that is done for a call. What may take its time, or is to
// wait, is handed to a goroutine of its own, with the connection (see conn.apart).
//
// A connection has one reader at a time: who sets busy in its turn. It says that it has
// something once each time that something comes, so whoever finds it busy leaves
// word there. Nothing is done for one that has nothing to say, however many there are.
//
// They are there as long as there are connections. One is enough most of the time, and two
// who wait for the same are woken for nothing; so the others help when there is more to do than
// that one can. There are fewer than the runtime runs goroutines at a time: who waits in the
// kernel for a short time does not give up his place among these, and all else must not
// wait for it.
type readers struct {
	epoll int // epoll(7), of all connections
	bell  int // eventfd(2): there are no connections any more
	left  atomic.Int32
	help  chan struct{} // wakes one who helps; closed at the end

	table [MaxConnsInAll]atomic.Pointer[conn]

	free  []int32 // places in the table that were left
	used  int32   // places that were ever taken
	conns int
	last  uint32 // mark given
}

// turn says of a connection whether somebody reads from it.
type turn struct {
	readers *readers
	slot    int32
	mark    uint32 // that no other connection has which was at the slot before
	state   atomic.Uint32

	// Of who reads.
	by    *reader // nil for a goroutine of its own
	in    *wire.Reader
	dry   bool          // nothing more has come
	pause time.Duration // how long nothing more is to be read
}

// The bits of a turn's state.
const (
	busy = 1 << iota // somebody reads
	more             // something has come since
	hung             // and nothing more will
)

// errDry is the end of what has come.
var errDry = errors.New("nothing more has come yet")

// reader is one of them.
type reader struct {
	*readers
	buf    []byte // nil until it is needed
	events [readEvents]unix.EpollEvent
	frame  wire.Frame // that is being handled
	vain   int        // times in a row that it has looked in vain
	rests  int        // times that it does not look
	began  time.Time  // that of one connection, see mayRead
	wrote  []*outbox  // that hold something back until sendAll
	later  []*conn    // with more to say than they may at a time
}

// Bounds of what a reader does at a time.
const (
	readBytes  = 68 << 10 // a body of 64 KiB fits
	readEvents = 64

	// How much of one connection, before it is the turn of others.
	readFrames = 64
	readTime   = 200 * time.Microsecond

	// How long to look before sleeping, and how often at least: once in 2 to that.
	lookTime = 20 * time.Microsecond
	maxVain  = 8

	maxWrote = 8 // peers whose frames are held back

	// How often in a row there was more than one to read from before another reader
	// helps, and the milliseconds without any after which he rests.
	helpAfter = 8
	helpFor   = 2
)

// newReaders starts them.
func newReaders() (*readers, error) {
	helpers := max(runtime.GOMAXPROCS(0)-2, 0)
	r := &readers{bell: -1, help: make(chan struct{}, helpers)}
	var err error
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if r.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = r.watch(r.bell, -1, 0, unix.EPOLLIN)
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	r.left.Store(int32(1 + helpers))
	go func() {
		defer r.gone()
		defer close(r.help)
		(&reader{readers: r}).run()
	}()
	for range helpers {
		go r.helps()
	}
	return r, nil
}

// helps is the life of one who helps.
func (r *readers) helps() {
	defer r.gone()
	h := &reader{readers: r}
	for range r.help {
		for {
			n, ended := h.some(helpFor)
			if ended {
				return
			}
			if n == 0 {
				break
			}
		}
	}
}

// gone is the end of one of them.
func (r *readers) gone() {
	if r.left.Add(-1) == 0 {
		r.close()
	}
}

func (r *readers) watch(fd int, slot int32, mark uint32, events uint32) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: slot, Pad: int32(mark)})
}

func (r *readers) close() {
	unix.Close(r.epoll)
	if r.bell >= 0 {
		unix.Close(r.bell)
	}
}

// readFrom has the readers read from c, until leave.
func (m *Monitor) readFrom(c *conn) error {
	err := m.enterReading(c)
	if err != nil {
		m.leave(c)
	}
	return err
}

// input is what is waited for.
const input = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// awaitRoom has the outbox flushed as soon as there is room in it, or not any more. To be told
// so all the time would wake a reader whenever a peer has read something.
func (c *conn) awaitRoom(room bool) {
	m := c.env.m
	m.reading.Lock()
	defer m.reading.Unlock()
	t := &c.turn
	if t.readers == nil {
		return
	}
	event := unix.EpollEvent{Events: input, Fd: t.slot, Pad: int32(t.mark)}
	if room {
		event.Events |= unix.EPOLLOUT
	}
	c.out.socket.Control(func(fd int) { unix.EpollCtl(t.readers.epoll, unix.EPOLL_CTL_MOD, fd, &event) })
}

// enterReading gives c a place with the readers, and has them told of it. They can be no more as soon
// as c has left, so that is done before anybody can have it leave.
func (m *Monitor) enterReading(c *conn) (err error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.readers == nil {
		if m.readers, err = newReaders(); err != nil {
			return err
		}
	}
	r, t := m.readers, &c.turn
	if last := len(r.free) - 1; last >= 0 {
		t.slot, r.free = r.free[last], r.free[:last]
	} else {
		t.slot = r.used // there is one: no more are held than there are places
		r.used++
	}
	r.last++
	r.conns++
	t.readers, t.mark = r, r.last
	r.table[t.slot].Store(c)
	ctlErr := c.out.socket.Control(func(fd int) { err = r.watch(fd, t.slot, t.mark, input) })
	return errors.Join(ctlErr, err)
}

// leave takes c out, if it is there.
func (m *Monitor) leave(c *conn) {
	m.reading.Lock()
	defer m.reading.Unlock()
	r := c.turn.readers
	if r == nil {
		return
	}
	c.turn.readers = nil
	r.table[c.turn.slot].Store(nil)
	r.free = append(r.free, c.turn.slot)
	if r.conns--; r.conns == 0 {
		m.readers = nil
		unix.Write(r.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// run is the life of the first of them.
func (r *reader) run() {
	full := 0
	for {
		n, ended := r.some(-1)
		if ended {
			return
		}
		if full++; n < 2 {
			full = 0
		}
		if full > helpAfter {
			select {
			case r.help <- struct{}{}:
			default:
			}
		}
	}
}

// some waits so many milliseconds for connections that have something to say, -1 for as long as it
// takes, and handles some of that. It returns how many those were.
func (r *reader) some(wait int) (n int, ended bool) {
	if len(r.later) > 0 {
		wait = 0
	}
	if wait < 0 {
		n = r.look()
	}
	var err error
	if n == 0 {
		n, err = unix.EpollWait(r.epoll, r.events[:], wait)
	}
	if err != nil && err != unix.EINTR {
		panic(os.NewSyscallError("epoll_wait", err)) // of a descriptor that is ours alone
	}
	n = max(n, 0)
	for i := range n {
		e := &r.events[i]
		if e.Fd < 0 {
			return 0, true // whoever still has a turn is nobody's
		}
		c := r.table[e.Fd].Load()
		if c == nil || c.turn.mark != uint32(e.Pad) {
			continue
		}
		if e.Events&unix.EPOLLOUT != 0 {
			c.out.flush()
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			r.ready(c, e.Events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0)
		}
		if len(r.wrote) >= maxWrote {
			r.sendAll() // the first have waited for long enough
		}
	}
	later := r.later
	r.later = nil
	for _, c := range later {
		r.read(c)
	}
	r.sendAll()
	return n + len(later), false
}

// look looks for a moment whether something comes, before r sleeps: to be woken takes longer than
// most who are asked take to answer, if they run elsewhere. If they could run here, looking keeps them from
// it; so the more often it was in vain, the more rarely it is tried.
func (r *reader) look() int {
	if r.rests > 0 {
		r.rests--
		return 0
	}
	for began := time.Now(); time.Since(began) < lookTime; {
		if n := linux.EpollNow(r.epoll, r.events[:]); n > 0 {
			r.vain = 0
			return n
		}
	}
	r.vain = min(r.vain+1, maxVain)
	r.rests = 1<<r.vain - 1
	return 0
}

// ready is for a connection that has something to say.
func (r *reader) ready(c *conn, over bool) {
	t := &c.turn
	for {
		s := t.state.Load()
		next := s | busy
		if s&busy != 0 {
			next |= more
		}
		if over {
			next |= hung
		}
		if !t.state.CompareAndSwap(s, next) {
			continue
		}
		if s&busy == 0 {
			t.dry = false
			r.read(c)
		}
		return
	}
}

// read handles what c has to say. It is its turn.
func (r *reader) read(c *conn) {
	t := &c.turn
	for n := 0; r.mayRead(n); n++ {
		r.lend(t)
		f := &r.frame
		var err error
		if *f, err = t.in.Next(); err == errDry {
			r.takeBack(t)
			if t.end() {
				return
			}
			continue
		}
		if err == nil {
			c.env.heard.Add(1)
			if !c.isPrompt(f) {
				own := f.Clone()
				r.takeBack(t)
				go c.apart(&own)
				return
			}
		}
		if err != nil || !c.handle(f) {
			r.takeBack(t)
			go c.close()
			return
		}
		if t.pause > 0 {
			r.takeBack(t)
			go c.apart(nil)
			return
		}
	}
	r.takeBack(t)
	r.later = append(r.later, c)
	r.sendAll()
}

// mayRead tells whether a frame may be read after n others. Most often there is one, for
// which nobody looks at the clock.
func (r *reader) mayRead(n int) bool {
	if n == 1 {
		r.began = time.Now()
	}
	return n < readFrames && (n < 2 || time.Since(r.began) < readTime)
}

// sendAll sends what was held back in order to be sent together.
func (r *reader) sendAll() {
	for i, o := range r.wrote {
		o.uncork()
		r.wrote[i] = nil
	}
	r.wrote = r.wrote[:0]
}

// lend lends the buffer of r for a turn.
func (r *reader) lend(t *turn) {
	if r.buf == nil {
		r.buf = make([]byte, readBytes)
	}
	t.by = r
	t.in.Lend(r.buf)
}

func (r *reader) takeBack(t *turn) {
	t.by = nil
	if t.in.GiveBack() {
		r.buf = nil
	}
}

// end gives the turn back, unless something has come meanwhile.
func (t *turn) end() bool {
	for {
		s := t.state.Load()
		if s&more != 0 {
			if t.state.CompareAndSwap(s, s&^more) {
				t.dry = false
				return false
			}
			continue
		}
		if t.state.CompareAndSwap(s, s&^busy) {
			return true
		}
	}
}

// inlet is a connection as what frames are read from.
type inlet conn

func (in *inlet) Read(b []byte) (int, error) {
	t := &in.turn
	if t.dry && t.state.Load()&hung == 0 {
		return 0, errDry
	}
	n, more, err := in.out.socket.Take(b)
	if err == nil && n == 0 {
		return 0, errDry
	}
	t.dry = !more
	return n, err
}

// isPrompt tells whether what f asks for is done at once, whatever becomes of it, and without
// a pause: what an environment that is refused often gets to write to the log, it waits for.
func (c *conn) isPrompt(f *wire.Frame) bool {
	switch f.Op {
	case wire.OpReply, wire.OpCall, wire.OpCancel, wire.OpHello, wire.OpPost, wire.OpPut:
	case wire.OpRecv, wire.OpTake:
		if hasMode(f.Body) {
			return false // a raise ends what does not hold any more, one after the other
		}
	default:
		return false
	}
	return !c.env.records.isShort()
}

func hasMode(ask []byte) (has bool) {
	wire.ParseFields(ask, func(key uint8, _ []byte) error {
		has = has || key == wire.KeyMode
		return nil
	})
	return has
}

// apart goes on with f, if it is one, and what comes after, until there is nothing more. It
// may take its time. It is c's turn, and f is of no reader's.
func (c *conn) apart(f *wire.Frame) {
	t := &c.turn
	for {
		if f != nil && !c.handle(f) {
			break
		}
		time.Sleep(t.pause)
		t.pause = 0
		next, err := t.in.Next()
		if f = &next; err == errDry {
			t.in.GiveBack()
			if t.end() {
				return
			}
			f = nil
			continue
		}
		if err != nil {
			break
		}
		c.env.heard.Add(1)
	}
	c.close()
}
