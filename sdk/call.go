package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cofferdam/wire"
)

// Call asks a service, named "service.method", and returns its reply, which the
// caller owns. Request and reply are at most [wire.MaxBody] bytes.
//
// The deadline of ctx, if it has one, goes with the request; without one the
// monitor applies that of the manifest. When ctx ends, the request is withdrawn.
// Handles that come with the reply are dropped: see [Client.CallWith].
//
// Every error is a [*CallError]. It matches one of the errors ErrDenied to
// ErrLimited; the server's own error is a [*Failure] in it.
func (c *Client) Call(ctx context.Context, name string, body []byte) ([]byte, error) {
	out, err := c.call(ctx, name, body)
	if err != nil {
		return nil, &CallError{Op: "call", Name: name, Err: err}
	}
	return out, nil
}

func (c *Client) call(ctx context.Context, name string, body []byte) ([]byte, error) {
	r, err := c.callWith(ctx, name, body, &Options{})
	c.discard(r.tells().Handles)
	return r.body, err
}

// Reply is what a call was answered with.
type Reply struct {
	Body    []byte
	Handles []Handle // that came with it, ours to drop
	Label   Label    // of the answer
}

// CallWith is [Client.Call] with privileges, with one that is shown to who is called, and
// with handles that go and come. Without them it is the same as Call.
//
// It is ErrLabel if our label does not flow to that of requests there, or that of
// answers not to ours.
func (c *Client) CallWith(ctx context.Context, name string, body []byte, o Options) (Reply, error) {
	r, err := c.callWith(ctx, name, body, &o)
	if err != nil {
		c.discard(r.tells().Handles)
		return Reply{}, &CallError{Op: "call", Name: name, Err: err}
	}
	return Reply{r.body, c.handles(r.tells().Handles), r.tells().Label}, nil
}

// Gate calls a gate: a method that releases or endorses what its caller could not,
// and wants to be shown a privilege for it, which it does not get.
func (c *Client) Gate(ctx context.Context, name string, shown Formula, body []byte) ([]byte, error) {
	r, err := c.CallWith(ctx, name, body, Options{Shown: shown})
	c.discard(numbers(r.Handles))
	return r.Body, err
}

func (c *Client) callWith(ctx context.Context, name string, body []byte, o *Options) (reply, error) {
	if !wire.ValidName([]byte(name)) {
		return reply{}, wire.Error{Code: wire.Malformed, Message: "not a service.method"}
	}
	f := wire.Frame{Header: wire.Header{Op: wire.OpCall}, NameBytes: []byte(name), Body: body}
	a := o.ask()
	a.Trace = TraceOf(ctx)
	fields, err := asking(wire.OpCall, a)
	if err != nil {
		return reply{}, err
	}
	if n := len(wire.AppendFields(nil, fields)); !a.Trace.IsZero() && n+len(body) > wire.MaxBody {
		a.Trace = Trace{} // the body goes first
		fields = a.Append(nil, wire.OpCall)
	}
	if len(fields) > 0 {
		f.Flags = wire.FlagFields
		f.Body = append(wire.AppendFields(nil, fields), body...)
	}
	return c.exchange(ctx, &f)
}

// discard drops handles that nobody waits for, when there is time.
func (c *Client) discard(handles []uint64) {
	if len(handles) > 0 {
		go c.Drop(context.Background(), c.handles(handles)...)
	}
}

// request sends a request and waits for the body of its reply.
func (c *Client) request(ctx context.Context, op wire.Op, name string, body []byte) ([]byte, error) {
	r, err := c.exchange(ctx, &wire.Frame{Header: wire.Header{Op: op}, NameBytes: []byte(name), Body: body})
	if err != nil {
		return nil, err
	}
	return r.body, nil
}

