package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cofferdam/quote"
)

// format is how a command shows rows: --format table, json or jsonl.
type format struct {
	name string

	wide bool     // every column, whole
	drop []string // otherwise, columns that go first where there is no room for all

	width int // 0: that of the terminal, if it is one
}

// wideFlag lets a table be as wide as it is.
func (f *format) wideFlag(c *cobra.Command, drop ...string) {
	c.Flags().BoolVarP(&f.wide, "wide", "w", false, "show every column, also where the terminal is too narrow")
	f.drop = drop
}

func (f *format) flag(c *cobra.Command) { f.flagOf(c, "", "table", "json", "jsonl") }

// flagOf gives a command the flag --format with these words, of which the first is the default. what
// says what is shown by them, unless it is all.
func (f *format) flagOf(c *cobra.Command, what string, words ...string) {
	f.name = words[0]
	c.Flags().Var(&choice{&f.name, words}, "format", what+strings.Join(words, ", "))
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// choice is the value of a flag that is one of a few words: another one is refused before
// anything is done.
type choice struct {
	word *string
	of   []string
}

func (c *choice) String() string { return *c.word }
func (c *choice) Type() string   { return "string" }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.of, word) {
		return fmt.Errorf("one of %s", strings.Join(c.of, ", "))
	}
	*c.word = word
	return nil
}

// rows prints items: as an array, a line each, or as a table.
func rows[T any](f format, w io.Writer, items []T, header []string, row func(T) []string) error {
	switch f.name {
	case "json":
		enc := newEncoder(w)
		enc.SetIndent("", "  ")
		if items == nil {
			items = []T{}
		}
		return enc.Encode(items)
	case "jsonl":
		enc := newEncoder(w)
		for _, it := range items {
			if err := enc.Encode(it); err != nil {
				return err
			}
		}
		return nil
	}
	lines := [][]string{header}
	for _, it := range items {
		lines = append(lines, row(it))
	}
	tw := tabwriter.NewWriter(w, 0, 8, columnGap, ' ', 0)
	for _, cells := range f.fit(lines) {
		fmt.Fprintln(tw, tableLine(cells))
	}
	return tw.Flush()
}

// columnGap is how many spaces there are between two columns, leastColumn how much is left of one that
// is shortened.
const (
	columnGap   = 2
	leastColumn = 24
)

// fit makes a table as narrow as the terminal: columns are dropped, and the last one is
// shortened. The first line is the header.
func (f format) fit(lines [][]string) [][]string {
	width := f.width
	if width == 0 {
		var err error
		if width, _, err = term.GetSize(int(stdout.Fd())); err != nil {
			return lines
		}
	}
	if f.wide || width <= 0 {
		return lines
	}
	total := func() (sum, last int) {
		for i := range lines[0] {
			last = 0
			for _, cells := range lines {
				last = max(last, len([]rune(printable(cells[i]))))
			}
			sum += last + columnGap
		}
		return sum - columnGap, last
	}
	sum, last := total()
	for _, name := range f.drop {
		i := slices.Index(lines[0], name)
		if i < 0 || sum <= width || last >= leastColumn && sum-last+leastColumn <= width {
			continue
		}
		for n := range lines {
			lines[n] = slices.Delete(slices.Clone(lines[n]), i, i+1)
		}
		sum, last = total()
	}
	if sum > width {
		for _, cells := range lines {
			end := len(cells) - 1
			cells[end] = cut(printable(cells[end]), max(last-(sum-width), min(last, leastColumn)))
		}
	}
	return lines
}

// tableLine is a row for a tabwriter.
func tableLine(cells []string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(printable(c), "\t", `\t`) // of which columns are made
	}
	return strings.Join(cells, "\t")
}

// one prints a single thing as JSON: on one line for jsonl, otherwise over several.
func one(f format, w io.Writer, v any) error {
	enc := newEncoder(w)
	if f.name != "jsonl" {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// newEncoder writes JSON in which everything prints: it may be a terminal that shows it.
func newEncoder(w io.Writer) *json.Encoder { return json.NewEncoder(printing{w}) }

// printing is a writer of whole documents.
type printing struct{ w io.Writer }

func (p printing) Write(document []byte) (int, error) {
	if _, err := p.w.Write(quote.AppendPrinting(nil, document)); err != nil {
		return 0, err
	}
	return len(document), nil
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n <= 0:
		return "-"
	case n >= 1<<30:
		return fmt.Sprintf("%.1fGiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0fKiB", float64(n)/(1<<10))
}

// stdout is where data goes; everything else goes to stderr.
var stdout = os.Stdout
