package wire

import (
	"encoding/hex"
	"fmt"
)

// TraceSize is the length of a Trace in bytes.
const TraceSize = 25

// Trace says where in a trace something was done, as W3C Trace Context has it: which
// trace, by which span, and with which flags. The zero value is none.
type Trace struct {
	ID    [16]byte // never zero, but of none
	Span  [8]byte  // the same
	Flags byte     // see Sampled
}

// Sampled is the flag of a trace that somebody keeps.
const Sampled byte = 1

// IsZero tells whether t is none.
func (t Trace) IsZero() bool { return t == Trace{} }

// Append appends the bytes of t, which is not zero.
func (t Trace) Append(dst []byte) []byte {
	dst = append(dst, t.ID[:]...)
	dst = append(dst, t.Span[:]...)
	return append(dst, t.Flags)
}

// String is t as a traceparent, "" for none.
func (t Trace) String() string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("00-%x-%x-%02x", t.ID, t.Span, t.Flags)
}

// ParseTrace reads a traceparent: of version 00, or the beginning of one of a later
// version, which is the same. What is not one is no error of anybody's that matters, so
// there is only whether it is.
func ParseTrace(s string) (t Trace, ok bool) {
	const size = len("00-") + 32 + len("-") + 16 + len("-01")
	if len(s) < size || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || s[:2] == "00" && len(s) != size || len(s) > size && s[size] != '-' {
		return Trace{}, false
	}
	for _, c := range []byte(s[:size]) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Trace{}, false // in small letters
		}
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		text string
	}{{version[:], s[:2]}, {t.ID[:], s[3:35]}, {t.Span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return Trace{}, false
		}
	}
	t.Flags = flags[0] & Sampled // of others we do not know what they say
	if t.ID == [16]byte{} || t.Span == [8]byte{} {
		return Trace{}, false
	}
	return t, true
}

// trace reads a field with a Trace.
func (l *list) trace(val []byte) (t Trace, err error) {
	if len(val) != TraceSize {
		return t, malformed("%s: a trace of %d bytes, not %d", l.kind, len(val), TraceSize)
	}
	copy(t.ID[:], val)
	copy(t.Span[:], val[16:])
	if t.Flags = val[24]; t.ID == [16]byte{} || t.Span == [8]byte{} || t.Flags > Sampled {
		return Trace{}, malformed("%s: a trace that is none, or has flags %#x", l.kind, t.Flags)
	}
	return t, nil
}
