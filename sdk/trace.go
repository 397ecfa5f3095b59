package sdk

import (
	"context"

	"cofferdam/wire"
)

// Trace says where in a trace something is done, as W3C Trace Context has it; its
// String is a traceparent. The zero value is none.
type Trace = wire.Trace

type traceKey struct{}

// TraceOf is the trace that what is done with ctx is part of, zero for none. The context
// of a [Handler] has that of its request: what it calls with that context is part of
// the same trace.
func TraceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// WithTrace makes what is called with the context part of a trace.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// ContinueTrace is WithTrace for the trace that a traceparent names, such as that of a
// request over HTTP; ctx as it is, if it is none.
func ContinueTrace(ctx context.Context, traceparent string) context.Context {
	t, ok := wire.ParseTrace(traceparent)
	if !ok {
		return ctx
	}
	return WithTrace(ctx, t)
}

// Value is the trace of the request, for [TraceOf], or a value of the server's context.
func (r *requestContext) Value(key any) any {
	if key == (traceKey{}) && !r.trace.IsZero() {
		return r.trace
	}
	return r.Context.Value(key)
}
