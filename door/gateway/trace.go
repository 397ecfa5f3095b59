package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"cofferdam/numbers"
	"cofferdam/sdk"
)

// Traces is how requests are traced.
type Traces struct {
	Ratio  float64  `json:"ratio"`  // of the traces that begin here, how many are kept: 0 to 1
	Call   string   `json:"call"`   // who takes the spans, as service.method
	Public []string `json:"public"` // services of which nothing is secret: a span is between two of these, or from people to one
}

const (
	headerTrace = "Traceparent"
	headerState = "Tracestate"

	sampled     = 1
	reportEvery = time.Second
)

// tracer makes the spans of requests, and hands them over once in a while.
type tracer struct {
	Traces

	mu    sync.Mutex
	ended []numbers.Span // at most numbers.MaxSpans
}

// traceOf is the trace that the fields of a request name, zero for none.
func traceOf(said []string) sdk.Trace {
	if len(said) == 0 {
		return sdk.Trace{}
	}
	return sdk.TraceOf(sdk.ContinueTrace(context.Background(), said[0]))
}

// begin finds the place of a request in a trace. A service says which one it goes on with.
// What people say is no more than a link: they would choose what is kept, and under whose name.
func (t *tracer) begin(x *exchange, said sdk.Trace) {
	x.at = said
	if x.caller == callerOutside {
		x.link, x.at = said, sdk.Trace{}
	}
	x.parent = x.at
	if x.at.IsZero() {
		rand.Read(x.at.ID[:]) // never fails, and is never zero
		if mathrand.Float64() < t.Ratio {
			x.at.Flags = sampled
		}
	}
	rand.Read(x.at.Span[:])
}

// end keeps the span of a request that has ended, if nothing is secret of it.
func (t *tracer) end(method string, x *exchange, took time.Duration) {
	public := func(service string) bool { return slices.Contains(t.Public, service) }
	if x.at.Flags&sampled == 0 || !public(x.service) || x.caller != callerOutside && !public(x.caller) {
		return
	}
	s := numbers.Span{
		Caller: x.caller, Service: x.service, Method: methodName(method), Start: x.start, Took: took, Status: x.status, Link: x.link.String(),
	}
	s.At(x.at.ID, x.at.Span, x.parent.Span)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ended) < numbers.MaxSpans {
		t.ended = append(t.ended, s)
	}
}

// methodName is a method that is known, or what OpenTelemetry calls others.
func methodName(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions:
		return method
	}
	return "_OTHER"
}

// report hands spans over until ctx ends. Those that nobody takes are lost.
func (t *tracer) report(ctx context.Context, call func(context.Context, string, []byte) ([]byte, error)) {
	for tick := time.NewTicker(reportEvery); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		t.mu.Lock()
		spans := t.ended
		t.ended = nil
		t.mu.Unlock()
		if len(spans) == 0 {
			continue
		}
		if body, err := json.Marshal(spans); err == nil {
			timed, cancel := context.WithTimeout(ctx, 5*time.Second)
			call(timed, t.Call, body)
			cancel()
		}
	}
}
