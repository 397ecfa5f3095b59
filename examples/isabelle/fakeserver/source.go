package fakeserver

import (
	"sort"
	"strings"
	"unicode/utf8"

	"cofferdam/examples/isabelle/protocol"
)

// source is the text of a file, and knows its symbols: each is a character, or a
// name such as \<open>. Positions count them.
type source struct {
	file   string
	text   string
	starts []int // of the symbols, in bytes
	lines  []int // of the lines
}

func newSource(file, text string) *source {
	s := &source{file: file, text: text, lines: []int{0}}
	for at := 0; at < len(text); {
		s.starts = append(s.starts, at)
		n := symbolLen(text[at:])
		if strings.HasSuffix(text[at:at+n], "\n") {
			s.lines = append(s.lines, at+n)
		}
		at += n
	}
	return s
}

// symbolLen is how long the first symbol of a text is, in bytes.
func symbolLen(text string) int {
	switch {
	case strings.HasPrefix(text, `\<`):
		n := 2
		if n < len(text) && text[n] == '^' {
			n++
		}
		name := n
		for n < len(text) && letterOrDigit(text[n]) {
			n++
		}
		if n > name && n < len(text) && text[n] == '>' {
			return n + 1
		}
		return 1
	case strings.HasPrefix(text, "\r\n"):
		return 2
	}
	_, n := utf8.DecodeRuneInString(text)
	return n
}

// line of a byte, from 1.
func (s *source) line(at int) int {
	return sort.SearchInts(s.lines, at+1)
}

// position is where the bytes from start to end are, as the server tells it.
func (s *source) position(start, end int) protocol.Object {
	return protocol.Object{
		{Name: "line", Value: s.line(start)},
		{Name: "offset", Value: 1 + sort.SearchInts(s.starts, start)},
		{Name: "end_offset", Value: 1 + sort.SearchInts(s.starts, end)},
		{Name: "file", Value: s.file},
	}
}

// names of symbols that are one character elsewhere.
var names = map[string]rune{
	"open": '‹', "close": '›', "Longrightarrow": '⟹', "longrightarrow": '⟶', "Rightarrow": '⇒', "rightarrow": '→',
	"longleftrightarrow": '⟷', "leftrightarrow": '↔', "Longleftrightarrow": '⟺', "lbrakk": '⟦', "rbrakk": '⟧',
	"and": '∧', "or": '∨', "not": '¬', "noteq": '≠', "equiv": '≡', "forall": '∀', "exists": '∃', "And": '⋀', "Or": '⋁',
	"in": '∈', "notin": '∉', "subseteq": '⊆', "subset": '⊂', "union": '∪', "inter": '∩', "Union": '⋃', "Inter": '⋂',
	"le": '≤', "ge": '≥', "times": '×', "circ": '∘', "lambda": 'λ', "alpha": 'α', "beta": 'β', "gamma": 'γ', "delta": 'δ',
	"epsilon": 'ε', "sigma": 'σ', "tau": 'τ', "phi": 'φ', "psi": 'ψ', "Gamma": 'Γ', "Delta": 'Δ', "Sigma": 'Σ',
	"nat": 'ℕ', "int": 'ℤ', "real": 'ℝ', "rat": 'ℚ', "infinity": '∞', "emptyset": '∅', "langle": '⟨', "rangle": '⟩',
	"comment": '―', "here": '⌂', "proof": '‣', "dots": '…', "rparr": '⦈', "lparr": '⦇', "turnstile": '⊢', "bottom": '⊥',
	"top": '⊤', "sqsubseteq": '⊑', "inverse": '¯', "bind": '⤜', "setminus": '∖', "oplus": '⊕', "otimes": '⊗',
}

var asNames = func() map[rune]string {
	m := make(map[rune]string, len(names))
	for name, r := range names {
		m[r] = `\<` + name + `>`
	}
	return m
}()

// named is the text with names for all characters that have one.
func named(text string) string {
	var b strings.Builder
	for _, r := range text {
		if name, ok := asNames[r]; ok {
			b.WriteString(name)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// drawn is the text with characters for all names that have one.
func drawn(text string) string {
	var b strings.Builder
	for text != "" {
		n := symbolLen(text)
		symbol := text[:n]
		text = text[n:]
		if r, ok := names[strings.TrimSuffix(strings.TrimPrefix(symbol, `\<`), ">")]; ok && n > 1 && strings.HasPrefix(symbol, `\<`) {
			b.WriteRune(r)
		} else {
			b.WriteString(symbol)
		}
	}
	return b.String()
}

func letter(c byte) bool        { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func digit(c byte) bool         { return '0' <= c && c <= '9' }
func letterOrDigit(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '\'' }
