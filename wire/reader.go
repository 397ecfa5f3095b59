package wire

import "io"

const (
	startBytes = 4 << 10  // first buffer of a Reader
	keepBytes  = 68 << 10 // a larger one is given back after its frame; a body of 64 KiB fits

	maxIdleReads = 100 // reads in a row that give nothing, before io.ErrNoProgress
)

// Reader reads frames. The memory it holds is at most four times what the peer
// has really sent of the current frame (a header that announces a megabyte
// costs nothing by itself), and at most 68 KiB between frames.
//
// It is not safe for concurrent use.
type Reader struct {
	r    io.Reader
	buf  []byte
	next int  // where the next frame starts
	end  int  // where the bytes read end
	lent bool // buf is somebody else's
	err  error
}

// NewReader returns a Reader of what r yields. It reads ahead: nobody else may
// read from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame, valid until the following call of Next.
//
// It returns io.EOF at the end of the stream, io.ErrUnexpectedEOF if the stream
// ends within a frame, an [ErrMalformed] for a frame that breaks the format
// (and from then on), and any other error as the underlying reader gave it. After
// a timeout of that reader Next may be called again and loses nothing.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	if err := r.fill(HeaderSize); err != nil {
		return Frame{}, err
	}
	h, err := ParseHeader(r.buf[r.next:])
	if err != nil {
		r.err, r.buf, r.lent, r.next, r.end = err, nil, false, 0, 0
		return Frame{}, err
	}
	size := HeaderSize + int(h.Size)
	if err := r.fill(size); err != nil {
		return Frame{}, err
	}
	raw := r.buf[r.next : r.next+size : r.next+size]
	r.next += size
	name, caller := HeaderSize+int(h.Name), HeaderSize+int(h.Name)+int(h.Caller)
	return Frame{
		Header:      h,
		NameBytes:   raw[HeaderSize:name:name],
		CallerBytes: raw[name:caller:caller],
		Body:        raw[caller:],
	}, nil
}

// Lend gives r a buffer to read into while it holds nothing of its own, until GiveBack. So
// who has many readers, of which few are at work, has few buffers.
func (r *Reader) Lend(buf []byte) {
	if r.buf == nil && r.err == nil {
		r.buf, r.lent = buf, true
	}
}

// GiveBack makes r keep what it has read and not returned yet in memory of its own: none, if
// that is nothing. Frames that were returned are not valid any more.
func (r *Reader) GiveBack() {
	switch have := r.buf[r.next:r.end]; {
	case len(have) == 0:
		r.buf = nil
	case r.lent:
		r.buf = append(make([]byte, 0, max(startBytes, len(have))), have...)
		r.buf = r.buf[:cap(r.buf)]
	default:
		return
	}
	r.end -= r.next
	r.next, r.lent = 0, false
}

// Buffered is how many bytes after the last frame have been read already.
func (r *Reader) Buffered() int { return r.end - r.next }

// fill reads until n bytes of the frame at r.next are there.
func (r *Reader) fill(n int) error {
	for idle := 0; r.end-r.next < n; {
		r.room(n)
		m, err := r.r.Read(r.buf[r.end:])
		r.end += m
		switch {
		case r.end-r.next >= n:
			return nil // an error beside enough bytes will come again
		case err == io.EOF && r.end > r.next:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case m > 0:
			idle = 0
		case idle == maxIdleReads:
			return io.ErrNoProgress
		default:
			idle++
		}
	}
	return nil
}

// room makes place for at least one more byte of a frame of n bytes at r.next.
func (r *Reader) room(n int) {
	have := r.end - r.next
	if have == 0 {
		r.next, r.end = 0, 0
		if len(r.buf) > keepBytes && !r.lent {
			r.buf = nil
		}
	}
	if r.next+n <= len(r.buf) {
		return
	}
	size := len(r.buf)
	switch {
	case size > keepBytes && n <= keepBytes && !r.lent:
		size = max(startBytes, n)
	case size < n && have >= size/2:
		size = max(startBytes, min(n, 4*have)) // grows with what came, not with what was announced
	}
	buf := r.buf
	if size != len(buf) {
		buf, r.lent = make([]byte, size), false
	}
	r.end = copy(buf, r.buf[r.next:r.end])
	r.buf, r.next = buf, 0
}
