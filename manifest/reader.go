package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// reader turns a document into an App and collects everything wrong with it.
type reader struct {
	file    string
	dir     string
	resolve func(path string) (string, error)

	found []*Error        // the first maxFound
	count int             // of all there are
	later []func(*App)    // checks of one part against another
	flaws map[string]bool // services that could not be read in full

	people *people        // who {principal} may stand for
	places map[string]Pos // of labels, by key

	// Not all of them could be read.
	flawedShares, flawedMailboxes, flawedPrincipals bool
}

// value is one node of the document and its place in the tree of keys.
type value struct {
	node *yaml.Node
	key  string
}

func (v value) pos() Pos { return Pos{v.node.Line, v.node.Column} }

// at is the element i of the list v.
func (v value) at(i int, n *yaml.Node) value {
	return value{n, fmt.Sprintf("%s[%d]", v.key, i)}
}

// under is what stands under key in the mapping v.
func (v value) under(key, n *yaml.Node) value {
	name := key.Value
	if len(name) > 64 || !printable(name) {
		name = strconv.QuoteToASCII(fmt.Sprintf("%.64s", name))
	}
	if v.key != "" {
		name = v.key + "." + name
	}
	return value{n, name}
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !strconv.IsPrint(c) })
}

// refuse notes something wrong at v.
func (r *reader) refuse(v value, hint, format string, args ...any) {
	r.count++
	if r.count > maxFound {
		return
	}
	r.found = append(r.found, &Error{
		File: r.file, Line: v.node.Line, Column: v.node.Column, Key: v.key,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// check puts off a question until everything is read.
func (r *reader) check(question func(*App)) { r.later = append(r.later, question) }

// where is a place for people and for rules.
func (r *reader) where(p Pos) string { return (&App{File: r.file}).rule(p) }

// kind is what a node is in the core schema of YAML 1.2.
type kind string

const (
	isMapping kind = "a mapping"
	isList    kind = "a list"
	isText    kind = "text"
	isInteger kind = "a number"
	isFloat   kind = "a fraction"
	isBool    kind = "true or false"
	isNull    kind = "nothing"
)

var (
	coreInteger = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	coreFloat   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$`)
)

// kindOf resolves plain scalars itself: YAML 1.1, in which no and 1:20 are not
// text, is still in the library.
func kindOf(n *yaml.Node) kind {
	switch {
	case n.Kind == yaml.MappingNode:
		return isMapping
	case n.Kind == yaml.SequenceNode:
		return isList
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return isText
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return isNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return isBool
	}
	switch {
	case coreInteger.MatchString(n.Value):
		return isInteger
	case coreFloat.MatchString(n.Value):
		return isFloat
	}
	return isText
}

// want tells whether v is of kind k, and refuses it if not, naming its shape.
func (r *reader) want(v value, k kind, s shape) bool {
	got := kindOf(v.node)
	switch {
	case got == k:
		return true
	case got == isNull:
		r.refuse(v, "leave the key out if you mean nothing", "no value; want %s", s)
	case k == isText && (got == isInteger || got == isFloat || got == isBool):
		r.refuse(v, fmt.Sprintf("quote it: %q", v.node.Value), "want %s, not %s", s, got)
	default:
		r.refuse(v, "", "want %s, not %s", s, got)
	}
	return false
}

// text reads a string without NUL, which no program could be given.
func (r *reader) text(v value, s shape) (string, bool) {
	if !r.want(v, isText, s) {
		return "", false
	}
	if strings.ContainsRune(v.node.Value, 0) {
		r.refuse(v, "", "a zero byte in %s", s)
		return "", false
	}
	return v.node.Value, true
}

// name reads a string of a grammar.
func (r *reader) name(v value, s shape, grammar *regexp.Regexp) (string, bool) {
	name, ok := r.text(v, s)
	if ok && !grammar.MatchString(name) {
		r.refuse(v, "it must match "+grammar.String(), "%.64q is not %s", name, s)
		return "", false
	}
	return name, ok
}

// oneOf reads one of a few words.
func (r *reader) oneOf(v value, s shape, words ...string) (string, bool) {
	word, ok := r.text(v, s)
	if !ok {
		return "", false
	}
	for _, w := range words {
		if w == word {
			return w, true
		}
	}
	r.refuse(v, r.didYouMean(word, words), "%.64q is not %s", word, s)
	return "", false
}

// integer reads a decimal number from low to high; anything else is refused, and read as 0.
func (r *reader) integer(v value, s shape, low, high int) int {
	if !r.want(v, isInteger, s) {
		return 0
	}
	n, err := strconv.Atoi(v.node.Value)
	if err != nil || n < low || n > high || strconv.Itoa(n) != v.node.Value {
		r.refuse(v, "", "%.32s is not %s (%d to %d)", v.node.Value, s, low, high)
		return 0
	}
	return n
}

func (r *reader) boolean(v value) bool {
	return r.want(v, isBool, aBool) && strings.EqualFold(v.node.Value, "true")
}

// size reads a number of bytes of at least low.
func (r *reader) size(v value, s shape, low int64) int64 {
	text, ok := v.node.Value, kindOf(v.node) == isInteger || r.want(v, isText, s)
	if !ok {
		return 0
	}
	n, ok := parseSize(text)
	switch {
	case !ok && sizes.MatchString(text):
		r.refuse(v, "", "%.32q is more than %s", text, formatSize(maxSize))
	case !ok:
		r.refuse(v, sizeHint(text), "%.32q is not %s", text, s)
	case n < low:
		r.refuse(v, "", "%s is less than the least possible, %s", text, formatSize(low))
	}
	return n
}

// duration reads a time of at most high.
func (r *reader) duration(v value, s shape, high time.Duration) time.Duration {
	text, ok := v.node.Value, kindOf(v.node) == isInteger || r.want(v, isText, s)
	if !ok {
		return 0
	}
	parsed, ok := parseDuration(text)
	switch {
	case !ok && text != "" && durations.MatchString(text):
		r.refuse(v, "", "%.32q is not between 1ms and %s", text, formatDuration(maxDuration))
	case !ok:
		r.refuse(v, "", "%.32q is not %s", text, s)
	case parsed > high:
		r.refuse(v, "", "%s is more than %s", text, formatDuration(high))
	}
	return parsed
}

// list calls each for every element of the list v.
func (r *reader) list(v value, s shape, most int, each func(value)) {
	if !r.want(v, isList, s) {
		return
	}
	if len(v.node.Content) > most {
		r.refuse(v, "", "more than %d entries", most)
		return
	}
	for i, c := range v.node.Content {
		each(v.at(i, c))
	}
}

// pairs calls each for every key of the mapping v that stands there once.
func (r *reader) pairs(v value, s shape, most int, each func(name string, key, val value)) {
	if !r.want(v, isMapping, s) {
		return
	}
	if len(v.node.Content)/2 > most {
		r.refuse(v, "", "more than %d entries", most)
		return
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, c := v.node.Content[i], v.node.Content[i+1]
		key, val := v.under(k, k), v.under(k, c)
		if k.Kind != yaml.ScalarNode {
			r.refuse(value{k, v.key}, "", "a key must be text, not %s", kindOf(k))
			continue
		}
		if line, again := first[k.Value]; again {
			r.refuse(key, "", "duplicate key; it stands on line %d already", line)
			continue
		}
		first[k.Value] = k.Line
		each(k.Value, key, val)
	}
}

// didYouMean guesses what was meant, as long as somebody will read it.
func (r *reader) didYouMean(word string, known []string) string {
	if r.count > maxFound {
		return ""
	}
	if k := nearest(word, known); k != "" {
		return fmt.Sprintf("did you mean %q?", k)
	}
	return ""
}