// exchange sends a request and waits for what ends it. Whatever the error, what
// the reply told is in it.
func (c *Client) exchange(ctx context.Context, f *wire.Frame) (reply, error) {
	if len(f.Body) > wire.MaxBody {
		return reply{}, wire.Error{Code: wire.TooLarge, Message: fmt.Sprintf("%d bytes, at most %d", len(f.Body), wire.MaxBody)}
	}
	info := &wire.Ops[f.Op]
	switch {
	case ctx.Err() != nil && info.Timed:
		return reply{}, outlasted(ctx, f.Op)
	case ctx.Err() != nil:
		return reply{}, withdrawn(ctx)
	}
	if at, ok := ctx.Deadline(); ok && (info.Named || info.Timed) {
		if left := max(time.Until(at), time.Millisecond); f.Timeout == 0 || left < f.Timeout {
			f.Timeout = left
		}
	}
	a := &asked{answer: make(chan reply, 2), certain: certain[f.Op]}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return reply{}, fmt.Errorf("%w: %w", ErrUnavailable, c.err)
	}
	c.lastID++
	f.ID = c.lastID
	c.asked[f.ID] = a
	c.mu.Unlock()

	if err := c.send(f); err != nil {
		c.end(err) // which also answers this request
	}
	r, err := c.await(ctx, f.ID, a)
	if err == nil {
		err = r.result()
	}
	if info.Timed && ctx.Err() != nil && isAny(err, ErrEmpty, ErrBusy, ErrCanceled, ErrDeadline) {
		err = outlasted(ctx, f.Op)
	}
	return r, err
}

// outlasted is the error of an operation that waited until ctx ended.
func outlasted(ctx context.Context, op wire.Op) error {
	err := withdrawn(ctx)
	switch {
	case errors.Is(err, ErrCanceled):
		return err
	case op == wire.OpPut:
		return ErrBusy // there was no room
	}
	return ErrEmpty
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// certain are the operations that the monitor answers even if they are withdrawn,
// so that we know what became of the message.
var certain = [len(wire.Ops)]bool{wire.OpPut: true, wire.OpRecv: true, wire.OpTake: true}

// await waits for the end of a request, as the leader if there is none. It
// returns an error if ctx ends before.
func (c *Client) await(ctx context.Context, id uint64, a *asked) (reply, error) {
	if c.takeOr(a) {
		return c.awaitLeading(ctx, id, a)
	}
	for {
		select {
		case r := <-a.answer:
			if r.lead {
				return c.awaitLeading(ctx, id, a)
			}
			return r, nil
		case <-ctx.Done():
			if !a.certain {
				return c.withdraw(ctx, id, a)
			}
			c.cancel(id)
			ctx = context.WithoutCancel(ctx)
		}
	}
}

func (c *Client) awaitLeading(ctx context.Context, id uint64, a *asked) (reply, error) {
	defer c.release()
	for {
		if r, ended := c.leadFor(ctx, a); ended {
			return r, nil
		}
		if !a.certain {
			return c.withdraw(ctx, id, a)
		}
		c.cancel(id)
		ctx = context.WithoutCancel(ctx)
	}
}

// leadFor leads until a is answered, or ctx ends.
func (c *Client) leadFor(ctx context.Context, a *asked) (r reply, ended bool) {
	c.socket.Heed(ctx.Done() != nil)
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
			return r, true
		default:
		}
	}
	return reply{}, false
}

// withdraw gives up a request whose context has ended, unless its end has just
// come.
func (c *Client) withdraw(ctx context.Context, id uint64, a *asked) (reply, error) {
	c.mu.Lock()
	delete(c.asked, id) // from now on nothing is sent to a
	c.mu.Unlock()
	for {
		select {
		case r := <-a.answer:
			if !r.lead {
				return r, nil
			}
			defer c.release()
			continue
		default:
		}
		break
	}
	c.cancel(id)
	return reply{}, withdrawn(ctx)
}

func (c *Client) cancel(id uint64) {
	if err := c.send(&wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}}); err != nil {
		c.end(err)
	}
}

func (r reply) result() error {
	if r.err != nil {
		return r.err
	}
	if r.code == wire.Limited {
		return wire.Error{Code: r.code, Message: message(string(r.body)), RetryAfter: r.after}
	}
	return outcome(r.code, r.body)
}
