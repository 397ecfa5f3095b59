package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/internal/linux"
)

// handed is a connection of which the program that asked for it has the socket itself: one in
// the network of the instance that it leads to, so that no byte passes us. The socket
// is locked (see executor.Process.Hand), and we keep a duplicate of it, with which we end the connection when it is not
// granted any more, and count what it has carried.
//
// A duplicate cannot give what a relay does when a label changes: let
// what was written be delivered, and hide from then on what becomes of its writer. So it is for
// environments whose labels are what they can be, and nothing else; should one of them
// get the power to change meanwhile, and use it, then the connection ends first, as a whole.
type handed struct {
	e    *Env
	stop context.CancelFunc // of the attempt to make it

	mu         sync.Mutex // see the package for the order
	use        use        // what it is, once that is decided
	fd         int        // the duplicate; -1 as long as there is none, and when it is closed
	mark       uint32     // by which the watch knows it
	closed     bool       // there is nothing to be cut any more
	let        bool       // its program has let go of it
	unanswered bool       // see wire.FlagUnanswered
	over       bool       // it carries nothing any more,
	onOver     func()     // what is to be done then; nil as long as there is no socket

	carried struct { // as far as is known; fixed when it is over
		sent, received uint64 // bytes
		any            bool   // was received
	}
	lastOut time.Time // when something was sent last
}

// is says what the connection is, so that it can be cut when that is not granted any more.
func (h *handed) is(u use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use = u
}

// lend gives the socket to f, if it has not been cut.
func (h *handed) lend(f func(fd int) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return errGone
	}
	return f(h.fd)
}

// cancel is for when it was asked for, and is not wanted any more.
func (h *handed) cancel() { go h.letGo(false) }

// attach gives h its socket, of which it takes a duplicate; c is closed. onOver is called once the
// connection is over, unless there is an error.
func (h *handed) attach(c net.Conn, onOver func()) error {
	defer c.Close() // which takes it from the runtime's poller: that would wake for all that comes
	s, ok := c.(syscall.Conn)
	if !ok {
		return errNoSocket
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	if ctlErr := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); ctlErr != nil || err != nil {
		return errors.Join(ctlErr, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		err = net.ErrClosed // cut meanwhile
	} else {
		h.mark, err = h.e.hands.add(h, fd)
	}
	if err != nil {
		linux.Dissolve(fd)
		unix.Close(fd)
		return err
	}
	h.fd, h.onOver = fd, onOver
	return nil
}

// cut ends the connection at once. What was not read yet by its program is gone: it could
// be memory of the other side.
func (h *handed) cut() {
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	if h.fd >= 0 {
		h.count()
		linux.Dissolve(h.fd)
	}
	h.close()
}

// letGo is for when its program has closed it, or has ended: what it has written is delivered. It
// may take its time, for what is still to be read, or who attaches a socket meanwhile: no reader does that.
func (h *handed) letGo(unanswered bool) {
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.let {
		return
	}
	h.let, h.unanswered = true, unanswered
	if h.fd < 0 {
		h.close()
		return
	}
	if unanswered {
		h.count()
		linux.Dissolve(h.fd)
	} else {
		unix.Shutdown(h.fd, unix.SHUT_RDWR)
	}
	h.settle()
}

func (h *handed) nearGone() { h.letGo(false) }

// farGone has nothing to do: its socket ended with it, and what it has sent may be read.
func (h *handed) farGone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd >= 0 {
		h.count()
	}
	h.finish()
}

func (h *handed) cutUngranted(e *Env) bool {
	h.mu.Lock()
	u, closed := h.use, h.closed
	h.mu.Unlock()
	if closed || e.still(u) && (u.has == nil || e.rights.Load().direct(u.object)) {
		return false
	}
	h.cut()
	return true
}

// changed is for when both ways have ended, or one more step towards that is done.
func (h *handed) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.fd < 0 {
		return
	}
	if h.let {
		h.settle()
		return
	}
	h.count()
	h.finish() // the duplicate stays: there may be something to read, and so to cut
}

// settle closes the duplicate once that cannot wait, of a connection that was let go of: it may be the
// last descriptor, and its program may have asked for it to linger until all
// is delivered. The caller holds mu.
func (h *handed) settle() {
	nobodys := chunks.Get().(*[chunk]byte)
	for { // read by nobody; and not left there to be looked at
		if n, _, err := unix.Recvfrom(h.fd, nobodys[:], unix.MSG_TRUNC|unix.MSG_DONTWAIT); err != nil || n <= 0 {
			break
		}
	}
	chunks.Put(nobodys)
	info := h.count()
	if info == nil || !delivers[info.State] {
		h.close()
	}
}

// delivers are the states of TCP in which something may be on its way.
var delivers = [256]bool{tcpEstablished: true, tcpFinWait1: true, tcpCloseWait: true, tcpLastAck: true, tcpClosing: true}

