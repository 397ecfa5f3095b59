package monitor

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"cofferdam/numbers"
	"cofferdam/wire"
)

// aTrace is what a program may say that it is part of.
var aTrace = wire.Trace{ID: [16]byte{1, 15: 2}, Span: [8]byte{3, 7: 4}, Flags: wire.Sampled}

// tracing is p with calls traced, of those that begin here that part.
func tracing(p Policy, ratio float64) Policy {
	p.Traces = &Traces{Ratio: ratio}
	return p
}

// saying sends a call that says which trace it is part of, and body after that.
func (p *peer) saying(name string, t wire.Trace, body []byte) uint64 {
	p.t.Helper()
	a := wire.Ask{Trace: t}
	p.last++
	p.send(wire.Frame{
		Header:    wire.Header{Op: wire.OpCall, ID: p.last, Flags: wire.FlagFields},
		NameBytes: []byte(name), Body: append(wire.AppendFields(nil, a.Append(nil, wire.OpCall)), body...),
	})
	return p.last
}

// traceTold is the trace that a call comes with, and its body.
func traceTold(t *testing.T, f wire.Frame) (wire.Trace, []byte) {
	t.Helper()
	if f.Flags == 0 {
		return wire.Trace{}, f.Body
	}
	fields, body, err := wire.CutFields(f.Body)
	if err != nil {
		t.Fatal(err)
	}
	told, err := wire.ParseTold(fields)
	if err != nil {
		t.Fatal(err)
	}
	return told.Trace, body
}

func TestACallIsPartOfATrace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ratio float64
		said  wire.Trace
		kept  bool
	}{
		{"a new one", 1, wire.Trace{}, true},
		{"a new one that is not kept", 0, wire.Trace{}, false},
		{"that it says", 1, aTrace, true},
		{"that it says to be kept", 0, aTrace, true},
		{"that it says not to be", 1, wire.Trace{ID: aTrace.ID, Span: aTrace.Span}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tracing(bank(), tt.ratio))
			_, server := l.server("bank", "bank-1", "balance")
			p := l.connect(l.admit("front", "front-1"))
			var id uint64
			if tt.said.IsZero() {
				id = p.call("bank.balance", "hello")
			} else {
				id = p.saying("bank.balance", tt.said, []byte("hello"))
			}
			f := server.called("balance")
			told, body := traceTold(t, f)
			server.reply(f.ID, wire.OK, "answer")
			if answer := p.next(); answer.ID != id || answer.Flags != 0 || string(answer.Body) != "answer" {
				t.Errorf("the answer is %+v, which tells something", answer)
			}
			switch {
			case string(body) != "hello":
				t.Errorf("the request is %q", body)
			case told.IsZero() || told.Span == tt.said.Span || !tt.said.IsZero() && told.ID != tt.said.ID:
				t.Errorf("said %v, told %v", tt.said, told)
			case (told.Flags == wire.Sampled) != tt.kept:
				t.Errorf("told %v, kept %v", told, tt.kept)
			}
			spans := l.m.Spans(10)
			if !tt.kept {
				if len(spans) != 0 {
					t.Errorf("kept %+v", spans)
				}
				return
			}
			if len(spans) != 1 {
				t.Fatalf("kept %+v", spans)
			}
			s := spans[0]
			parent := ""
			if !tt.said.IsZero() {
				parent = hex.EncodeToString(tt.said.Span[:])
			}
			want := numbers.Span{
				Trace: hex.EncodeToString(told.ID[:]), ID: hex.EncodeToString(told.Span[:]), Parent: parent,
				Caller: "front", Service: "bank", Method: "balance", Start: s.Start, Took: s.Took,
			}
			if s != want || s.Took <= 0 || time.Since(s.Start) > patience {
				t.Errorf("kept %+v, want %+v", s, want)
			}
			if again := l.m.Spans(10); len(again) != 0 {
				t.Errorf("told twice of %+v", again)
			}
		})
	}
}

// TestWithoutTraces: what a caller says is passed on, and nobody else is told anything.
func TestWithoutTraces(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "balance")
	p := l.connect(l.admit("front", "front-1"))
	p.saying("bank.balance", aTrace, nil)
	if told, _ := traceTold(t, server.called("balance")); told != aTrace {
		t.Errorf("said %v, told %v", aTrace, told)
	}
	p.call("bank.balance", "")
	if f := server.called("balance"); f.Flags != 0 {
		t.Errorf("who says nothing is told of with %+v", f)
	}
	if spans := l.m.Spans(10); spans != nil {
		t.Errorf("kept %+v", spans)
	}
}

func TestDenialsAreTraced(t *testing.T) {
	l := newLab(t, tracing(bank(), 1))
	p := l.connect(l.admit("front", "front-1"))
	p.want(p.call("bank.give", ""), wire.Denied, "")
	p.want(p.saying("bank.sesame-open", aTrace, nil), wire.Denied, "")
	spans := l.m.Spans(10)
	if len(spans) != 2 {
		t.Fatalf("kept %+v", spans)
	}
	if s := spans[0]; !s.Denied || s.Error != "denied" || s.Service != "bank" || s.Method != "give" || s.Parent != "" {
		t.Errorf("a denial is kept as %+v", s)
	}
	// What is not there has the name that a program gave it, and that is not told.
	if s := spans[1]; !s.Denied || s.Service != "" || s.Method != "" || s.Parent == "" {
		t.Errorf("a denial of what is not there is kept as %+v", s)
	}
}

