package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors is how many problems of one manifest are told, maxFound how many
// are kept to choose the first from.
const (
	maxErrors = 20
	maxFound  = 1000
)

// Error is one thing wrong with a manifest.
type Error struct {
	File         string // as given by the operator
	Line, Column int    // from 1
	Key          string // "services.bank.volumes[0].to"; "" for the whole file
	Message      string // what is wrong
	Hint         string // what to write instead; "" if nothing is known
}

// Error gives one line: "cofferdam.yaml:12:5 services.bank.volums: unknown
// key; did you mean "volumes"?".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line < 0 {
		fmt.Fprintf(&b, "grant %d", -e.Line)
	} else {
		fmt.Fprintf(&b, "%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Key != "" {
		b.WriteString(" " + e.Key)
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors is everything wrong with a manifest, in the order of the file: at
// most 20 problems, and one more entry that counts the rest.
type Errors []*Error

// Error gives one line for each.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes each error reachable by errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// report sorts and bounds what was found of count problems; nil if there are
// none.
func report(found []*Error, count int) error {
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(found) > maxErrors {
		last := *found[maxErrors]
		last.Key, last.Hint = "", ""
		last.Message = fmt.Sprintf("and %d more from here on", count-maxErrors)
		found = append(found[:maxErrors:maxErrors], &last)
	}
	return Errors(found)
}
