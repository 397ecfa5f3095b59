package wire

import "sync"

// Buffers are those of large frames, which many readers use one after the other: made anew for each
// of them, they are most of what a large body costs. There are two sizes, so that a reader has no more of
// one than it has been sent a quarter of. What nobody uses for a while the runtime takes back.
//
// What is in a buffer that was given back stays there until it is written over: no reader returns more of
// it than it has read to it. The zero value is empty, and safe for concurrent use.
type Buffers struct {
	middle, full sync.Pool // of *[]byte
}

const (
	middleBytes = 4 * keepBytes // a body of 256 KiB fits
	fullBytes   = HeaderSize + MaxSize
)

// take returns size bytes, or somewhat more, but not more than most, of those that are kept.
func (b *Buffers) take(size, most int) []byte {
	switch {
	case b == nil || size <= keepBytes:
	case size <= middleBytes && middleBytes <= most:
		return take(&b.middle, middleBytes)
	case size > middleBytes && size <= fullBytes && fullBytes <= most:
		return take(&b.full, fullBytes)
	}
	return make([]byte, size)
}

func take(p *sync.Pool, size int) []byte {
	if kept, _ := p.Get().(*[]byte); kept != nil {
		return *kept
	}
	return make([]byte, size)
}

// give is for a buffer that nobody uses any more. Those of other sizes are not kept.
func (b *Buffers) give(buf []byte) {
	switch {
	case b == nil:
	case len(buf) == middleBytes:
		b.middle.Put(&buf)
	case len(buf) == fullBytes:
		b.full.Put(&buf)
	}
}
