package wire

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of an Exit besides [MaxBody].
const (
	MaxCause  = 32
	MaxLimit  = 128
	MaxDetail = 1 << 10
)

// Exit is how a spawned instance ended.
type Exit struct {
	Stdout, Stderr []byte        // what was captured
	Cause          string        // of the executor: "exit", "wall", "oom", …; at most MaxCause bytes
	Code           int           // exit status, 128+n for signal n; 0 to MaxInt32
	Limit          string        // the limit that fired, "" for none; at most MaxLimit bytes
	Detail         string        // one sentence for people; at most MaxDetail bytes
	Wall, CPU      time.Duration // whole microseconds
	Memory         int64         // peak in bytes
}

// Append appends e as a list of fields. Empty values are left out but for Cause,
// Code and usage. Durations are cut to microseconds, negative numbers to 0, and
// texts to their bounds, so that [ParseExit] accepts it whatever e says. The
// length of the whole is the sender's to check.
func (e *Exit) Append(dst []byte) []byte {
	dst = AppendField(dst, KeyCause, cut(e.Cause, MaxCause))
	dst = AppendUint(dst, KeyCode, uint64(min(max(e.Code, 0), math.MaxInt32)))
	dst = AppendUint(dst, KeyUsage,
		uint64(max(e.Wall, 0)/time.Microsecond), uint64(max(e.CPU, 0)/time.Microsecond), uint64(max(e.Memory, 0)))
	if e.Limit != "" {
		dst = AppendField(dst, KeyLimit, cut(e.Limit, MaxLimit))
	}
	if e.Detail != "" {
		dst = AppendField(dst, KeyDetail, cut(e.Detail, MaxDetail))
	}
	if len(e.Stdout) != 0 {
		dst = AppendField(dst, KeyStdout, e.Stdout)
	}
	if len(e.Stderr) != 0 {
		dst = AppendField(dst, KeyStderr, e.Stderr)
	}
	return dst
}

// ParseExit reads an Exit, whose Stdout and Stderr are views of b. It returns an
// [ErrMalformed] for a key twice, an unknown key, no cause, and a value beyond
// its bound.
func ParseExit(b []byte) (Exit, error) {
	var e Exit
	l := list{kind: "exit"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyStdout:
			e.Stdout = bound(val)
		case KeyStderr:
			e.Stderr = bound(val)
		case KeyCause:
			e.Cause, err = l.text(key, val, MaxCause)
		case KeyCode:
			err = e.code(val)
		case KeyLimit:
			e.Limit, err = l.text(key, val, MaxLimit)
		case KeyDetail:
			e.Detail, err = l.text(key, val, MaxDetail)
		case KeyUsage:
			err = e.usage(val)
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err == nil && e.Cause == "" {
		err = malformed("exit: no cause")
	}
	if err != nil {
		return Exit{}, err
	}
	return e, nil
}

func (e *Exit) code(val []byte) error {
	n, err := ParseUint(val)
	if err != nil {
		return err
	}
	if n > math.MaxInt32 {
		return malformed("exit: code %d", n)
	}
	e.Code = int(n)
	return nil
}

func (e *Exit) usage(val []byte) error {
	if len(val) != 24 {
		return malformed("exit: usage of %d bytes", len(val))
	}
	wall, cpu := binary.LittleEndian.Uint64(val), binary.LittleEndian.Uint64(val[8:])
	memory := binary.LittleEndian.Uint64(val[16:])
	const most = uint64(math.MaxInt64 / time.Microsecond)
	if wall > most || cpu > most || memory > math.MaxInt64 {
		return malformed("exit: usage %d, %d, %d", wall, cpu, memory)
	}
	e.Wall = time.Duration(wall) * time.Microsecond
	e.CPU = time.Duration(cpu) * time.Microsecond
	e.Memory = int64(memory)
	return nil
}

// cut shortens s to at most limit bytes of valid UTF-8 without zero bytes.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	for len(s) > limit {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
