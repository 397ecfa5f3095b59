package fakeserver

import (
	"errors"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// formula is a statement, as far as its connectives go.
type formula interface{ holds(world) bool }

// world says which atoms hold: bit n is atom n.
type world uint32

type (
	truth       bool
	atom        int
	negation    struct{ of formula }
	conjunction struct{ a, b formula }
	disjunction struct{ a, b formula }
	implication struct{ a, b formula }
	equivalence struct{ a, b formula }
)

func (t truth) holds(world) bool         { return bool(t) }
func (a atom) holds(w world) bool        { return w>>a&1 == 1 }
func (f negation) holds(w world) bool    { return !f.of.holds(w) }
func (f conjunction) holds(w world) bool { return f.a.holds(w) && f.b.holds(w) }
func (f disjunction) holds(w world) bool { return f.a.holds(w) || f.b.holds(w) }
func (f implication) holds(w world) bool { return !f.a.holds(w) || f.b.holds(w) }
func (f equivalence) holds(w world) bool { return f.a.holds(w) == f.b.holds(w) }

// maxAtoms bounds a truth table to 65536 lines.
const maxAtoms = 16

// tautology reports whether all goals follow from all assumptions, whatever their atoms mean.
func tautology(assumptions, goals []formula, atoms int) bool {
	if atoms > maxAtoms {
		return false
	}
next:
	for w := range world(1) << atoms {
		for _, a := range assumptions {
			if !a.holds(w) {
				continue next
			}
		}
		for _, g := range goals {
			if !g.holds(w) {
				return false
			}
		}
	}
	return true
}

var errInner = errors.New("Inner syntax error")

// maxDepth bounds how deep a formula is, for it is parsed by functions that call themselves.
const maxDepth = 200

// statements reads formulas, which have their atoms in common.
type statements struct {
	atoms map[string]atom
	rest  []string
	depth int
	err   error
}

func (s *statements) parse(prop string) (formula, error) {
	s.rest, s.depth, s.err = connectives(prop), 0, nil
	for s.next() == "ALL" || s.next() == "!!" { // what holds of anything holds of all
		dot := slices.Index(s.rest, ".")
		if dot < 0 {
			return nil, errInner
		}
		s.rest = s.rest[dot+1:]
	}
	f := s.meta()
	if len(s.rest) > 0 {
		s.err = errInner
	}
	return f, s.err
}

// same are the ways to write one connective.
var same = map[string]string{
	`\<Longrightarrow>`: "==>", "⟹": "==>", `\<longrightarrow>`: "-->", "⟶": "-->", `\<longleftrightarrow>`: "<->", "⟷": "<->", "<-->": "<->",
	`\<and>`: "&", "∧": "&", `\<or>`: "|", "∨": "|", `\<not>`: "~", "¬": "~", `\<lbrakk>`: "[|", "⟦": "[|", `\<rbrakk>`: "|]", "⟧": "|]",
	`\<forall>`: "ALL", "∀": "ALL", `\<exists>`: "EX", "∃": "EX", `\<And>`: "!!", "⋀": "!!", `\<lambda>`: "%", "λ": "%",
	`\<noteq>`: "~=", "≠": "~=", `\<le>`: "<=", "≤": "<=", `\<ge>`: ">=", "≥": ">=", `\<times>`: "*", "×": "*",
}

func connectives(prop string) []string {
	var list []string
	for _, t := range tokens(prop) {
		v := prop[t.start:t.end]
		if plain, ok := same[v]; ok {
			v = plain
		}
		if n := len(list); n > 0 && v == "|" && list[n-1] == "[" { // [| is two signs
			list[n-1] = "[|"
			continue
		} else if n > 0 && v == "]" && list[n-1] == "|" {
			list[n-1] = "|]"
			continue
		}
		list = append(list, v)
	}
	return list
}

func (s *statements) next() string {
	if len(s.rest) == 0 {
		return ""
	}
	return s.rest[0]
}

func (s *statements) take(v string) bool {
	if s.next() != v || v == "" {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// deeper guards against formulas that would use up the stack.
func (s *statements) deeper() bool {
	if s.depth++; s.depth > maxDepth {
		s.err, s.rest = errInner, nil
	}
	return s.err == nil
}

func (s *statements) meta() formula {
	if !s.deeper() {
		return truth(false)
	}
	defer func() { s.depth-- }()
	if s.take("[|") {
		all := s.meta()
		for s.take(";") {
			all = conjunction{all, s.meta()}
		}
		if !s.take("|]") || !s.take("==>") {
			s.err = errInner
		}
		return implication{all, s.meta()}
	}
	f := s.object(0)
	if s.take("==>") {
		return implication{f, s.meta()}
	}
	return f
}

// object reads what binds at least as tightly as level: 0 arrows, 1 or, 2 and.
func (s *statements) object(level int) formula {
	if !s.deeper() {
		return truth(false)
	}
	defer func() { s.depth-- }()
	if level == 3 {
		return s.primary()
	}
	f := s.object(level + 1)
	switch {
	case level == 0 && s.take("-->"):
		return implication{f, s.object(0)}
	case level == 0 && s.take("<->"):
		return equivalence{f, s.object(0)}
	case level == 1 && s.take("|"):
		return disjunction{f, s.object(1)}
	case level == 2 && s.take("&"):
		return conjunction{f, s.object(2)}
	}
	return f
}

// ends reports whether v ends an atom.
func ends(v string) bool {
	switch v {
	case "", "==>", "-->", "<->", "&", "|", ")", ";", "|]":
		return true
	}
	return false
}

func (s *statements) primary() formula {
	if s.take("~") {
		return negation{s.object(3)}
	}
	if s.next() == "(" {
		if n := group(s.rest); n > 0 && (n == len(s.rest) || ends(s.rest[n])) && formulaic(s.rest[1:n-1]) {
			s.rest = s.rest[1:]
			f := s.meta()
			if !s.take(")") {
				s.err = errInner
			}
			return f
		}
	}
	return s.atom()
}

// group is how many tokens the first one, a bracket, encloses; 0 if it is never closed.
func group(rest []string) int {
	depth := 0
	for i, v := range rest {
		switch v {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// formulaic reports whether something between brackets may be a formula, not a number.
func formulaic(inside []string) bool {
	_, ok := value(inside)
	return !ok
}

func (s *statements) atom() formula {
	var term []string
	binder := s.next() == "ALL" || s.next() == "EX" || s.next() == "!!" || s.next() == "%"
	for len(s.rest) > 0 && (binder && s.next() != ")" && s.next() != ";" || !ends(s.next())) {
		n := 1
		if s.next() == "(" {
			if n = group(s.rest); n == 0 {
				s.err = errInner
				return truth(false)
			}
		}
		term, s.rest = append(term, s.rest[:n]...), s.rest[n:]
	}
	if len(term) == 0 {
		s.err = errInner
		return truth(false)
	}
	return s.known(term)
}

// known is what the server knows of an atom: that it is true or false, or nothing.
func (s *statements) known(term []string) formula {
	switch name := strings.Join(term, " "); name {
	case "True", "False":
		return truth(name == "True")
	}
	depth := 0
	for i, v := range term {
		switch v {
		case "(":
			depth++
		case ")":
			depth--
		case "=", "~=", "<", "<=", ">", ">=":
			if depth == 0 && i > 0 && i+1 < len(term) && term[0] != "ALL" && term[0] != "EX" && term[0] != "!!" && term[0] != "%" {
				return s.relation(term[:i], v, term[i+1:])
			}
		}
	}
	return s.unknown(strings.Join(term, " "))
}

func (s *statements) unknown(name string) formula {
	a, ok := s.atoms[name]
	if !ok {
		a = atom(len(s.atoms))
		s.atoms[name] = a
	}
	return a
}

func (s *statements) relation(left []string, sign string, right []string) formula {
	l, r := strings.Join(left, " "), strings.Join(right, " ")
	a, okA := value(left)
	b, okB := value(right)
	switch ground := okA && okB; {
	case l == r:
		return truth(sign == "=" || sign == "<=" || sign == ">=")
	case ground && sign == "=":
		return truth(a == b)
	case ground && sign == "~=":
		return truth(a != b)
	case ground && sign == "<":
		return truth(a < b)
	case ground && sign == "<=":
		return truth(a <= b)
	case ground && sign == ">":
		return truth(a > b)
	case ground && sign == ">=":
		return truth(a >= b)
	case sign == "~=":
		return negation{s.relation(left, "=", right)}
	case sign == "=" && l > r:
		l, r = r, l
	}
	return s.unknown(l + " " + sign + " " + r)
}

// value is the number that a term of numbers, sums, products and Suc is.
func value(term []string) (uint64, bool) {
	v, rest, ok := sum(term, 0)
	return v, ok && len(rest) == 0
}

func sum(term []string, depth int) (uint64, []string, bool) {
	v, rest, ok := product(term, depth)
	for ok && len(rest) > 0 && rest[0] == "+" {
		var w uint64
		if w, rest, ok = product(rest[1:], depth); ok {
			var carry uint64
			v, carry = bits.Add64(v, w, 0)
			ok = carry == 0
		}
	}
	return v, rest, ok
}

func product(term []string, depth int) (uint64, []string, bool) {
	v, rest, ok := factor(term, depth)
	for ok && len(rest) > 0 && rest[0] == "*" {
		var w uint64
		if w, rest, ok = factor(rest[1:], depth); ok {
			var over uint64
			over, v = bits.Mul64(v, w)
			ok = over == 0
		}
	}
	return v, rest, ok
}

func factor(term []string, depth int) (v uint64, rest []string, ok bool) {
	if len(term) == 0 || depth > maxDepth {
		return 0, term, false
	}
	switch rest = term[1:]; term[0] {
	case "Suc":
		v, rest, ok = factor(rest, depth+1)
		return v + 1, rest, ok && v+1 != 0
	case "(":
		if v, rest, ok = sum(rest, depth+1); !ok {
			return 0, term, false
		}
		if len(rest) > 2 && rest[0] == "::" && rest[2] == ")" { // a type
			rest = rest[2:]
		}
		if len(rest) == 0 || rest[0] != ")" {
			return 0, term, false
		}
		return v, rest[1:], true
	}
	v, err := strconv.ParseUint(term[0], 10, 64)
	return v, rest, err == nil
}
