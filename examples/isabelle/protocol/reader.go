package protocol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits bound what a [Reader] takes. A zero field is its default.
type Limits struct {
	Digits int // of a header; 10
	First  int // bytes of the line that is read by Line; 1 KiB
	Line   int // bytes of a message without a header; 1 MiB
	Block  int // bytes of a message with a header; 64 MiB

	Arriving func(bytes int) // called when a header was read, before its block is; may be nil
}

// ErrTooLarge is a message, or a header, beyond the limits of a reader. What
// follows it on the connection cannot be read.
var ErrTooLarge = errors.New("too large")

// Reader reads messages from a connection. After an error it is of no more use.
type Reader struct {
	in     *bufio.Reader
	limits Limits
}

// NewReader returns a reader of what arrives from in.
func NewReader(in io.Reader, limits Limits) *Reader {
	if limits.Digits == 0 {
		limits.Digits = 10
	}
	if limits.First == 0 {
		limits.First = 1 << 10
	}
	if limits.Line == 0 {
		limits.Line = 1 << 20
	}
	if limits.Block == 0 {
		limits.Block = 64 << 20
	}
	return &Reader{bufio.NewReader(in), limits}
}

// Line reads one line and takes it for what it says: the password, with which a
// client begins, is never a length. It returns [io.EOF] if nothing more comes,
// and an unfinished last line as a line.
func (r *Reader) Line() ([]byte, error) { return r.line(r.limits.First) }

func (r *Reader) line(most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > most+len("\r\n") {
			return nil, fmt.Errorf("a line of more than %d bytes: %w", most, ErrTooLarge)
		}
		switch {
		case err == nil:
			return trimLine(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return trimCR(line), nil
		default:
			return nil, err
		}
	}
}

// Message reads one message. It returns [io.EOF] if nothing more comes, also if
// that happens in the middle of a block: the server discards such a message.
func (r *Reader) Message() ([]byte, error) {
	line, err := r.line(r.limits.Line)
	if err != nil || !digits(line) {
		return line, err
	}
	n, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return line, nil // beyond the range of integers it is no length
	}
	if len(line) > r.limits.Digits || n > int64(r.limits.Block) {
		return nil, fmt.Errorf("a block of %.24s bytes, of at most %d: %w", line, r.limits.Block, ErrTooLarge)
	}
	if r.limits.Arriving != nil {
		r.limits.Arriving(int(n))
	}
	var block bytes.Buffer // grows with what arrives, whatever the header says
	if _, err := io.CopyN(&block, r.in, n); err != nil {
		return nil, err
	}
	return trimLine(block.Bytes()), nil
}

// Wait returns when there is something to read, and takes nothing. After a timeout
// it may be called again.
func (r *Reader) Wait() error {
	_, err := r.in.Peek(1)
	return err
}

func digits(line []byte) bool {
	for _, c := range line {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(line) > 0
}

// trimLine takes off one LF or CRLF; and from a line without LF, nothing.
func trimLine(b []byte) []byte {
	if rest, ok := bytes.CutSuffix(b, []byte("\n")); ok {
		return trimCR(rest)
	}
	return b
}

func trimCR(b []byte) []byte { return bytes.TrimSuffix(b, []byte("\r")) }
