package wire

import (
	"encoding/binary"
	"math"
	"time"
)

// MaxTimeout is the longest timeout that a frame can carry, about 49 days.
const MaxTimeout = math.MaxUint32 * time.Millisecond

// Header is the fixed part of a frame. See the package for the layout.
type Header struct {
	Size    uint32 // bytes after the header
	Op      Op
	Code    Code   // OK in requests
	Name    uint16 // length of the name
	Caller  uint16 // length of the caller
	Flags   uint16 // FlagFields, FlagSocket and FlagUnanswered, where the operation has them
	ID      uint64
	Timeout time.Duration // whole milliseconds, 0 to MaxTimeout
	Call    uint64
}

// ParseHeader reads the first [HeaderSize] bytes of b and checks every bound,
// so that a Header it returned can be trusted to describe a frame of at most
// HeaderSize+MaxSize bytes. Any error is an [ErrMalformed], after which there
// is no telling where the next frame starts.
//
// It panics if b is shorter than HeaderSize.
func ParseHeader(b []byte) (Header, error) {
	_ = b[HeaderSize-1]
	h := Header{
		Size:    binary.LittleEndian.Uint32(b[0:]),
		Op:      Op(b[4]),
		Code:    Code(b[5]),
		Name:    binary.LittleEndian.Uint16(b[6:]),
		ID:      binary.LittleEndian.Uint64(b[8:]),
		Timeout: time.Duration(binary.LittleEndian.Uint32(b[16:])) * time.Millisecond,
		Caller:  binary.LittleEndian.Uint16(b[20:]),
		Flags:   binary.LittleEndian.Uint16(b[22:]),
		Call:    binary.LittleEndian.Uint64(b[24:]),
	}
	if err := h.check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// Put writes h to the first HeaderSize bytes of b. The timeout is rounded up
// to a millisecond and cut at MaxTimeout, so that some time left is never sent
// as 0, which would mean none was set. Put checks nothing else.
func (h Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	binary.LittleEndian.PutUint32(b[0:], h.Size)
	b[4] = byte(h.Op)
	b[5] = byte(h.Code)
	binary.LittleEndian.PutUint16(b[6:], h.Name)
	binary.LittleEndian.PutUint64(b[8:], h.ID)
	binary.LittleEndian.PutUint32(b[16:], uint32(milliseconds(h.Timeout)))
	binary.LittleEndian.PutUint16(b[20:], h.Caller)
	binary.LittleEndian.PutUint16(b[22:], h.Flags)
	binary.LittleEndian.PutUint64(b[24:], h.Call)
}

func (h Header) check() error {
	if !h.Op.Known() {
		return malformed("unknown operation %d", h.Op)
	}
	info := &Ops[h.Op]
	switch {
	case h.Flags&^h.Op.flags() != 0:
		return malformed("%s: flags %#x", info.Name, h.Flags)
	case !h.Code.Known():
		return malformed("%s: unknown code %d", info.Name, h.Code)
	case h.Code != OK && !info.Coded:
		return malformed("%s: has a code", info.Name)
	case h.Name > MaxName:
		return malformed("%s: name of %d bytes, at most %d", info.Name, h.Name, MaxName)
	case (h.Name != 0) != info.Named:
		return malformed("%s: name of %d bytes", info.Name, h.Name)
	case h.Timeout != 0 && !info.Named && !info.Timed && h.Code != Limited:
		return malformed("%s: has a timeout", info.Name)
	case h.Caller > MaxCaller:
		return malformed("%s: caller of %d bytes, at most %d", info.Name, h.Caller, MaxCaller)
	case (h.Caller != 0 || h.Call != 0) && !info.Caller:
		return malformed("%s: has a caller", info.Name)
	}
	rest := int64(h.Size) - int64(h.Name) - int64(h.Caller)
	switch {
	case rest < 0:
		return malformed("%s: size %d is less than name and caller", info.Name, h.Size)
	case rest > MaxBody:
		return malformed("%s: body of %d bytes, at most %d", info.Name, rest, MaxBody)
	case rest > 0 && !info.Body:
		return malformed("%s: has a body", info.Name)
	}
	return nil
}

// flags are those that a frame with this operation may have.
func (op Op) flags() (all uint16) {
	if Ops[op].Opened {
		all = FlagFields
	}
	switch op {
	case OpReply:
		all |= FlagSocket
	case OpCancel:
		all |= FlagUnanswered
	}
	return all
}

// milliseconds rounds up and stays within a u32.
func milliseconds(d time.Duration) int64 {
	d = min(max(d, 0), MaxTimeout)
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
