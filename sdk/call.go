package sdk

import (
	"context"
	"fmt"
	"time"

	"cofferdam/wire"
)

// Call asks a service, named "service.method", and returns its reply, which the
// caller owns. Request and reply are at most [wire.MaxBody] bytes.
//
// The deadline of ctx, if it has one, goes with the request; without one the
// monitor applies that of the manifest. When ctx ends, the request is withdrawn.
//
// Every error is a [*CallError]. It matches one of the errors ErrDenied to
// ErrInterrupted; the server's own error is a [*Failure] in it.
func (c *Client) Call(ctx context.Context, name string, body []byte) ([]byte, error) {
	out, err := c.call(ctx, name, body)
	if err != nil {
		return nil, &CallError{Op: "call", Name: name, Err: err}
	}
	return out, nil
}

func (c *Client) call(ctx context.Context, name string, body []byte) ([]byte, error) {
	if !wire.ValidName([]byte(name)) {
		return nil, wire.Error{Code: wire.Malformed, Message: "not a service.method"}
	}
	return c.request(ctx, wire.OpCall, name, body)
}

// request sends a request and waits for what ends it.
func (c *Client) request(ctx context.Context, op wire.Op, name string, body []byte) ([]byte, error) {
	if len(body) > wire.MaxBody {
		return nil, wire.Error{Code: wire.TooLarge, Message: fmt.Sprintf("%d bytes, at most %d", len(body), wire.MaxBody)}
	}
	if ctx.Err() != nil {
		return nil, withdrawn(ctx)
	}
	f := wire.Frame{Header: wire.Header{Op: op}, NameBytes: []byte(name), Body: body}
	if at, ok := ctx.Deadline(); ok && wire.Ops[op].Named {
		f.Timeout = max(time.Until(at), time.Millisecond)
	}
	a := &asked{answer: make(chan reply, 2)}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, c.err)
	}
	c.lastID++
	f.ID = c.lastID
	c.asked[f.ID] = a
	c.mu.Unlock()

	if err := c.send(&f); err != nil {
		c.end(err) // which also answers this request
	}
	return c.await(ctx, f.ID, a)
}

// await waits for the end of a request, as the leader if there is none.
func (c *Client) await(ctx context.Context, id uint64, a *asked) ([]byte, error) {
	if c.takeOr(a) {
		return c.awaitLeading(ctx, id, a)
	}
	select {
	case r := <-a.answer:
		if r.lead {
			return c.awaitLeading(ctx, id, a)
		}
		return r.result()
	case <-ctx.Done():
		return c.withdraw(ctx, id, a)
	}
}

func (c *Client) awaitLeading(ctx context.Context, id uint64, a *asked) ([]byte, error) {
	defer c.release()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.disturb)
		defer stop()
	}
	for ctx.Err() == nil {
		if _, err := c.next(false); err != nil {
			c.end(err) // which also answers this request
		}
		select {
		case r := <-a.answer:
			return r.result()
		default:
		}
	}
	return c.withdraw(ctx, id, a)
}

// withdraw gives up a request whose context has ended, unless its end has just
// come.
func (c *Client) withdraw(ctx context.Context, id uint64, a *asked) ([]byte, error) {
	c.mu.Lock()
	delete(c.asked, id) // from now on nothing is sent to a
	c.mu.Unlock()
	for {
		select {
		case r := <-a.answer:
			if !r.lead {
				return r.result()
			}
			defer c.release()
			continue
		default:
		}
		break
	}
	if err := c.send(&wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}}); err != nil {
		c.end(err)
	}
	return nil, withdrawn(ctx)
}

func (r reply) result() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if err := outcome(r.code, r.body); err != nil {
		return nil, err
	}
	return r.body, nil
}
