package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

const (
	// pieceSize is how much of a body is in our hands at a time, in each direction.
	pieceSize = 16 << 10

	// maxTrailer is how long what follows the last chunk may be.
	maxTrailer = 8 << 10

	// maxChunkLine is how long the line ahead of a chunk may be, but for its end.
	maxChunkLine = 16
)

// pieces are buffers that nobody uses. An idle connection has none.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// input is what has come from one end of a connection and was not looked at yet.
type input struct {
	c    io.Reader
	buf  []byte // nil as long as nothing is there
	r, w int    // what of it that is
}

// release gives the buffer back if nothing is in it.
func (in *input) release() {
	if in.buf == nil || in.r < in.w {
		return
	}
	if len(in.buf) == pieceSize {
		pieces.Put((*[pieceSize]byte)(in.buf))
	}
	in.buf, in.r, in.w = nil, 0, 0
}

func (in *input) waiting() []byte { return in.buf[in.r:in.w] }

// fill reads something more. There is room, or a larger buffer is made.
func (in *input) fill() error {
	switch {
	case in.buf == nil:
		in.buf = pieces.Get().(*[pieceSize]byte)[:]
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w == len(in.buf) && in.r > 0:
		in.w = copy(in.buf, in.waiting())
		in.r = 0
	case in.w == len(in.buf):
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := in.c.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head takes a head off, with the empty line at its end. The error is errHead, errHeadLong,
// io.EOF before the first byte, io.ErrUnexpectedEOF after it, or of the connection.
func (in *input) head(most int) (string, error) {
	for seen, line := 0, 0; ; {
		b := in.waiting()
		for seen < len(b) {
			end := bytes.IndexByte(b[seen:], '\n')
			if end < 0 {
				seen = len(b)
				break
			}
			if end += seen; end >= most {
				return "", errHeadLong
			}
			if end == line || b[end-1] != '\r' || bytes.IndexByte(b[line:end-1], '\r') >= 0 {
				return "", errHead
			}
			if end == line+1 {
				if line == 0 {
					return "", errHead // an empty line in front of it
				}
				in.r += end + 1
				return string(b[:end+1]), nil
			}
			seen, line = end+1, end+1
		}
		if len(b) > 0 && classes[b[0]]&inToken == 0 {
			return "", errHead
		}
		if len(b) >= most {
			return "", errHeadLong
		}
		if err := in.fill(); err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// line takes off one short line of those between chunks, without its end.
func (in *input) line(most int) (string, error) {
	for {
		b := in.waiting()
		if end := bytes.IndexByte(b, '\n'); end >= 0 {
			if end == 0 || end > most || b[end-1] != '\r' || bytes.IndexByte(b[:end-1], '\r') >= 0 {
				return "", errChunk
			}
			in.r += end + 1
			return string(b[:end-1]), nil
		}
		if len(b) > most {
			return "", errChunk
		}
		if err := in.fill(); err != nil {
			return "", cutShort(err)
		}
	}
}

var (
	errChunk   = errors.New("a chunk that is none")
	errTooLong = errors.New("more than a body may have")
)

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body is what follows a head, without what frames it.
type body struct {
	in      *input
	left    int64 // until the end, or until the end of the chunk; -1 for all until the connection ends
	chunked bool
	due     bool  // the end of a line after a chunk
	most    int64 // that there may be; -1 for any length
	ended   bool
	err     error
}

// newBody is the one that f announces.
func newBody(in *input, f *framing, most int64) *body {
	b := &body{in: in, left: f.length, chunked: f.chunked, most: most}
	if f.chunked {
		b.left = 0
	}
	b.ended = !f.chunked && f.length == 0
	return b
}

// next is the next piece, which is good until the one after it. The error is io.EOF at
// the proper end, and stays.
func (b *body) next() ([]byte, error) {
	if b.ended {
		return nil, io.EOF
	}
	if b.err == nil {
		var piece []byte
		if piece, b.err = b.piece(); b.err == nil {
			return piece, nil
		}
	}
	b.ended = b.err == io.EOF
	return nil, b.err
}

func (b *body) piece() ([]byte, error) {
	if b.chunked && b.left == 0 {
		if err := b.chunk(); err != nil {
			return nil, err
		}
	}
	in := b.in
	if in.r == in.w {
		if err := in.fill(); err != nil {
			if b.left < 0 {
				return nil, err // which io.EOF is the proper end of
			}
			return nil, cutShort(err)
		}
	}
	piece := in.waiting()
	if b.left >= 0 && int64(len(piece)) > b.left {
		piece = piece[:b.left]
	}
	n := len(piece)
	in.r += n
	if b.most >= 0 {
		if b.most -= int64(n); b.most < 0 {
			return nil, errTooLong
		}
	}
	if b.left < 0 {
		return piece, nil
	}
	b.left -= int64(n)
	if !b.chunked {
		b.ended = b.left == 0
		return piece, nil
	}
	if b.due = b.left == 0; b.due && bytes.HasPrefix(in.waiting(), []byte("\r\n")) {
		in.r += 2 // otherwise it is read later: the buffer would move under the piece
		b.due = false
	}
	return piece, nil
}

// here tells whether next has something to give of what has come already, be it an error.
func (b *body) here() bool {
	have := b.in.waiting()
	if !b.chunked || b.left > 0 {
		return len(have) > 0
	}
	if len(have) > 2*maxChunkLine {
		return true // who waits for an end of those lines could wait with ever more of them
	}
	lines := 1
	if b.due {
		lines = 2
	}
	return bytes.Count(have, []byte("\n")) >= lines
}

// chunk reads the line ahead of the next chunk, and io.EOF for the last one, with what follows
// it: that is checked like any other field, and dropped.
func (b *body) chunk() error {
	if b.due {
		if text, err := b.in.line(1); err != nil || text != "" {
			if err == nil {
				err = errChunk
			}
			return err
		}
		b.due = false
	}
	text, err := b.in.line(maxChunkLine)
	if err != nil {
		return err
	}
	if b.left, err = parseChunk(text); err != nil {
		return err
	}
	if b.left > 0 {
		if b.most >= 0 && b.left > b.most {
			return errTooLong
		}
		return nil
	}
	for all := 0; ; {
		line, err := b.in.line(maxTrailer)
		if err != nil {
			return err
		}
		if line == "" {
			return io.EOF
		}
		name, value, ok := strings.Cut(line, ":")
		if all += len(line); !ok || !token(name) || !fieldText(value) || all > maxTrailer {
			return errChunk
		}
	}
}

func parseChunk(s string) (n int64, err error) {
	if s == "" || len(s) > 15 {
		return 0, errChunk
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, errChunk // an extension as well: nobody knows any
		}
		n = n<<4 | int64(c)
	}
	return n, nil
}

// frame puts a piece into a chunk.
func frame(b, piece []byte) []byte {
	b = fmt.Appendf(b, "%x\r\n", len(piece))
	return append(append(b, piece...), "\r\n"...)
}

const lastChunk = "0\r\n\r\n"
