package fakeserver

import (
	"slices"
	"strings"
)

// kind of a token.
type kind int

const (
	word      kind = iota // a name, perhaps with dots
	number                //
	quoted                // in quotes or between ‹ and ›
	sign                  // anything else
	unclosed              // what begins and does not end
	commented             // never seen outside of this file
)

// token is one of a theory. Its value is what stands between the quotes.
type token struct {
	kind       kind
	value      string
	start, end int // in bytes
	inner      int // where the value starts
}

// quotes and what ends them. Of (* and ‹ others may lie inside.
var quotes = []struct {
	open, close string
	nested      bool
	kind        kind
}{
	{`"`, `"`, false, quoted}, {"`", "`", false, quoted}, {"‹", "›", true, quoted}, {`\<open>`, `\<close>`, true, quoted},
	{"{*", "*}", false, quoted}, {"(*", "*)", true, commented},
}

// tokens are those of a text, without comments.
func tokens(from string) []token {
	var all []token
	for at := 0; at < len(from); {
		if c := from[at]; c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' {
			at++
			continue
		}
		t := first(from, at)
		at = t.end
		if t.kind != commented {
			all = append(all, t)
		}
	}
	return all
}

func first(from string, at int) token {
	for _, q := range quotes {
		if strings.HasPrefix(from[at:], q.open) {
			inner := at + len(q.open)
			end, ok := closing(from, inner, q.open, q.close, q.nested)
			if !ok {
				return token{unclosed, q.open, at, len(from), inner}
			}
			return token{q.kind, from[inner : end-len(q.close)], at, end, inner}
		}
	}
	end := at + symbolLen(from[at:])
	t := token{kind: sign, start: at, inner: at}
	switch {
	case digit(from[at]):
		t.kind = number
		for end < len(from) && digit(from[end]) {
			end++
		}
	case letter(from[at]):
		t.kind = word
		for end < len(from) && (letterOrDigit(from[end]) || from[end] == '.' && end+1 < len(from) && letter(from[end+1])) {
			end++
		}
	case strings.IndexByte("!#$%&*+-/:<=>?@^_|~", from[at]) >= 0:
		for end < len(from) && strings.IndexByte("!#$%&*+-/:<=>?@^_|~", from[end]) >= 0 {
			end++
		}
	}
	t.value, t.end = from[at:end], end
	return t
}

// closing is where what was opened ends.
func closing(from string, at int, open, close string, nested bool) (end int, ok bool) {
	for depth := 1; at < len(from); {
		switch {
		case close == `"` && strings.HasPrefix(from[at:], `\"`):
			at += 2
		case strings.HasPrefix(from[at:], close):
			at += len(close)
			if depth--; depth == 0 {
				return at, true
			}
		case nested && strings.HasPrefix(from[at:], open):
			at += len(open)
			depth++
		default:
			at += symbolLen(from[at:])
		}
	}
	return at, false
}

// commands are the words that begin one.
var commands = strings.Fields(`
	theory end
	chapter section subsection subsubsection paragraph subparagraph text txt text_raw
	lemma theorem corollary proposition schematic_goal
	by apply done sorry oops
	proof qed next have show hence thus assume fix obtain then from with using unfolding
	definition abbreviation fun function primrec datatype record type_synonym typedecl consts axiomatization
	termination inductive notation no_notation declare lemmas named_theorems locale context class instance
	instantiation interpretation value term thm typ prop find_theorems print_theorems hide_const unbundle
	ML ML_val ML_command ML_file setup local_setup
`)

// command is one of a theory: its word and the tokens after it.
type command struct {
	name       string
	args       []token
	start, end int
}

// split makes commands of tokens. What comes before the first one, or what none
// begins with, is one without a name.
func split(all []token) []command {
	var list []command
	for _, t := range all {
		begins := t.kind == word && slices.Contains(commands, t.value)
		switch {
		case begins:
			list = append(list, command{name: t.value, start: t.start, end: t.end})
		case len(list) == 0:
			list = append(list, command{args: []token{t}, start: t.start, end: t.end})
		default:
			last := &list[len(list)-1]
			last.args, last.end = append(last.args, t), t.end
		}
	}
	return list
}
