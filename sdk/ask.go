package sdk

import (
	"context"
	"errors"
	"time"

	"cofferdam/wire"
)

// ask asks for an operation on labels. what is its object, for errors.
func (c *Client) ask(ctx context.Context, op wire.Op, what string, a *wire.Ask) (wire.Told, error) {
	return c.askFor(ctx, op, what, a, 0)
}

// askFor is ask of one that waits for that long at most, as far as ctx allows.
func (c *Client) askFor(ctx context.Context, op wire.Op, what string, a *wire.Ask, limit time.Duration) (wire.Told, error) {
	var r reply
	var t wire.Told
	body, err := asking(op, a)
	if err == nil {
		r, err = c.exchange(ctx, &wire.Frame{Header: wire.Header{Op: op, Timeout: limit}, Body: body})
	}
	if err == nil {
		t, err = wire.ParseTold(r.body)
	}
	if err != nil {
		return wire.Told{}, &CallError{Op: op.String(), Name: what, Err: err}
	}
	return t, nil
}

// asking is the fields of a, if they are what op takes.
func asking(op wire.Op, a *wire.Ask) ([]byte, error) {
	body := a.Append(nil, op)
	if len(body) > wire.MaxBody {
		return body, nil // which is refused for its length
	}
	_, err := wire.ParseAsk(op, body)
	return body, err
}

// make asks for an operation that makes something, and returns our handle of it.
func (c *Client) make(ctx context.Context, op wire.Op, what string, a *wire.Ask) (Handle, error) {
	t, err := c.ask(ctx, op, what, a)
	if err == nil && len(t.Handles) != 1 {
		err = &CallError{Op: op.String(), Name: what, Err: noHandle}
	}
	if err != nil {
		return Handle{}, err
	}
	return Handle{c, t.Handles[0]}, nil
}

var noHandle error = wire.Error{Code: wire.Malformed, Message: "the reply does not have the handles that it should"}

// askAgain is how long the monitor is asked to wait at a time, where nothing
// else says how long.
const askAgain = time.Hour

// askOnce is the shortest wait that there is.
const askOnce = time.Millisecond

// askUntil asks until what is asked for is there, or ctx ends, or now.
func (c *Client) askUntil(ctx context.Context, op wire.Op, what string, a *wire.Ask, now bool) (wire.Told, error) {
	limit := askAgain
	if now {
		limit = askOnce
	}
	for {
		began := time.Now()
		t, err := c.askFor(ctx, op, what, a, limit)
		full := errors.Is(err, ErrBusy) && time.Since(began) >= limit // at once it is not for lack of room
		if now || ctx.Err() != nil || !full && !errors.Is(err, ErrEmpty) {
			return t, err
		}
	}
}
