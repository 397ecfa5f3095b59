package label

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind string

// The kinds of tokens, as messages name them.
const (
	tokEnd    tokenKind = "the end"
	tokName   tokenKind = "a name"
	tokTrue   tokenKind = "True"
	tokFalse  tokenKind = "False"
	tokAnd    tokenKind = "an and"
	tokOr     tokenKind = "an or"
	tokOpen   tokenKind = `"("`
	tokClose  tokenKind = `")"`
	tokHalves tokenKind = `"%%"`
)

type token struct {
	kind   tokenKind
	offset int
	name   string // of a tokName
}

// lexer cuts a text that is UTF-8 into tokens.
type lexer struct {
	text string
	at   int
}

// marks are the tokens that are no words.
var marks = []struct {
	text string
	kind tokenKind
}{
	{"&", tokAnd}, {`/\`, tokAnd}, {"|", tokOr}, {`\/`, tokOr}, {"(", tokOpen}, {")", tokClose}, {"%%", tokHalves},
}

func (x *lexer) next() (token, error) {
	for x.at < len(x.text) && strings.IndexByte(" \t\r\n", x.text[x.at]) >= 0 {
		x.at++
	}
	t := token{kind: tokEnd, offset: x.at}
	if x.at == len(x.text) {
		return t, nil
	}
	rest := x.text[x.at:]
	for _, m := range marks {
		if strings.HasPrefix(rest, m.text) {
			x.at += len(m.text)
			t.kind = m.kind
			return t, nil
		}
	}
	switch {
	case rest[0] == '"':
		return x.quoted()
	case isLetter(rest[0]):
		return x.word()
	case rest[0] == '%':
		return t, &SyntaxError{x.at, fmt.Errorf("%q: the halves of a label have %q between them", "%", "%%")}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return t, &SyntaxError{x.at, fmt.Errorf("%q is no part of a name without quotes", r)}
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '@'
}

// word reads a constant, or a name without quotes.
func (x *lexer) word() (token, error) {
	t := token{kind: tokName, offset: x.at}
	for x.at < len(x.text) && (isLetter(x.text[x.at]) || strings.IndexByte(".-:+", x.text[x.at]) >= 0) {
		x.at++
	}
	t.name = x.text[t.offset:x.at]
	switch t.name {
	case "True":
		return token{kind: tokTrue, offset: t.offset}, nil
	case "False":
		return token{kind: tokFalse, offset: t.offset}, nil
	}
	// Whoever writes true means True, and would be given a principal that nobody is.
	switch strings.ToLower(t.name) {
	case "true", "false", "and", "or", "not":
		return t, &SyntaxError{t.offset, fmt.Errorf(`%q: constants are True and False, operators & and |; a principal of that name stands in quotes`, t.name)}
	}
	return t, nil
}

// quoted reads a name in quotes.
func (x *lexer) quoted() (token, error) {
	t := token{kind: tokName, offset: x.at}
	x.at++
	var name []byte // what comes before plain, if there was an escape
	plain := x.at
	for x.at < len(x.text) {
		switch c := x.text[x.at]; {
		case c == '"':
			t.name = x.text[plain:x.at]
			if name != nil {
				t.name = string(append(name, t.name...))
			}
			x.at++
			return t, nil
		case c == '\\':
			var err error
			if name, err = x.escape(append(name, x.text[plain:x.at]...)); err != nil {
				return t, err
			}
			plain = x.at
		case c < ' ' || c == 127:
			return t, &SyntaxError{x.at, fmt.Errorf("%q in a name is written as an escape", c)}
		default:
			x.at++
		}
	}
	return t, &SyntaxError{t.offset, fmt.Errorf("a name without its closing quote")}
}

// escape reads an escape and appends the byte that it stands for.
func (x *lexer) escape(name []byte) ([]byte, error) {
	start := x.at
	x.at++
	rest := x.text[x.at:]
	if strings.HasPrefix(rest, "&") {
		x.at++
		return name, nil
	}
	digits := 0
	value := 0
	for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' && value < 256 {
		value = value*10 + int(rest[digits]-'0')
		digits++
	}
	if value > 255 {
		return nil, &SyntaxError{start, fmt.Errorf("a byte is below 256; other characters stand in a name as they are")}
	}
	if digits > 0 {
		x.at += digits
		return append(name, byte(value)), nil
	}
	best := -1
	for c, word := range escapes[:128] { // the longest: \SOH is not \SO and an H
		if word != "" && strings.HasPrefix(rest, word) && (best < 0 || len(word) > len(escapes[best])) {
			best = c
		}
	}
	if best < 0 {
		return nil, &SyntaxError{start, fmt.Errorf(`unknown escape; known are \" \\ \& \a \b \t \n \v \f \r, names such as \NUL or \DEL, and numbers of bytes`)}
	}
	x.at += len(escapes[best])
	return append(name, byte(best)), nil
}
