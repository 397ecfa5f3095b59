package manifest

import (
	"errors"
	"fmt"
	"strings"

	"cofferdam/guard"
	"cofferdam/label"
)

// Label is a label of the manifest. It may name {principal}: whom an instance
// runs for, or who sent a request. The zero Label is [label.Public].
type Label struct {
	text  label.Label // {principal} is a name in it
	open  *people     // who may stand for {principal}; nil if it is not named
	given bool        // while the manifest is read
}

// Formula is a formula that may name {principal}. The zero Formula is
// [label.True].
type Formula struct {
	text  label.Formula
	open  *people
	given bool
}

// Endpoint is the pair of labels of something that is asked and answers.
type Endpoint struct {
	Request Label // of what is sent to it
	Answer  Label // of what comes back
}

// ErrNobody says that a label names {principal} where there is none.
var ErrNobody = errors.New("the label names {principal}, and there is nobody")

// For is the label for a principal, "" for nobody. A principal that the manifest
// declares is not somebody whom an authenticator or a spawner may name, unless it
// is declared as a person.
func (l Label) For(principal string) (label.Label, error) {
	if l.open == nil {
		return l.text, nil
	}
	s, err := l.open.replace(l.text.Secrecy(), principal)
	if err != nil {
		return label.Label{}, err
	}
	i, err := l.open.replace(l.text.Integrity(), principal)
	return label.New(s, i), err
}

// For is as that of [Label].
func (f Formula) For(principal string) (label.Formula, error) {
	if f.open == nil {
		return f.text, nil
	}
	return f.open.replace(f.text, principal)
}

// For is the pair of labels for a principal, as of [Label.For].
func (e Endpoint) For(principal string) (guard.Endpoint, error) {
	request, err := e.Request.For(principal)
	if err != nil {
		return guard.Endpoint{}, err
	}
	answer, err := e.Answer.For(principal)
	return guard.Endpoint{Request: request, Answer: answer}, err
}

// NamesPrincipal tells whether For needs a principal.
func (l Label) NamesPrincipal() bool { return l.open != nil }

// Secret tells whether it is that of something that not everybody may read.
func (l Label) Secret() bool { return l.text.Secrecy() != label.True }

// String is the label as the manifest can have it.
func (l Label) String() string { return l.text.String() }

// String is the formula as the manifest can have it.
func (f Formula) String() string { return f.text.String() }

// orElse gives a label that was not written its default.
func (l *Label) orElse(other Label) {
	if !l.given {
		*l = other
	}
	l.given = false
}

func (e *Endpoint) orElse(other Endpoint) {
	e.Request.orElse(other.Request)
	e.Answer.orElse(other.Answer)
}

// people are the principals that a manifest declares, and which of them are
// persons: {principal} may stand for those, and for names that are not declared.
type people struct{ person map[string]bool }

func (p *people) replace(f label.Formula, principal string) (label.Formula, error) {
	if principal == "" {
		return label.Formula{}, ErrNobody
	}
	if person, declared := p.person[principal]; declared && !person {
		return label.Formula{}, fmt.Errorf("%q is declared among the principals, and not as a person: nobody else may have its name", principal)
	}
	clauses := f.Clauses()
	for _, c := range clauses {
		for i, name := range c {
			if name == principalMark {
				c[i] = principal
			}
		}
	}
	return label.NewFormula(clauses...)
}

