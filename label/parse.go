package label

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// SyntaxError is what is wrong with a text, and where: at which byte, from 0.
type SyntaxError struct {
	Offset int
	Err    error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at byte %d: %v", e.Offset, e.Err) }
func (e *SyntaxError) Unwrap() error { return e.Err }

// Parse reads a label: two formulas as [ParseFormula] reads them, with %% between.
//
//	alice & bob %% True
//
// One formula alone is not a label: whether it would be secrecy or integrity cannot
// be told. The error is a [*SyntaxError].
func Parse(text string) (Label, error) {
	p, err := newParser(text)
	if err != nil {
		return Label{}, err
	}
	secrecy, err := p.formula()
	if err != nil {
		return Label{}, err
	}
	if p.tok.kind == tokEnd {
		return Label{}, p.fail("no %%%%: a label is SECRECY %%%% INTEGRITY, with True for a half that names nobody")
	}
	if err := p.expect(tokHalves); err != nil {
		return Label{}, err
	}
	integrity, err := p.formula()
	if err != nil {
		return Label{}, err
	}
	if err := p.expect(tokEnd); err != nil {
		return Label{}, err
	}
	return New(intern(secrecy), intern(integrity)), nil
}

// ParseFormula reads a formula:
//
//	formula = term | term { and term } | term { or term }
//	term    = "True" | "False" | name | "(" formula ")"
//	and     = "&" | "/\"
//	or      = "|" | "\/"
//	name    = letter { letter | "." | "-" | ":" | "+" } | a string in double quotes
//	letter  = a letter or digit of ASCII, "_" or "@"
//
// with space, tab and line break between them. And with or takes parentheses, so
// that nobody has to know which binds tighter. In quotes stands anything but a
// control character; \" and \\ are those two characters, and the other escapes are
// those that [Formula.String] writes: \n, \DEL and the like, \ and the number of a
// byte below 256, and \& for nothing, which ends an escape. A name in quotes is
// a principal whatever it is; words that look like a constant or an operator, such
// as true, are refused without.
//
// Every part of an or has to be within the bounds as the whole has; what cannot be
// multiplied out within them is refused with [ErrBound] before it is. The error is a
// [*SyntaxError].
func ParseFormula(text string) (Formula, error) {
	p, err := newParser(text)
	if err != nil {
		return Formula{}, err
	}
	f, err := p.formula()
	if err != nil {
		return Formula{}, err
	}
	if p.tok.kind == tokHalves {
		return Formula{}, p.fail("%%%% is of labels; this is to be a formula, one half of one")
	}
	if err := p.expect(tokEnd); err != nil {
		return Formula{}, err
	}
	return intern(f), nil
}

// MustParse is [Parse] of a text that is part of the program.
func MustParse(text string) Label { return must(Parse(text)) }

// MustParseFormula is [ParseFormula] of a text that is part of the program.
func MustParseFormula(text string) Formula { return must(ParseFormula(text)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic("label: " + err.Error())
	}
	return v
}

// parser reads a text from left to right, one token ahead.
type parser struct {
	lexer
	tok   token
	depth int // of parentheses
	work  int // that is left for ors
}

func newParser(text string) (*parser, error) {
	if len(text) > MaxText {
		return nil, &SyntaxError{MaxText, fmt.Errorf("%w: a text of %d bytes, at most %d", ErrBound, len(text), MaxText)}
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return nil, &SyntaxError{i, fmt.Errorf("byte %#x is not UTF-8", text[i])}
		}
		i += n
	}
	p := &parser{lexer: lexer{text: text}, work: maxWork}
	return p, p.next()
}

// formula reads a formula, in normal form.
func (p *parser) formula() ([]clause, error) {
	start := p.tok.offset
	f, err := p.term()
	if err != nil {
		return nil, err
	}
	operator := p.tok.kind
	switch operator {
	case tokAnd:
		f, err = p.and(f)
	case tokOr:
		f, err = p.or(f)
	default:
		return f, nil
	}
	if err != nil {
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			err = &SyntaxError{start, err}
		}
		return nil, err
	}
	if p.tok.kind == tokAnd || p.tok.kind == tokOr {
		return nil, p.fail("and with or takes parentheses: (a & b) | c, or a & (b | c)")
	}
	return f, nil
}

// and reads the rest of an and that begins with f.
func (p *parser) and(f []clause) ([]clause, error) {
	raw := append([]clause(nil), f...)
	for p.tok.kind == tokAnd {
		if err := p.next(); err != nil {
			return nil, err
		}
		g, err := p.term()
		if err != nil {
			return nil, err
		}
		if raw = append(raw, g...); len(raw) > maxRaw {
			return nil, fmt.Errorf("%w: an and of more than %d clauses", ErrBound, maxRaw)
		}
	}
	return reduce(raw, MaxClauses)
}

// or reads the rest of an or that begins with f.
func (p *parser) or(f []clause) ([]clause, error) {
	for p.tok.kind == tokOr {
		if err := p.next(); err != nil {
			return nil, err
		}
		g, err := p.term()
		if err != nil {
			return nil, err
		}
		if f, err = or(f, g, &p.work); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (p *parser) term() ([]clause, error) {
	switch t := p.tok; t.kind {
	case tokTrue:
		return nil, p.next()
	case tokFalse:
		return []clause{{}}, p.next()
	case tokName:
		c, err := newClause([]string{t.name})
		if err != nil {
			return nil, &SyntaxError{t.offset, err}
		}
		return []clause{c}, p.next()
	case tokOpen:
		if p.depth++; p.depth > maxDepth {
			return nil, p.fail("%w: parentheses %d deep", ErrBound, p.depth)
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		f, err := p.formula()
		if err != nil {
			return nil, err
		}
		p.depth--
		return f, p.expect(tokClose)
	case tokEnd:
		return nil, p.fail("a formula is missing; True is the one that names nobody")
	default:
		return nil, p.fail("%s where a formula was expected", t.kind)
	}
}

// expect goes past a token of that kind.
func (p *parser) expect(kind tokenKind) error {
	if p.tok.kind != kind {
		return p.fail("%s where %s was expected", p.tok.kind, kind)
	}
	return p.next()
}

func (p *parser) next() (err error) {
	p.tok, err = p.lexer.next()
	return err
}

// fail is an error at the present token.
func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{p.tok.offset, fmt.Errorf(format, args...)}
}
