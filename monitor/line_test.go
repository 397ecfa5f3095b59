package monitor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// gated is a policy in which front may use gates of alice's: approve, which answers
// yes or no about what is hers, score, which answers less than 2^8, and note, which
// says what it likes.
func gated(t testing.TB, front string, frontOwns string) Policy {
	t.Helper()
	p := meeting{front: front, frontOwns: frontOwns, back: "True %% alice < alice %% True", backOwns: "alice"}.policy(t)
	gate := guard.Gate{
		Shows: aFormula(t, "alice"), Integrity: aFormula(t, "alice"),
		Input: aLabel(t, "alice %% alice"), Output: aLabel(t, "True %% alice"),
	}
	back := &p.Services[1]
	back.Lines, back.Ports = true, nil
	back.Methods = []Method{{Name: "approve", Gate: &gate, Bits: 1}, {Name: "score", Gate: &gate, Bits: 8}, {Name: "note", Gate: &gate}}
	p.Grants = nil
	for _, name := range []string{"approve", "score", "note"} {
		p.Grants = append(p.Grants, Grant{From: "front", Kind: KindCall, To: "back." + name, Rule: "m.yaml:1"})
	}
	return p
}

// Whoever enters a gate shows what it takes, is vouched for, and brings no more than
// it may; and is told the whole of why not.
func TestWhoMayEnterAGate(t *testing.T) {
	shown := aFormula(t, "alice")
	for _, tt := range []struct {
		name, front, owns string
		shown             label.Formula
		want              string
	}{
		{"shows what it takes", "alice %% alice", "alice", shown, ""},
		{"shows more", "alice %% alice", "alice & bob", aFormula(t, "alice & bob"), ""},
		{"shows nothing", "alice %% alice", "alice", label.True, "shown ⟹ required"},
		{"shows less", "alice %% alice", "alice", aFormula(t, "alice | bob"), "shown ⟹ required"},
		{"shows what it does not own", "alice %% alice", "bob", shown, "you own"},
		{"is steered by others", "alice %% True", "alice", shown, "integrity ⟹ minimum"},
		{"is steered by either", "alice %% alice | bob", "alice", shown, "integrity ⟹ minimum"},
		{"brings another's secret", "alice & bob %% alice", "alice", shown, "label ⊑ input"},
		{"cannot believe the answer", "True %% alice & bob", "alice", shown, "object ⊑ label"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, gated(t, tt.front, tt.owns))
			p := l.connect(l.admit("front", "front-1"))
			id := p.callWith("back.approve", wire.Ask{Shown: tt.shown}, "transfer 5")
			if tt.want != "" {
				if f := p.next(); f.Code != wire.Label || !strings.Contains(string(f.Body), tt.want) {
					t.Errorf("%v %q, want %v with %q", f.Code, f.Body, wire.Label, tt.want)
				}
				if len(l.spawner.asked) != 0 {
					t.Error("it was started")
				}
				return
			}
			r := l.spawner.next(t)
			want := Flow{State: guard.State{Label: aLabel(t, "alice %% alice"), Clearance: aLabel(t, "alice %% True")}, Owns: shown}
			if r.flow != want || string(r.body) != "transfer 5" {
				t.Errorf("runs at %+v with %q, want %+v", r.flow, r.body, want)
			}
			r.end <- ending{out: []byte("true")}
			f := p.next()
			if told, body := told(t, f); f.ID != id || f.Code != wire.OK || body != "true" || told.Label != aLabel(t, "True %% alice") {
				t.Errorf("%v %q at %v", f.Code, body, told.Label)
			}
		})
	}
}