// TestSecretCallsAreNotTold: a trace goes on among those who may read what it came with, and
// nobody else hears of it, nor of the call.
func TestSecretCallsAreNotTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		m     meeting
		heard bool
	}{
		{"public", meeting{}, true},
		{"vouched for", meeting{front: "True %% alice", back: "True %% alice"}, true},
		{"the caller is secret", meeting{front: "alice %% True", back: "alice %% True"}, false},
		{"what it asks is", meeting{back: "alice %% True", request: "alice %% True", answer: "alice %% True", front: "True %% True < alice %% True"}, false},
		{"the caller is, and releases it", meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tracing(tt.m.policy(t), 1))
			_, server := l.server("back", "back-1", "m")
			p := l.connect(l.admit("front", "front-1"))
			id := p.saying("back.m", aTrace, nil)
			if tt.name == "what it asks is" {
				// The answer is above the caller: it is not asked at all, and told why.
				if f := p.next(); f.ID != id || f.Code != wire.Label {
					t.Fatalf("got %+v", f)
				}
			} else {
				f := server.called("m")
				if told, _ := traceTold(t, f); told.ID != aTrace.ID {
					t.Errorf("the callee is told %v", told)
				}
				server.reply(f.ID, wire.OK, "")
				p.next()
			}
			spans := l.m.Spans(10)
			if tt.name == "what it asks is" {
				if len(spans) != 1 || !spans[0].Denied {
					t.Errorf("a refusal that the caller is told of is kept as %+v", spans)
				}
				return
			}
			if heard := len(spans) == 1; heard != tt.heard {
				t.Errorf("kept %+v", spans)
			}
		})
	}
}

// TestARaisedCallerIsNotTold: what was public when it began is no more.
func TestARaisedCallerIsNotTold(t *testing.T) {
	l := newLab(t, tracing(meeting{front: "True %% True < alice %% True"}.policy(t), 1))
	_, server := l.server("back", "back-1", "m")
	p := l.connect(l.admit("front", "front-1"))
	p.call("back.m", "")
	f := server.called("m")
	p.does(wire.OpRaise, wire.Ask{Label: aLabel(t, "alice %% True"), Mode: wire.ModeForce})
	server.reply(f.ID, wire.OK, "")
	p.next()
	if spans := l.m.Spans(10); len(spans) != 0 {
		t.Errorf("kept %+v", spans)
	}
}

// TestForgedTraces: what is no trace is refused like any other field.
func TestForgedTraces(t *testing.T) {
	l := newLab(t, tracing(bank(), 1))
	l.server("bank", "bank-1", "balance")
	p := l.connect(l.admit("front", "front-1"))
	for name, forged := range map[string][]byte{
		"short": bytes.Repeat([]byte{1}, 24), "long": bytes.Repeat([]byte{1}, 26), "none": make([]byte, 25), "empty": {}, "flags": bytes.Repeat([]byte{2}, 25),
	} {
		p.last++
		p.send(wire.Frame{
			Header:    wire.Header{Op: wire.OpCall, ID: p.last, Flags: wire.FlagFields},
			NameBytes: []byte("bank.balance"), Body: wire.AppendFields(nil, wire.AppendField(nil, wire.KeyTrace, forged)),
		})
		if f := p.next(); f.ID != p.last || f.Code != wire.Malformed {
			t.Errorf("%s: got %v %q", name, f.Code, f.Body)
		}
	}
}

// TestTheBodyGoesFirst: a request that fits is not refused for its trace.
func TestTheBodyGoesFirst(t *testing.T) {
	l := newLab(t, tracing(bank(), 1))
	_, server := l.server("bank", "bank-1", "balance")
	p := l.connect(l.admit("front", "front-1"))
	body := bytes.Repeat([]byte("x"), wire.MaxBody)
	go p.call("bank.balance", string(body))
	if told, got := traceTold(t, server.called("balance")); !told.IsZero() || !bytes.Equal(got, body) {
		t.Errorf("told %v with %d bytes", told, len(got))
	}
}

// TestSpansAreBounded: one service that calls without end keeps the spans of others no
// place, and what is dropped is counted.
func TestSpansAreBounded(t *testing.T) {
	p := bank()
	p.Grants = append(p.Grants, Grant{From: "stranger", Kind: KindCall, To: "bank.balance", Rule: "m.yaml:9"})
	l := newLab(t, tracing(p, 1))
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	greedy, other := l.connect(l.admit("front", "front-1")), l.connect(l.admit("stranger", "stranger-1"))
	ask := func(p *peer) {
		p.call("bank.balance", "")
		if f := p.next(); f.Code != wire.OK {
			t.Fatalf("got %v", f.Code)
		}
	}
	for range maxSpansEach + 10 {
		ask(greedy)
	}
	ask(other)
	var s numbers.Snapshot
	l.m.Count(&s)
	if s.Traces.Made != maxSpansEach+11 || s.Traces.Dropped != 10 {
		t.Errorf("counted %+v", s.Traces)
	}
	by := make(map[string]int)
	for {
		spans := l.m.Spans(numbers.MaxSpans)
		if len(spans) == 0 {
			break
		}
		for _, one := range spans {
			by[one.Caller]++
		}
	}
	if by["front"] != maxSpansEach || by["stranger"] != 1 {
		t.Errorf("kept of %v", by)
	}
	ask(greedy)
	if spans := l.m.Spans(numbers.MaxSpans); len(spans) != 1 {
		t.Errorf("once they are taken, kept %d", len(spans))
	}
}
