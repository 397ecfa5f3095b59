package fakeserver

import (
	"fmt"
	"sort"
	"strings"
)

// mlText is ML of a theory as Poly/ML reads it: what is beyond ASCII is escaped in
// strings, and antiquotations are replaced. It remembers what stood where.
type mlText struct {
	b    strings.Builder
	from []int // of pieces: the byte in the result,
	at   []int // and the one in the original
}

func (m *mlText) add(piece string, at int) {
	m.from, m.at = append(m.from, m.b.Len()), append(m.at, at)
	m.b.WriteString(piece)
}

// original is where a byte of the result came from.
func (m *mlText) original(at int) int {
	i := sort.SearchInts(m.from, at+1) - 1
	if i < 0 {
		return 0
	}
	return m.at[i]
}

// antiquotations that are known, and what they mean.
var antiquotations = map[string]string{
	`\<^theory>`: "(Prover.theory ())", "@{theory}": "(Prover.theory ())",
}

const pathBinding = `\<^path_binding>`

func newMLText(text string) *mlText {
	m := new(mlText)
	inString := false
next:
	for at := 0; at < len(text); {
		n := symbolLen(text[at:])
		symbol := text[at : at+n]
		switch {
		case inString && symbol[0] == '\\' && n == 1 && at+1 < len(text): // with what it escapes
			n++
			m.add(text[at:at+n], at)
		case inString && n > 1:
			var escaped strings.Builder
			for _, c := range []byte(symbol) {
				fmt.Fprintf(&escaped, `\%03d`, c)
			}
			m.add(escaped.String(), at)
		case symbol == `"`:
			inString = !inString
			m.add(symbol, at)
		case !inString && symbol == pathBinding:
			if t := first(text, min(at+n, len(text)-1)); t.kind == quoted {
				m.add(`"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(t.value)+`"`, at)
				at = t.end
				continue next
			}
			m.add(symbol, at)
		case !inString && antiquotations[symbol] != "":
			m.add(antiquotations[symbol], at)
		case !inString && strings.HasPrefix(text[at:], "@{theory}"):
			n = len("@{theory}")
			m.add(antiquotations["@{theory}"], at)
		default:
			m.add(symbol, at)
		}
		at += n
	}
	m.from, m.at = append(m.from, m.b.Len()), append(m.at, len(text))
	return m
}

// noise is what Poly/ML warns of and Isabelle does not: an expression whose type
// nothing fixes, such as raise.
func noise(s said) bool {
	return s.kind == "warning" && strings.Contains(s.text, "contains a free type variable. Setting it to a unique")
}
