package wire

import (
	"bytes"
	"fmt"
	"slices"
)

// Frame is a header and the bytes it announces. What a [Reader] returns are
// views of its buffer.
type Frame struct {
	Header
	NameBytes   []byte
	CallerBytes []byte
	Body        []byte
}

// Clone is f with bytes of its own.
func (f *Frame) Clone() Frame {
	return Frame{f.Header, bytes.Clone(f.NameBytes), bytes.Clone(f.CallerBytes), bytes.Clone(f.Body)}
}

// AppendFrame appends f to dst. The lengths are those of the slices; Size, Name
// and Caller of f's Header are not looked at.
//
// It panics if the frame is one that [ParseHeader] would refuse: to send such a
// frame is a bug, for it would end the connection.
func AppendFrame(dst []byte, f *Frame) []byte {
	dst = AppendHead(slices.Grow(dst, HeaderSize+len(f.NameBytes)+len(f.CallerBytes)+len(f.Body)), f, len(f.Body))
	return append(dst, f.Body...)
}

// AppendHead appends what AppendFrame does, but for the body, of which it needs
// only the length: the sender writes body bytes after it, from wherever it has
// them (see writev(2)). f.Body is not looked at.
func AppendHead(dst []byte, f *Frame, body int) []byte {
	if len(f.NameBytes) > MaxName || len(f.CallerBytes) > MaxCaller || uint(body) > MaxBody {
		panic(fmt.Sprintf("wire: %s with name %d, caller %d, body %d bytes", f.Op, len(f.NameBytes), len(f.CallerBytes), body))
	}
	h := f.Header
	h.Name = uint16(len(f.NameBytes))
	h.Caller = uint16(len(f.CallerBytes))
	h.Size = uint32(len(f.NameBytes) + len(f.CallerBytes) + body)
	if err := h.check(); err != nil {
		panic("wire: " + err.Error())
	}
	at := len(dst)
	dst = slices.Grow(dst, HeaderSize+len(f.NameBytes)+len(f.CallerBytes))[:at+HeaderSize]
	h.Put(dst[at:])
	dst = append(dst, f.NameBytes...)
	return append(dst, f.CallerBytes...)
}
