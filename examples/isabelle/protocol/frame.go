package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// shortBytes is how long a message may be that goes without a header.
const shortBytes = 100

// ErrFrame is a message that has no frame: one of digits would be taken for a
// length, and the end of a line at its end would be taken off.
var ErrFrame = errors.New("a message of digits alone, or with the end of a line at its end, cannot be sent")

// Frame appends the message to dst as it is written to a connection: as a line,
// or, if it is long or has lines of its own, with a header before it. It is
// to be written at once, so that messages never interleave.
func Frame(dst, message []byte) ([]byte, error) {
	if digits(message) || bytes.HasSuffix(message, []byte("\n")) || bytes.HasSuffix(message, []byte("\r")) {
		return dst, fmt.Errorf("%.40q: %w", message, ErrFrame)
	}
	if len(message) > shortBytes || bytes.IndexByte(message, '\n') >= 0 {
		dst = append(strconv.AppendInt(dst, int64(len(message)+1), 10), '\n')
	}
	return append(append(dst, message...), '\n'), nil
}
