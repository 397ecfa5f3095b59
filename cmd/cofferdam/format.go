package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// format is how a command shows rows: --format table, json or jsonl.
type format struct{ name string }

func (f *format) flag(c *cobra.Command, also ...string) {
	words := append([]string{"table", "json", "jsonl"}, also...)
	c.Flags().StringVar(&f.name, "format", "table", strings.Join(words, ", "))
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// rows prints items: as an array, a line each, or by table.
func rows[T any](f format, w io.Writer, items []T, header []string, row func(T) []string) error {
	switch f.name {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if items == nil {
			items = []T{}
		}
		return enc.Encode(items)
	case "jsonl":
		enc := json.NewEncoder(w)
		for _, it := range items {
			if err := enc.Encode(it); err != nil {
				return err
			}
		}
		return nil
	case "table":
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(tw, strings.Join(header, "\t"))
		for _, it := range items {
			fmt.Fprintln(tw, tableLine(row(it)))
		}
		return tw.Flush()
	}
	return fmt.Errorf("--format %q: one of table, json, jsonl", f.name)
}

// tableLine is a row for a tabwriter.
func tableLine(cells []string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(printable(c), "\t", `\t`) // of which columns are made
	}
	return strings.Join(cells, "\t")
}

// one prints a single thing as JSON, over several lines or on one.
func one(f format, w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	switch f.name {
	case "json":
		enc.SetIndent("", "  ")
	case "jsonl":
	default:
		return fmt.Errorf("--format %q: one of table, json, jsonl", f.name)
	}
	return enc.Encode(v)
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
