package link

import (
	"io"
	"os"
)

// exactly reads the n bytes that are to come, and not one more.
type exactly struct {
	f *os.File
	n int
}

func (r *exactly) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n, err := r.f.Read(p[:min(len(p), r.n)])
	r.n -= n
	if err == io.EOF && r.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
