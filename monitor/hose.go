package monitor

import (
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// hose is a pipe, through which the kernel moves what comes out of one socket into another one, without that
// anybody copies it.
type hose struct {
	in, out int // descriptors
	held    int // bytes in it
}

const (
	// hoseSize is what fits in one, if the kernel allows that much.
	hoseSize = 256 << 10

	// maxHoses is how many there may be, each with two descriptors and what is in it, which no environment's memory
	// has room for. Beyond that streams copy.
	maxHoses = 64
)

// hoses is how many there are.
var hoses atomic.Int32

// newHose returns one, or nil if there are too many, or no descriptors for it.
func newHose() *hose {
	var fds [2]int
	if hoses.Add(1) > maxHoses || unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		hoses.Add(-1)
		return nil
	}
	h := &hose{in: fds[1], out: fds[0]}
	unix.FcntlInt(uintptr(h.in), unix.F_SETPIPE_SZ, hoseSize) // or stays as it is
	return h
}

// close drops what is left in it.
func (h *hose) close() {
	unix.Close(h.in)
	unix.Close(h.out)
	hoses.Add(-1)
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
