package gateway

import (
	"errors"
	"io"
	"os"
	"syscall"

	"cofferdam/internal/linux"
)

// ask sends a request on a connection that has carried another one, and reads the first of what comes: a look, a
// write, a read. The methods of [net.Conn] would read once more, and find nothing; the look has to be in any
// case, for what has come before a request is no answer to it.
//
// That it waits after the look, without another one, misses nothing. The kernel tells of each thing that comes once
// (EPOLLET), and the runtime remembers that it was told since [syscall.RawConn.Read] has begun. The look is after that. If
// it finds anything, be it the end or an error, nothing is sent. If it finds nothing, all that is to come is yet to
// be told, and that ends the wait, also if it comes before the wait begins. Something may be told late that has been
// read already: that ends the wait as well, then nothing is found, and it goes on.
type ask struct {
	out  []byte // what is to be sent; nil for nothing
	step func(fd uintptr) bool
	into []byte
	n    int
	err  error
}

var (
	errNoisy = errors.New("the service has ended, or has said what nobody asked for") // and nothing was sent
	errRest  = errors.New("not all can be sent at once")
)

// on sends what there is to be sent, and reads into p. The error is errNoisy; errRest, then the rest is in out; or that of
// a read.
func (a *ask) on(raw syscall.RawConn, p []byte) (int, error) {
	if a.step == nil {
		a.step = a.next // kept, so that an ask allocates nothing
	}
	a.into, a.n, a.err = p, 0, errNoisy
	err := raw.Read(a.step)
	a.into = nil
	if a.err == nil && err != nil {
		return 0, err // of the wait
	}
	return a.n, a.err
}

// next is the next step; the poller takes it again as long as it is not the last.
func (a *ask) next(fd uintptr) (last bool) {
	if a.out == nil {
		a.n, a.err = readNow(fd, a.into)
		if a.err == syscall.EAGAIN {
			a.err = nil
			return false
		}
		return true
	}
	if _, err := peekNow(fd); err != syscall.EAGAIN {
		return true
	}
	n, _ := linux.WriteNow(int(fd), a.out)
	if n < len(a.out) {
		a.out, a.err = a.out[n:], errRest // an error as well: it comes again with the rest
		return true
	}
	a.out, a.err = nil, nil
	return false
}

// readNow reads what has come. The error is EAGAIN for nothing.
func readNow(fd uintptr, p []byte) (int, error) {
	n, err := linux.ReadNow(int(fd), p)
	switch {
	case err == syscall.EAGAIN:
		return 0, err
	case err != nil:
		return 0, os.NewSyscallError("recv", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// peekNow tells what could be read now: up to one byte, 0 for the end, or an error, which is EAGAIN for nothing.
func peekNow(fd uintptr) (int, error) {
	var one [1]byte
	return linux.PeekNow(int(fd), one[:])
}
