package label

import "strconv"

// String returns the one text of f, which [ParseFormula] reads:
//
//	"alice" /\ ("bob" \/ "carol")
//
// Names stand as Haskell writes strings of bytes, so that all of it is ASCII, and
// names that only look alike do not.
func (f Formula) String() string {
	if f == True {
		return "True"
	}
	return f.n.string()
}

// String returns the one text of l, which [Parse] reads: secrecy %% integrity.
func (l Label) String() string { return l.secrecy.String() + " %% " + l.integrity.String() }

// AppendText appends [Formula.String].
func (f Formula) AppendText(b []byte) ([]byte, error) { return append(b, f.String()...), nil }

// AppendText appends [Label.String].
func (l Label) AppendText(b []byte) ([]byte, error) {
	b, _ = l.secrecy.AppendText(b)
	return l.integrity.AppendText(append(b, " %% "...))
}

// MarshalText returns [Formula.String].
func (f Formula) MarshalText() ([]byte, error) { return f.AppendText(nil) }

// MarshalText returns [Label.String].
func (l Label) MarshalText() ([]byte, error) { return l.AppendText(nil) }

// UnmarshalText is [ParseFormula].
func (f *Formula) UnmarshalText(text []byte) (err error) {
	*f, err = ParseFormula(string(text))
	return err
}

// UnmarshalText is [Parse].
func (l *Label) UnmarshalText(text []byte) (err error) {
	*l, err = Parse(string(text))
	return err
}

// appendClauses appends the text of an and that is not empty.
func appendClauses(b []byte, clauses []clause) []byte {
	for i, c := range clauses {
		if i > 0 {
			b = append(b, ` /\ `...)
		}
		b = appendClause(b, c.names)
	}
	return b
}

func appendClause(b []byte, names []*principal) []byte {
	switch len(names) {
	case 0:
		return append(b, "False"...)
	case 1:
		return appendName(b, names[0].name)
	}
	b = append(b, '(')
	for i, p := range names {
		if i > 0 {
			b = append(b, ` \/ `...)
		}
		b = appendName(b, p.name)
	}
	return append(b, ')')
}

// escapes are the bytes that a Haskell string writes with a word.
var escapes = func() (words [256]string) {
	copy(words[:], []string{
		"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "a", "b", "t", "n", "v", "f", "r", "SO", "SI",
		"DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
	})
	words[127], words['"'], words['\\'] = "DEL", `"`, `\`
	return words
}()

// appendName appends a name in quotes.
func appendName(b []byte, name string) []byte {
	b = append(b, '"')
	for i := range len(name) {
		c := name[i]
		follows := byte(0) // what the escape before would run into
		if i+1 < len(name) {
			follows = name[i+1]
		}
		switch word := escapes[c]; {
		case c >= 128:
			b = strconv.AppendUint(append(b, '\\'), uint64(c), 10)
			if '0' <= follows && follows <= '9' {
				b = append(b, `\&`...)
			}
		case word != "":
			b = append(append(b, '\\'), word...)
			if word == "SO" && follows == 'H' {
				b = append(b, `\&`...)
			}
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
