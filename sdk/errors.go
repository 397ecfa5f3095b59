package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"cofferdam/wire"
)

// How a request can end other than well. Every error of [Client.Call]
// matches exactly one of them with errors.Is, unless the reply could not be
// decoded. A handler may return (or wrap) ErrDenied, ErrBusy, ErrTooLarge and
// ErrMalformed to end its request that way.
var (
	ErrDenied      = wire.ErrDenied      // not granted, or not there: no way to tell
	ErrUnavailable = wire.ErrUnavailable // no instance answered in time, or no connection: nothing was done
	ErrBroken      = wire.ErrBroken      // the service has crashed too often
	ErrDeadline    = wire.ErrDeadline    // too late, also context.DeadlineExceeded; the work may have been done
	ErrCanceled    = wire.ErrCanceled    // withdrawn, also context.Canceled; the work may have been done
	ErrTooLarge    = wire.ErrTooLarge    // request or reply beyond wire.MaxBody
	ErrBusy        = wire.ErrBusy        // a queue is full: try later
	ErrMalformed   = wire.ErrMalformed   // the request makes no sense
	ErrFailed      = wire.ErrFailed      // the server's own error: see Failure
	ErrInterrupted = wire.ErrInterrupted // the instance or the connection died; the work may have been done
	ErrLabel       = wire.ErrLabel       // forbidden by labels: its words say which, and what would allow it
	ErrWithheld    = wire.ErrWithheld    // there is a result, above the label that was agreed on
	ErrEmpty       = wire.ErrEmpty       // nothing was there within the time
	ErrLimited     = wire.ErrLimited     // a rate of the manifest is used up: nothing was done; see RetryAfter
)

// ErrClosed is wrapped by what fails because the connection has ended.
var ErrClosed = errors.New("connection to the monitor has ended")

// MaxMessage is the length in bytes at which the text of an error is cut when
// it is sent or received.
const MaxMessage = 4 << 10

// CallError says which request an error belongs to.
type CallError struct {
	Op   string // the word of wire.Ops: "call", "spawn", "unseal", …
	Name string // service.method, the template, the directory, the mailbox …; may be ""
	Err  error
}

func (e *CallError) Error() string {
	if e.Name == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Name + ": " + e.Err.Error()
}

// Unwrap gives the error behind it.
func (e *CallError) Unwrap() error { return e.Err }

// Failure is an error that a handler returned, as its caller sees it. It
// matches ErrFailed.
type Failure struct {
	Message string // the server's words, at most MaxMessage bytes; trust them as you trust it
}

func (f *Failure) Error() string {
	if f.Message == "" {
		return "failed"
	}
	return "failed: " + f.Message
}

// Is makes a Failure match ErrFailed.
func (f *Failure) Is(target error) bool { return target == ErrFailed }

// RetryAfter is how long to wait before a request is made again that has ended with
// ErrLimited: then it is within the rate, unless others were faster. It is 0 for every
// other error.
func RetryAfter(err error) time.Duration {
	var e wire.Error
	errors.As(err, &e)
	return e.RetryAfter
}

// outcome is the error for the code of a reply; nil for OK.
func outcome(code wire.Code, body []byte) error {
	switch code {
	case wire.OK:
		return nil
	case wire.Failed:
		return &Failure{Message: message(string(body))}
	case wire.Deadline:
		return fmt.Errorf("%w: %w", ErrDeadline, context.DeadlineExceeded)
	case wire.Canceled:
		return fmt.Errorf("%w: %w", ErrCanceled, context.Canceled)
	}
	return wire.Error{Code: code, Message: message(string(body))}
}

// withdrawn is the error for a request whose context has ended.
func withdrawn(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return outcome(wire.Deadline, nil)
	}
	return outcome(wire.Canceled, nil)
}

// refusal is the reply for the error of a handler. Of the codes only those are
// passed on that are a server's to say, and not if they come from a request that
// the handler itself made: that somebody refused the server is not a refusal by
// the server.
func refusal(err error) (wire.Code, []byte) {
	var nested *CallError
	var e wire.Error
	if !errors.As(err, &nested) && errors.As(err, &e) {
		switch e.Code {
		case wire.Denied:
			return e.Code, nil // and not a word more
		case wire.Busy, wire.TooLarge, wire.Malformed:
			return e.Code, []byte(message(e.Message))
		}
	}
	return wire.Failed, []byte(message(err.Error()))
}

// message makes s valid UTF-8 of at most MaxMessage bytes.
func message(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), MaxMessage)], "\uFFFD")
	for len(s) > MaxMessage {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
