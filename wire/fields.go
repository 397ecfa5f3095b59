package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

const fieldHeader = 5 // u8 key, u32 length

// AppendField appends one field to a list. A value longer than MaxBody makes a
// list that fits no frame; the length of the whole is the sender's to check.
func AppendField[T ~string | ~[]byte](dst []byte, key uint8, value T) []byte {
	dst = append(dst, key)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// AppendUint appends a field of u64s, the meaning of which the key gives.
func AppendUint(dst []byte, key uint8, values ...uint64) []byte {
	dst = append(dst, key)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(8*len(values)))
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

// ParseFields calls do for each field of a list in order; val is a view of b.
// It stops at the first error of do and returns it as it is. It returns an
// [ErrMalformed] if the list is cut short or has more than [MaxFields] fields;
// by then do has seen the fields before.
func ParseFields(b []byte, do func(key uint8, val []byte) error) error {
	for n := 0; len(b) > 0; n++ {
		if n == MaxFields {
			return malformed("more than %d fields", MaxFields)
		}
		if len(b) < fieldHeader {
			return malformed("field %d: cut short", n)
		}
		key, size := b[0], binary.LittleEndian.Uint32(b[1:])
		b = b[fieldHeader:]
		if uint64(size) > uint64(len(b)) {
			return malformed("field %d: %d bytes announced, %d there", n, size, len(b))
		}
		if err := do(key, b[:size:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// ParseUint reads a field of one u64.
func ParseUint(val []byte) (uint64, error) {
	if len(val) != 8 {
		return 0, malformed("number of %d bytes", len(val))
	}
	return binary.LittleEndian.Uint64(val), nil
}

// list is the typed side of ParseFields: a lookup by key of what each field
// means, with the checks that all lists share.
type list struct {
	kind string
	seen [keys]bool
}

// once refuses a second field of a key that has one value.
func (l *list) once(key uint8) error {
	if l.seen[key] {
		return malformed("%s: key %d twice", l.kind, key)
	}
	l.seen[key] = true
	return nil
}

func (l *list) unknown(key uint8) error { return malformed("%s: unknown key %d", l.kind, key) }

// text reads a value that people will see: valid UTF-8 of at most limit bytes
// and no zero byte.
func (l *list) text(key uint8, val []byte, limit int) (string, error) {
	if err := l.bytes(key, val, limit); err != nil {
		return "", err
	}
	if !utf8.Valid(val) {
		return "", malformed("%s: key %d is not UTF-8", l.kind, key)
	}
	return l.path(key, val)
}

// path reads a value that the kernel will see: any bytes but zero.
func (l *list) path(key uint8, val []byte) (string, error) {
	for _, c := range val {
		if c == 0 {
			return "", malformed("%s: key %d has a zero byte", l.kind, key)
		}
	}
	return string(val), nil
}

func (l *list) bytes(key uint8, val []byte, limit int) error {
	if len(val) > limit {
		return malformed("%s: key %d has %d bytes, at most %d", l.kind, key, len(val), limit)
	}
	return nil
}