// What a gate does with what was put in, and how it fails, is bounded by what it
// may answer: of all else its caller sees the same, at its deadline and not before.
func TestAGateFailsInOneWay(t *testing.T) {
	const wait = 100 * time.Millisecond
	raise := func(l *lab, e *Env) {
		l.connect(e).does(wire.OpRaise, wire.Ask{Label: aLabel(l.t, "alice & bob %% True")})
	}
	for _, tt := range []struct {
		name, method string
		ends         ending
		in           func(*lab, *Env) // what happens inside; nil for nothing
		unstarted    bool
		want         string // the answer; "" for none
	}{
		{name: "yes", method: "approve", ends: ending{out: []byte("true")}, want: "true"},
		{name: "no", method: "approve", ends: ending{out: []byte("false\n")}, want: "false"},
		{name: "neither", method: "approve", ends: ending{out: []byte("maybe")}},
		{name: "yes, in its own way", method: "approve", ends: ending{out: []byte(" true")}},
		{name: "nothing", method: "approve"},
		{name: "a number", method: "score", ends: ending{out: []byte("255")}, want: "255"},
		{name: "none", method: "score", ends: ending{out: []byte("0")}, want: "0"},
		{name: "a large number", method: "score", ends: ending{out: []byte("256")}},
		{name: "a number in its own way", method: "score", ends: ending{out: []byte("007")}},
		{name: "a signed number", method: "score", ends: ending{out: []byte("+7")}},
		{name: "less than a number", method: "score", ends: ending{out: []byte("-1")}},
		{name: "anything", method: "note", ends: ending{out: []byte("well\n")}, want: "well\n"},
		{name: "too much of it", method: "note", ends: ending{out: make([]byte, wire.MaxBody+1)}},
		{name: "it fails", method: "approve", ends: ending{err: errors.New("the program ended with exit, code 1")}},
		{name: "it is not started", method: "approve", ends: ending{err: errors.New("the program could not be started")}, unstarted: true},
		{name: "there is no room", method: "approve", ends: ending{err: wire.ErrBusy}, unstarted: true},
		{name: "it has read more than it owns", method: "approve", ends: ending{out: []byte("true")}, in: raise},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pol := gated(t, "alice %% alice", "alice")
			pol.Services[1].Flow.Clearance = aLabel(t, "alice & bob %% True")
			l := newLab(t, pol)
			l.spawner.unstarted = tt.unstarted
			p := l.connect(l.admit("front", "front-1"))
			start := time.Now()
			a := wire.Ask{Shown: aFormula(t, "alice")}
			p.last++
			p.send(wire.Frame{
				Header:    wire.Header{Op: wire.OpCall, ID: p.last, Flags: wire.FlagFields, Timeout: wait},
				NameBytes: []byte("back." + tt.method), Body: append(wire.AppendFields(nil, a.Append(nil, wire.OpCall)), "request"...),
			})
			r := l.spawner.next(t)
			if tt.in != nil {
				tt.in(l, r.child)
			}
			r.end <- tt.ends
			f := p.next()
			switch _, body := told(t, f); {
			case tt.want == "" && (f.Code != wire.Deadline || len(f.Body) != 0 || f.Flags != 0):
				t.Errorf("%v %q, want nothing but %v", f.Code, body, wire.Deadline)
			case tt.want == "" && time.Since(start) < wait:
				t.Errorf("after %v", time.Since(start))
			case tt.want != "" && (f.Code != wire.OK || body != tt.want):
				t.Errorf("%v %q, want %q", f.Code, body, tt.want)
			}
			var last audit.Record
			eventually(t, "the release is recorded", func() bool { // the caller may have been told before
				for _, r := range l.decisions() {
					last = r
				}
				return last.Op == "release"
			})
			digest := fmt.Sprintf("request sha256:%x", sha256.Sum256([]byte("request")))
			if tt.ends.err == nil {
				digest += fmt.Sprintf(", answer sha256:%x", sha256.Sum256(tt.ends.out))
			}
			verdict := map[bool]string{true: "allow", false: "deny"}[tt.want != ""]
			if last.Verdict != verdict || last.Detail != digest || last.Labels == nil {
				t.Errorf("recorded %+v, want the release %s, %s", last, verdict, digest)
			}
		})
	}
}

// That a gate has ended cannot be told from how many more may run.
func TestAWithheldProgramCounts(t *testing.T) {
	l := newLab(t, gated(t, "alice %% alice", "alice"))
	p := l.connect(l.admit("front", "front-1"))
	a := wire.Ask{Shown: aFormula(t, "alice")}
	for range MaxSpawns {
		p.callWith("back.approve", a, "")
		l.spawner.next(t).end <- ending{err: errors.New("fails")}
	}
	over := 0
	eventually(t, "all are over", func() bool {
		for _, r := range l.decisions() {
			if r.Op == "release" {
				over++
			}
		}
		return over == MaxSpawns
	})
	id := p.callWith("back.approve", a, "")
	p.want(id, wire.Busy, "")
}

// A program per call that is not a gate runs at the label of its service, or at its
// caller's, and answers at it.
func TestALineRunsAtALabel(t *testing.T) {
	for _, tt := range []struct {
		name      string
		instances Instances
		front     string
		back      string
		runs      string // "" if it is refused
	}{
		{"public", Shared, "True %% True", "True %% True", "True %% True"},
		{"at its service's label", Shared, "alice %% True", "alice %% True", "alice %% True"},
		{"below", Shared, "alice %% True", "True %% True", ""},
		{"public, per call", PerCall, "True %% True", "True %% True", "True %% True"},
		{"at its caller's label", PerCall, "alice %% True", "True %% True", "alice %% True"},
		{"at its caller's label, not vouched for", PerCall, "alice %% alice", "True %% True", ""},
		{"at both labels", PerCall, "alice & bob %% True", "bob %% alice", "alice & bob %% True"},
		{"above its caller", PerCall, "alice %% True", "bob %% True", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := meeting{front: tt.front, back: tt.back}.policy(t)
			p.Services[1].Lines, p.Services[1].Instances, p.Services[1].Ports = true, tt.instances, nil
			l := newLab(t, p)
			front := l.connect(l.admit("front", "front-1"))
			front.call("back.m", "request")
			if tt.runs == "" {
				if f := front.next(); f.Code != wire.Label {
					t.Fatalf("%v %q", f.Code, f.Body)
				}
				return
			}
			r := l.spawner.next(t)
			if r.flow.Label != aLabel(t, tt.runs) {
				t.Errorf("runs at %v", r.flow.Label)
			}
			r.end <- ending{out: []byte("answer")}
			f := front.next()
			if told, body := told(t, f); f.Code != wire.OK || body != "answer" || told.Label != aLabel(t, tt.runs) {
				t.Errorf("%v %q at %v", f.Code, body, told.Label)
			}
		})
	}
}