// States of TCP, tcp(7).
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpClosing     = 11
)

// count takes in what the connection has carried so far. The caller holds mu, and there is a
// duplicate. What it says is that of its program's socket, which can be dissolved: then it is zero.
func (h *handed) count() *unix.TCPInfo {
	info, err := unix.GetsockoptTCPInfo(h.fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil || h.over {
		return info
	}
	received := info.Bytes_received
	if received > 0 && (info.State == tcpCloseWait || info.State == tcpLastAck || info.State == tcpClosing) {
		received-- // the kernel counts the end as a byte
	}
	h.carried.sent = max(h.carried.sent, info.Bytes_sent-info.Bytes_retrans)
	h.carried.received = max(h.carried.received, received)
	h.carried.any = h.carried.any || info.Data_segs_in > 0
	if info.Bytes_sent > 0 {
		h.lastOut = time.Now().Add(-time.Duration(info.Last_data_sent) * time.Millisecond)
	}
	return info
}

// close gives the duplicate up, and finishes. The caller holds mu.
func (h *handed) close() {
	h.closed = true
	if h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
		h.e.hands.remove(h.mark)
	}
	h.finish()
	go h.e.dropRelay(h)
}

// finish says that it is over. The caller holds mu.
func (h *handed) finish() {
	if h.over {
		return
	}
	h.over = true
	if h.onOver != nil {
		go h.onOver() // not here: it takes locks
	}
}

func (h *handed) isOwed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return false
	}
	info := h.count()
	return info != nil && info.Bytes_sent > 0 && info.Last_data_sent < info.Last_data_recv
}

// receivedSince tells whether something has come from the other side since then.
func (h *handed) receivedSince(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return false
	}
	info := h.count()
	return info != nil && info.Data_segs_in > 0 && time.Since(t) > time.Duration(info.Last_data_recv)*time.Millisecond
}

// hands watches the sockets of which the programs of one environment have a descriptor. The kernel
// says when both ways of one have ended, and nothing else: what comes and goes
// wakes nobody.
//
// That a program has let go of one it may say without closing it. An epoll(7) instance knows a socket
// until the last descriptor of it is closed, be it in another process, and so how many there still are.
type hands struct {
	mu    sync.Mutex // taken last
	epoll *os.File   // nil until it is needed, and after the end
	at    map[uint32]*handed
	last  uint32
	given int // sockets that may be there still, at most
	ended bool
}

// maxGiven is how many sockets a program may have that it says it has let go of, for each that it has.
const maxGiven = 2

var errTooManyHanded = errors.New("too many sockets are kept that were let go of")

// add watches fd. most is how many may be open at a time.
func (w *hands) add(h *handed, fd int) (mark uint32, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return 0, net.ErrClosed
	}
	if w.epoll == nil {
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return 0, fmt.Errorf("epoll_create1: %w", err)
		}
		if err := unix.SetNonblock(ep, true); err != nil {
			unix.Close(ep)
			return 0, err
		}
		w.epoll, w.at = os.NewFile(uintptr(ep), "handed"), make(map[uint32]*handed)
		go w.watch(w.epoll)
	}
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return 0, err
	}
	most := maxGiven * h.e.mostRelays()
	ctlErr := raw.Control(func(ep uintptr) {
		if w.given >= most {
			w.given = watched(int(ep))
		}
		if w.given >= most {
			err = errTooManyHanded
			return
		}
		w.last++
		// EPOLLHUP and EPOLLERR are always told.
		err = unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLET & 0xffffffff, Fd: int32(w.last)})
	})
	if err = errors.Join(ctlErr, err); err != nil {
		return 0, err
	}
	w.given++
	w.at[w.last] = h
	return w.last, nil
}

// watched is how many sockets an epoll instance still knows; as many as there can be if that
// cannot be found out.
func watched(epoll int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", epoll))
	if err != nil {
		return int(^uint(0) >> 1)
	}
	return strings.Count(string(b), "tfd:")
}

func (w *hands) remove(mark uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.at, mark)
	w.endIfEmpty()
}

// end is for the end of the environment: what is still being delivered goes on.
func (w *hands) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.endIfEmpty()
}

func (w *hands) endIfEmpty() {
	if w.ended && len(w.at) == 0 && w.epoll != nil {
		w.epoll.Close()
		w.epoll = nil
	}
}

// watch tells those whose connection has ended.
func (w *hands) watch(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := raw.Read(func(ep uintptr) bool {
			n, _ = unix.EpollWait(int(ep), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		var all []*handed
		w.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if h := w.at[uint32(e.Fd)]; h != nil {
				all = append(all, h)
			}
		}
		w.mu.Unlock()
		for _, h := range all {
			h.changed()
		}
	}
}
