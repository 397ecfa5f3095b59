package wire

import (
	"bytes"
	"io"
)

const (
	startBytes = 4 << 10  // first buffer of a Reader
	keepBytes  = 68 << 10 // a larger one is given back after its frame; a body of 64 KiB fits

	keepFrom = 16 << 10 // a body of so many bytes is given away together with its buffer

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

	large *Buffers // nil for none

	first int // size of the next buffer, if that is known

	err error
}

// NewReader returns a Reader of what r yields. It reads ahead: nobody else may
// read from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Share makes r take the buffers of large frames from b, and give them back after these.
func (r *Reader) Share(b *Buffers) { r.large = b }

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

// Lend gives r a buffer to read into while it holds none of its own, or an empty one that was for
// a large frame, until GiveBack. So who has many readers, of which few are at work, has few buffers.
// The last frame is not valid any more.
func (r *Reader) Lend(buf []byte) {
	large := r.Buffered() == 0 && len(r.buf) > keepBytes && !r.lent
	if r.err == nil && (r.buf == nil || large) {
		r.drop()
		r.buf, r.lent, r.next, r.end = buf, true, 0, 0
	}
}

// GiveBack makes r keep what it has read and not returned yet: in memory of its own, but
// if that fills a quarter of the buffer that it was lent, it reports true and keeps that one. Frames that
// were returned are not valid any more.
func (r *Reader) GiveBack() (kept bool) {
	have := r.end - r.next
	switch {
	case have == 0:
		r.drop()
		r.next, r.end = 0, 0
	case !r.lent:
	case have >= len(r.buf)/4:
		kept = true
	default:
		own := make([]byte, max(startBytes, have))
		copy(own, r.buf[r.next:r.end])
		r.buf, r.next, r.end = own, 0, have
	}
	r.lent = false
	return kept
}

// Keep is a body, which belongs to the frame that Next has returned last, to be kept: a copy, or, if
// most of the buffer is that, the buffer itself.
func (r *Reader) Keep(body []byte) []byte {
	if len(body) < keepFrom || len(body) < len(r.buf)/2 || r.Buffered() > 0 || r.lent {
		return bytes.Clone(body)
	}
	r.first, r.buf, r.next, r.end = len(r.buf), nil, 0, 0
	return body[:len(body):len(body)]
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
			r.drop()
		}
	}
	if r.next+n <= len(r.buf) {
		return
	}
	size := len(r.buf)
	switch {
	case size == 0 && r.first > 0:
		size = r.first
	case size > keepBytes && n <= keepBytes && !r.lent:
		size = max(startBytes, n)
	case size < n && r.large != nil && have < size:
		// There is room still, and a buffer that many can use takes a full one.
	case size < n && have >= size/2:
		size = max(startBytes, min(n, 4*have)) // grows with what came, not with what was announced
	}
	if size == len(r.buf) {
		if r.next > 0 { // or there is nothing to move, for any byte that comes alone
			r.end, r.next = copy(r.buf, r.buf[r.next:r.end]), 0
		}
		return
	}
	buf := r.large.take(size, 4*have)
	end := copy(buf, r.buf[r.next:r.end])
	r.drop()
	r.buf, r.lent, r.next, r.end = buf, false, 0, end
}

// drop gives buf away.
func (r *Reader) drop() {
	if !r.lent {
		r.large.give(r.buf)
	}
	r.buf = nil
}
