package monitor

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/numbers"
	"cofferdam/wire"
)

// Traces is how calls are traced.
type Traces struct {
	Ratio float64 // of the traces that begin here, how many are kept: 0 to 1
}

// Bounds of what is kept of traces until somebody takes it.
const (
	maxSpans     = 8192
	maxSpansEach = maxSpans / 4 // of one service that asks
)

// traces are the calls that are traced. A call is part of the trace that its caller
// says, or of a new one, and its callee is told the span of the call itself, so that
// what it calls comes below. What is told travels with the request: who may not read
// that gets nothing of it, and nothing of it comes back.
//
// A trace that a program names is something it says. Spans leave for where the operator
// has them sent, so there are none of calls in which anything is secret: neither what
// it says nor when. They show what the caller sees.
type traces struct {
	ratio         float64
	made, dropped numbers.Counter

	mu    sync.Mutex // taken last, and alone
	ended []span     // at most maxSpans
}

// span is a call that has ended.
type span struct {
	traced
	caller, callee *service // callee is nil if there is none
	method         string
	took           time.Duration
	denied         bool
	code           wire.Code
}

// traced is a call's place in a trace.
type traced struct {
	at     wire.Trace // itself
	parent [8]byte    // zero for the first of its trace
	began  time.Time
	kept   bool
}

// trace finds the call's place in a trace, after the decision. Without Policy.Traces
// what the caller has said is passed on, and that is all.
func (k *call) trace() {
	m := k.from.env.m
	var said wire.Trace
	if k.terms != nil {
		said = k.terms.trace
	}
	if m.traces == nil {
		k.traced = &traced{at: said}
		return
	}
	k.traced = m.traces.begin(said, k.from.env.speaksInPublic(k.endpoint()))
}

// speaksInPublic tells whether nothing is secret of what e asks an endpoint, and of what
// it is answered.
func (e *Env) speaksInPublic(at guard.Endpoint) bool {
	return !secret(e.at().Label) && !secret(at.Request) && !secret(at.Answer)
}

func secret(l label.Label) bool { return l.Secrecy() != label.True }

// begin is a new span below what was said.
func (t *traces) begin(said wire.Trace, public bool) *traced {
	s := &traced{at: said, parent: said.Span, began: time.Now()}
	if said.IsZero() {
		binary.NativeEndian.PutUint64(s.at.ID[:], rand.Uint64())
		binary.NativeEndian.PutUint64(s.at.ID[8:], rand.Uint64()|1) // never zero
		if rand.Float64() < t.ratio {
			s.at.Flags = wire.Sampled
		}
	}
	binary.NativeEndian.PutUint64(s.at.Span[:], rand.Uint64()|1)
	s.kept = public && s.at.Flags&wire.Sampled != 0
	return s
}

// traceEnds keeps the span of a call that has ended.
func (k *call) traceEnds(code wire.Code) {
	e := k.from.env
	if !k.traced.kept || secret(e.at().Label) {
		return
	}
	e.m.traces.add(span{traced: *k.traced, caller: e.self, callee: k.method.of, method: k.method.Name, took: time.Since(k.traced.began), code: code})
}

// traceDenied keeps that of one that was denied. What it names belongs to the
// caller, unless there is such a method.
func (k *call) traceDenied(f *wire.Frame, err error) {
	e := k.from.env
	if !e.speaksInPublic(guard.Endpoint{}) {
		return
	}
	var said wire.Trace
	if f.Flags != 0 {
		if fields, _, err := wire.CutFields(f.Body); err == nil {
			a, _ := wire.ParseAsk(wire.OpCall, fields)
			said = a.Trace
		}
	}
	s := span{traced: *e.m.traces.begin(said, true), caller: e.self}
	s.code, _ = answerOf(nil, err)
	s.denied = s.code == wire.Denied || s.code == wire.Label
	if k.method != nil {
		s.callee, s.method = k.method.of, k.method.Name
	}
	if s.kept {
		e.m.traces.add(s)
	}
}

func (t *traces) add(s span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made.Add(1)
	if len(t.ended) >= maxSpans || s.caller.counts.spans >= maxSpansEach {
		t.dropped.Add(1)
		return
	}
	s.caller.counts.spans++
	t.ended = append(t.ended, s)
}

// Spans takes up to limit of the spans that have ended, oldest first.
func (m *Monitor) Spans(limit int) []numbers.Span {
	t := m.traces
	if t == nil {
		return nil
	}
	t.mu.Lock()
	taken := t.ended[:min(limit, len(t.ended))]
	if t.ended = t.ended[len(taken):]; len(t.ended) == 0 {
		t.ended = nil
	}
	for i := range taken {
		taken[i].caller.counts.spans--
	}
	t.mu.Unlock()
	spans := make([]numbers.Span, len(taken))
	for i := range taken {
		spans[i] = taken[i].told()
	}
	return spans
}

// told is s as others are told of it.
func (s *span) told() numbers.Span {
	n := numbers.Span{Caller: s.caller.Name, Method: s.method, Start: s.began, Took: s.took, Denied: s.denied}
	n.At(s.at.ID, s.at.Span, s.parent)
	if s.callee != nil {
		n.Service = s.callee.Name
	}
	if s.code != wire.OK {
		n.Error = s.code.String()
	}
	return n
}
