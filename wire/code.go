package wire

import (
	"fmt"
	"strconv"
	"time"
)

// Code is how a request ended.
type Code uint8

// The codes. Denied covers what is absent as well as what is forbidden.
const (
	OK          Code = 0
	Denied      Code = 1  // not granted, or not there: no way to tell
	Unavailable Code = 2  // granted, but no instance answered in time
	Broken      Code = 3  // granted, but the service has crashed too often
	Deadline    Code = 4  // the deadline passed; the work may or may not have been done
	Canceled    Code = 5  // the caller withdrew it
	TooLarge    Code = 6  // request or reply beyond MaxBody
	Busy        Code = 7  // a queue is full: try later
	Malformed   Code = 8  // the request makes no sense to the monitor
	Failed      Code = 9  // the server's own error; the body is its message
	Interrupted Code = 10 // the instance died while at it; the work may or may not have been done
	Label       Code = 11 // forbidden by a label that the caller may know of; the body says which, and what would allow it
	Withheld    Code = 12 // there is a result, and its label is above the one that was agreed on
	Empty       Code = 13 // nothing was there within the time
	Limited     Code = 14 // granted, and a rate of the manifest is used up: nothing was done; the timeout says when to try again
)

var codes = [...]string{
	OK:          "ok",
	Denied:      "denied",
	Unavailable: "unavailable",
	Broken:      "broken",
	Deadline:    "deadline",
	Canceled:    "canceled",
	TooLarge:    "too large",
	Busy:        "busy",
	Malformed:   "malformed",
	Failed:      "failed",
	Interrupted: "interrupted",
	Label:       "forbidden by a label",
	Withheld:    "withheld",
	Empty:       "empty",
	Limited:     "limited",
}

// Known tells whether c is one of the codes.
func (c Code) Known() bool { return int(c) < len(codes) }

// String is the word for c, or "code(n)".
func (c Code) String() string {
	if !c.Known() {
		return "code(" + strconv.Itoa(int(c)) + ")"
	}
	return codes[c]
}

// Err is nil for OK and otherwise the sentinel of c.
func (c Code) Err() error {
	if c == OK {
		return nil
	}
	return Error{Code: c}
}

// Error is a code as an error. It is a plain value: errors.Is(err, ErrDenied)
// holds for every Error with the code Denied, whatever its message.
type Error struct {
	Code    Code
	Message string // "" unless somebody has more to say than the code

	RetryAfter time.Duration // of Limited: how long until the same request is within the rate, if nobody else makes one
}

// One sentinel for each code but OK.
var (
	ErrDenied      error = Error{Code: Denied}
	ErrUnavailable error = Error{Code: Unavailable}
	ErrBroken      error = Error{Code: Broken}
	ErrDeadline    error = Error{Code: Deadline}
	ErrCanceled    error = Error{Code: Canceled}
	ErrTooLarge    error = Error{Code: TooLarge}
	ErrBusy        error = Error{Code: Busy}
	ErrMalformed   error = Error{Code: Malformed}
	ErrFailed      error = Error{Code: Failed}
	ErrInterrupted error = Error{Code: Interrupted}
	ErrLabel       error = Error{Code: Label}
	ErrWithheld    error = Error{Code: Withheld}
	ErrEmpty       error = Error{Code: Empty}
	ErrLimited     error = Error{Code: Limited}
)

func (e Error) Error() string {
	text := e.Code.String()
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.RetryAfter > 0 {
		text += "; try again in " + e.RetryAfter.String()
	}
	return text
}

// Is makes an Error match the sentinel of its code.
func (e Error) Is(target error) bool {
	t, ok := target.(Error)
	return ok && t == Error{Code: e.Code}
}

// malformed is what every decoder of this package returns.
func malformed(format string, args ...any) error {
	return Error{Code: Malformed, Message: fmt.Sprintf(format, args...)}
}