// marked puts {principal} in quotes, in which the text of a label has such a
// name. It gives the offset in text of each offset in what it returns.
func marked(text string) (string, func(int) int) {
	var b strings.Builder
	var marks []int // offsets of the quotes that were added
	quoted := false
	for i := 0; i < len(text); {
		switch {
		case !quoted && strings.HasPrefix(text[i:], principalMark):
			marks = append(marks, b.Len(), b.Len()+1+len(principalMark))
			b.WriteString(`"` + principalMark + `"`)
			i += len(principalMark)
			continue
		case quoted && text[i] == '\\' && i+1 < len(text):
			b.WriteByte(text[i])
			i++
		case text[i] == '"':
			quoted = !quoted
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String(), func(at int) int {
		before := 0
		for _, m := range marks {
			if m < at {
				before++
			}
		}
		return at - before
	}
}

// label reads a label. Whether {principal} may stand in it is asked once it is known whose
// label it is: see checkMarks.
func (r *reader) label(v value) Label {
	l, ok := parsed(r, v, aLabel, label.Parse)
	if !ok {
		return Label{}
	}
	out := Label{text: l, given: true}
	if r.names(v, l.Secrecy(), l.Integrity()) {
		out.open = r.people
	}
	return out
}

// formula reads a formula.
func (r *reader) formula(v value) Formula {
	f, ok := parsed(r, v, aFormula, label.ParseFormula)
	if !ok {
		return Formula{}
	}
	out := Formula{text: f, given: true}
	if r.names(v, f) {
		out.open = r.people
	}
	return out
}

// fixedLabel reads a label of something that is there once, for everybody.
func (r *reader) fixedLabel(v value) label.Label {
	l := r.label(v)
	r.refuseMark(v, l.open, nobodyHere)
	return l.text
}

func (r *reader) fixedFormula(v value) label.Formula {
	f := r.formula(v)
	r.refuseMark(v, f.open, nobodyHere)
	return f.text
}

const nobodyHere = "it is one for everybody"

// refuseMark refuses {principal} where nobody could stand for it.
func (r *reader) refuseMark(v value, open *people, reason string) {
	if open != nil {
		r.refuse(v, "", "%s is not possible here: %s", principalMark, reason)
	}
}

func parsed[T any](r *reader, v value, s shape, parse func(string) (T, error)) (T, bool) {
	var none T
	text, ok := r.text(v, s)
	if !ok {
		return none, false
	}
	r.places[v.key] = v.pos()
	inner, offset := marked(text)
	out, err := parse(inner)
	if err == nil {
		return out, true
	}
	hint := ""
	if s == aLabel && !strings.Contains(text, "%%") {
		hint = fmt.Sprintf("write '%.64s %%%% True' for a secret, 'True %%%% %.64s' for what is vouched for", text, text)
	}
	var syntax *label.SyntaxError
	if errors.As(err, &syntax) {
		r.refuse(v, hint, "%.64q is not %s: at byte %d: %v", text, s, offset(syntax.Offset), syntax.Err)
	} else {
		r.refuse(v, hint, "%.64q is not %s: %v", text, s, err)
	}
	return none, false
}

// names tells whether {principal} is named, and has every other name checked
// once all principals are known.
func (r *reader) names(v value, all ...label.Formula) (open bool) {
	for _, f := range all {
		for _, c := range f.Clauses() {
			for _, name := range c {
				switch {
				case name == principalMark:
					open = true
				case strings.Contains(name, principalMark):
					r.refuse(v, "give it a name of its own, joined with & or |", "%.64q: %s is a whole name", name, principalMark)
				default:
					r.check(func(a *App) { r.checkDeclared(v, a, name) })
				}
			}
		}
	}
	return open
}

// checkDeclared refuses a name that nobody declared: misspelt, it would be a
// principal that nobody is, and a label that protects from the wrong ones.
func (r *reader) checkDeclared(v value, a *App, name string) {
	if r.flawedPrincipals {
		return
	}
	known := make([]string, len(a.Principals))
	for i, p := range a.Principals {
		if p.Name == name {
			return
		}
		known[i] = p.Name
	}
	hint := r.didYouMean(name, known)
	if hint == "" {
		hint = "add it to principals"
	}
	r.refuse(v, hint, "no principal %.64q", name)
}

// person is the pair of labels of a request whose sender was recognised: that
// principal vouches for it, and the answer is for nobody else.
func (r *reader) person() Endpoint {
	who, err := label.NewFormula([]string{principalMark})
	if err != nil {
		panic("manifest: " + err.Error())
	}
	return Endpoint{
		Request: Label{text: label.New(label.True, who), open: r.people},
		Answer:  Label{text: label.New(who, label.True), open: r.people},
	}
}
