package sdk

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of one request to us. Most handlers never wait,
// and a timer for each would cost more than the rest of a call: so there is
// none until somebody asks for Done.
type requestContext struct {
	context.Context // the server's
	deadline        time.Time
	trace           Trace

	mu     sync.Mutex
	err    error
	done   chan struct{} // nil until asked for
	timer  *time.Timer   // nil until then, or without a deadline
	parent func() bool   // stops following the server's context; nil until then
}

func newRequestContext(server context.Context, timeout time.Duration) *requestContext {
	r := &requestContext{Context: server}
	if timeout > 0 {
		r.deadline = time.Now().Add(timeout)
	}
	return r
}

// Deadline is when the monitor ends the request.
func (r *requestContext) Deadline() (time.Time, bool) {
	return r.deadline, !r.deadline.IsZero()
}

// Done is closed when the request ends.
func (r *requestContext) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil {
		return r.done
	}
	r.done = make(chan struct{})
	if r.lapsed() {
		close(r.done)
		return r.done
	}
	if !r.deadline.IsZero() {
		r.timer = time.AfterFunc(time.Until(r.deadline), func() { r.end(context.DeadlineExceeded) })
	}
	r.parent = context.AfterFunc(r.Context, func() { r.end(r.Context.Err()) })
	return r.done
}

// Err is why the request has ended, nil before.
func (r *requestContext) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lapsed()
	return r.err
}

// lapsed notes an end that nobody has told us of. The caller holds mu.
func (r *requestContext) lapsed() bool {
	if r.err == nil {
		r.err = r.Context.Err()
	}
	if r.err == nil && !r.deadline.IsZero() && !time.Now().Before(r.deadline) {
		r.err = context.DeadlineExceeded
	}
	return r.err != nil
}

// cancel ends the request.
func (r *requestContext) cancel() { r.end(context.Canceled) }

func (r *requestContext) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if r.parent != nil {
		r.parent()
		r.parent = nil
	}
	if r.done != nil {
		select {
		case <-r.done:
		default:
			close(r.done)
		}
	}
}
