package monitor

import (
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// hose is a pipe, through which the kernel moves what comes out of one socket into another one, without that
// anybody copies it.
type hose struct {
	in, out int // descriptors
	held    int // bytes in it
}

// hoseSize is what fits in one, if the kernel allows that much.
const hoseSize = 1 << 20

// spare are hoses that nobody uses, and that are empty: a stream has one only while there is something in it.
var spare struct {
	sync.Mutex
	all []*hose
}

// maxSpare is how many are kept.
const maxSpare = 16

// takeHose returns an empty one, or nil if there are no descriptors for it.
func takeHose() *hose {
	spare.Lock()
	if n := len(spare.all); n > 0 {
		h := spare.all[n-1]
		spare.all = spare.all[:n-1]
		spare.Unlock()
		return h
	}
	spare.Unlock()
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	h := &hose{in: fds[1], out: fds[0]}
	unix.FcntlInt(uintptr(h.in), unix.F_SETPIPE_SZ, hoseSize) // or stays as it is
	return h
}

// giveHose takes one back. What is left in it nobody gets.
func giveHose(h *hose) {
	if h.held == 0 {
		spare.Lock()
		if len(spare.all) < maxSpare {
			spare.all = append(spare.all, h)
			h = nil
		}
		spare.Unlock()
	}
	if h != nil {
		unix.Close(h.in)
		unix.Close(h.out)
	}
}

// fill moves what is in the socket fd into an empty hose.
func (h *hose) fill(fd int) (n int, err error) {
	moved, err := unix.Splice(fd, nil, h.in, nil, hoseSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	h.held = int(max(moved, 0))
	return int(moved), err
}

// empty moves what is in it into to, until that ends or its deadline for writing is over.
func (h *hose) empty(to *side) error {
	for h.held > 0 {
		var n int64
		var err error
		rawErr := to.raw.Write(func(fd uintptr) bool {
			n, err = unix.Splice(h.out, nil, int(fd), nil, h.held, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			return err != unix.EAGAIN
		})
		switch {
		case rawErr != nil:
			return rawErr
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		}
		h.held -= int(n)
	}
	return nil
}

// rest takes out what is left in it.
func (h *hose) rest() ([]byte, error) {
	b := make([]byte, h.held)
	_, err := io.ReadFull(h, b)
	return b, err
}

// Read implements [io.Reader].
func (h *hose) Read(b []byte) (int, error) {
	n, err := unix.Read(h.out, b)
	h.held -= max(n, 0)
	return n, err
}
