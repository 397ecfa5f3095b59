package main

import (
	"errors"
	"fmt"
	"strings"

	"cofferdam/audit"
	rules "cofferdam/guard" // guard is something else here
	"cofferdam/label"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// labelReason is why labels refused something, by the code that decided.
type labelReason struct {
	Rule    string     `json:"rule"` // the relation that does not hold
	From    string     `json:"from"`
	To      string     `json:"to"`
	Missing privileges `json:"missing"`           // with which it would; True is none
	Program string     `json:"program,omitempty"` // what the program could do
	Ways    []string   `json:"ways,omitempty"`    // what to write instead, each of them enough

	refusal *rules.Refusal
}

// asked is what a record says of labels, read again.
type asked struct {
	state    rules.State
	with     label.Privileges
	endpoint rules.Endpoint
}

func askedOf(l *audit.Labels) (q asked, err error) {
	parse := func(text string, otherwise label.Label) label.Label {
		if text == "" {
			return otherwise
		}
		out, parseErr := label.Parse(text)
		err = errors.Join(err, parseErr)
		return out
	}
	formula := func(text string) label.Formula {
		if text == "" {
			return label.True
		}
		out, parseErr := label.ParseFormula(text)
		err = errors.Join(err, parseErr)
		return out
	}
	q.state.Label = parse(l.Subject, label.Public)
	q.state.Clearance = parse(l.Clearance, q.state.Label)
	q.endpoint.Request = parse(l.Object, label.Public)
	q.endpoint.Answer = parse(l.Answer, q.endpoint.Request)
	q.with = label.Privileges{Out: formula(l.Out), In: formula(l.In)}
	return q, err
}

// labelQuestions are the questions of the guard that the operations ask.
var labelQuestions = map[string]func(asked) error{
	"call":      func(q asked) error { return q.state.Connect(q.with, q.endpoint) },
	"connect":   func(q asked) error { return q.state.Connect(q.with, q.endpoint) },
	"egress":    func(q asked) error { return q.state.Connect(q.with, q.endpoint) },
	"serve":     func(q asked) error { return q.state.Serve(q.with, q.endpoint) },
	"post":      func(q asked) error { return q.state.Alloc(q.with, q.endpoint.Request) },
	"mailbox":   func(q asked) error { return q.state.Alloc(q.with, q.endpoint.Request) },
	"seal":      func(q asked) error { return q.state.Alloc(q.with, q.endpoint.Request) },
	"enclose":   func(q asked) error { return q.state.Alloc(q.with, q.endpoint.Request) },
	"put":       func(q asked) error { return q.state.Write(q.with, q.endpoint.Request) },
	"take":      func(q asked) error { return q.state.Write(q.with, q.endpoint.Request) },
	"recv":      func(q asked) error { return q.state.Read(q.with, q.endpoint.Request) },
	"unseal":    func(q asked) error { return q.state.Read(q.with, q.endpoint.Request) },
	"disclose":  func(q asked) error { return q.state.Read(q.with, q.endpoint.Request) },
	"wait":      func(q asked) error { return q.state.Read(q.with, q.endpoint.Request) },
	"kill":      func(q asked) error { return q.state.Kill(q.with, q.endpoint.Request) },
	"end":       func(q asked) error { return q.state.Tell(q.endpoint.Request) },
	"raise":     func(q asked) error { _, err := q.state.Raise(q.endpoint.Request); return err },
	"lower":     func(q asked) error { _, err := q.state.Lower(q.with, q.endpoint.Request); return err },
	"clearance": func(q asked) error { _, err := q.state.SetClearance(q.with, q.endpoint.Request); return err },
	"spawn": func(q asked) error {
		return q.state.Spawn(q.with, rules.State{Label: q.endpoint.Request, Clearance: q.state.Clearance}, q.state.Label)
	},
}

// askLabels asks the question of a record once more. The reason is nil if labels
// do not refuse it, or have no part in it.
func askLabels(app *manifest.App, r audit.Record) (*labelReason, error) {
	gate := app.Gate(r.Object)
	if r.Op != "call" {
		gate = nil
	}
	question := labelQuestions[r.Op]
	labels := r.Labels
	if labels == nil && gate != nil {
		labels = &audit.Labels{} // all is public, and yet it may not be enough
	}
	if labels == nil || question == nil || r.Subject == "gateway" { // which carries for people, between two endpoints
		return nil, nil
	}
	q, err := askedOf(labels)
	if err != nil {
		return nil, fmt.Errorf("labels of record %s: %w", audit.ID(r.Seq), err)
	}
	err = question(q)
	if gate != nil {
		shows := label.True
		if s := app.Service(r.Subject); s != nil {
			shows, _ = s.Owns.For("") // what it could show at most
		}
		err = q.state.Enter(shows, gate.Gate)
	}
	var no *rules.Refusal
	if !errors.As(err, &no) {
		return nil, err
	}
	why := &labelReason{Rule: no.Rule, From: no.From.String(), To: no.To.String(), Program: no.Fix, refusal: no}
	if r.Op != "egress" || r.Object != monitor.ViaProxy {
		why.Missing = privileges(no.Missing)
		why.Ways = app.FixLabel(r.Subject, r.Op, r.Object, q.state, q.with, no)
	}
	return why, nil
}

// printLabels shows the labels of a record.
func printLabels(line func(name, text string), l *audit.Labels) {
	if l == nil {
		return
	}
	text := l.Subject
	if l.Clearance != "" {
		text += ", clearance " + l.Clearance
	}
	line("label", text)
	if l.Object != "" {
		text := l.Object
		if l.Answer != "" {
			text += ", answered at " + l.Answer
		}
		line("at", text)
	}
	var used []string
	if l.Out != "" {
		used = append(used, "to release: "+l.Out)
	}
	if l.In != "" {
		used = append(used, "to vouch: "+l.In)
	}
	line("privilege", strings.Join(used, ", "))
}

// print says which clauses stand in the way.
func (why *labelReason) print(line func(name, text string)) {
	line("because", fmt.Sprintf("%s: %s cannot flow to %s", why.Rule, why.From, why.To))
	no := why.refusal
	needs := no.From.Missing(no.With, no.To)
	released, vouched := ", and not released", ", and not vouched for"
	if why.Missing == (privileges{}) { // no privilege helps
		released, vouched = "", ""
	}
	for _, clause := range clausesOf(needs.Out) {
		line("secrecy", fmt.Sprintf("%v is not implied by %v%s", clause, no.To.Secrecy(), released))
	}
	for _, clause := range clausesOf(needs.In) {
		line("integrity", fmt.Sprintf("%v is not implied by %v%s", clause, no.From.Integrity(), vouched))
	}
	line("program", why.Program)
	if len(why.Ways) == 0 {
		return
	}
	fmt.Fprintf(stdout, "\nto allow it, write at\n")
	for i, way := range why.Ways {
		if i > 0 {
			fmt.Fprintf(stdout, "or\n")
		}
		for l := range strings.SplitSeq(way, "\n") {
			fmt.Fprintf(stdout, "  %s\n", printable(l))
		}
	}
}
