package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// report is what a run has found. Its JSON is what bench/plot reads.
type report struct {
	Machine   machine  `json:"machine"`
	Scenarios []result `json:"scenarios"`
	Curves    []curve  `json:"curves,omitempty"`
}

// result is one scenario's.
type result struct {
	Name     string  `json:"name"`
	What     string  `json:"what"`
	Unit     string  `json:"unit"`
	More     bool    `json:"more"` // more is better
	Measured string  `json:"measured"`
	Version  string  `json:"version"` // of ours, then
	Load     float64 `json:"load"`    // of the machine, before
	Rounds   int     `json:"rounds"`
	Count    int     `json:"count"` // in each round
	Entries  []entry `json:"entries"`
	Ratios   []ratio `json:"ratios,omitempty"`
}

// entry is one contestant's part.
type entry struct {
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	How     string    `json:"how,omitempty"`
	Missing string    `json:"missing,omitempty"` // why there is no figure
	Median  float64   `json:"median,omitempty"`  // of the rounds
	P99     float64   `json:"p99,omitempty"`     // of all single times
	Rounds  []float64 `json:"rounds,omitempty"`
}

// ratio is one entry's figure divided by another's.
type ratio struct {
	Of    string  `json:"of"`
	To    string  `json:"to"`
	P99   bool    `json:"p99,omitempty"`
	Ratio float64 `json:"ratio"` // of the medians
	Low   float64 `json:"low"`   // of a single round
	High  float64 `json:"high"`
	Most  float64 `json:"most,omitempty"`  // the target
	Least float64 `json:"least,omitempty"` // the same
	Met   bool    `json:"met"`
}

func (r *result) entry(name string) *entry {
	i := slices.IndexFunc(r.Entries, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Entries[i]
}

// printerOf gives what prints a report in a format.
func printerOf(format string) (func(io.Writer, report) error, error) {
	switch format {
	case "table":
		return func(w io.Writer, r report) error { return printTables(w, r, "") }, nil
	case "json":
		return func(w io.Writer, r report) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(r)
		}, nil
	case "jsonl":
		return func(w io.Writer, r report) error {
			enc := json.NewEncoder(w)
			for _, s := range r.Scenarios {
				if err := enc.Encode(s); err != nil {
					return err
				}
			}
			for _, c := range r.Curves {
				if err := enc.Encode(c); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("--format %q: one of table, json, jsonl", format)
}

// printTables prints the machine, the ratios, and then what each contestant did; with
// the plots of a directory, if there is one, on a page.
func printTables(w io.Writer, r report, plots string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", r.Machine)
	fmt.Fprintln(&b, "| scenario | ours | peer | ratio | spread | target | met |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|")
	for _, s := range r.Scenarios {
		for _, x := range s.Ratios {
			name := s.Name
			if x.P99 {
				name += ", p99"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.2f–%.2f | %s | %s |\n", name, x.Of, x.To, x.Ratio, x.Low, x.High, x.target(), x.verdict())
		}
	}
	if plots != "" {
		fmt.Fprintf(&b, "\n![The ratios, turned so that more is better](%s/ratios.svg)\n", plots)
	}
	fmt.Fprintln(&b, "\n| scenario | who | median | p99 | version | how |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|")
	for _, s := range r.Scenarios {
		for i, e := range s.Entries {
			name := ""
			if i == 0 {
				name = fmt.Sprintf("%s: %s; %s, %s, load %.1f before", s.Name, s.What, s.Measured, s.Version, s.Load)
			}
			median, p99 := number(e.Median, s.Unit), "–"
			if e.P99 > 0 {
				p99 = number(e.P99, s.unitOfTimes())
			}
			if e.Missing != "" {
				median = e.Missing
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", name, e.Name, median, p99, e.Version, code(e.How))
		}
	}
	for _, c := range r.Curves {
		printCurve(&b, c)
		if plots != "" {
			fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", c.Title, plots, c.Name)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// printCurve prints a column for each size.
func printCurve(b *bytes.Buffer, c curve) {
	var sizes []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !slices.Contains(sizes, p[0]) {
				sizes = append(sizes, p[0])
			}
		}
	}
	slices.Sort(sizes)
	fmt.Fprintf(b, "\n%s, in %s:\n\n| %s |", c.Title, c.Y, c.X)
	for _, x := range sizes {
		fmt.Fprintf(b, " %.0f |", x)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(sizes)))
	for _, l := range c.Lines {
		fmt.Fprintf(b, "| %s |", l.Name)
		for _, x := range sizes {
			y, ok := l.value(x)
			if !ok {
				fmt.Fprint(b, " – |")
				continue
			}
			fmt.Fprintf(b, " %s |", number(y, ""))
		}
		fmt.Fprintln(b)
	}
}

// unitOfTimes is the unit of single times, which a rate is made of.
func (r result) unitOfTimes() string {
	if r.More {
		return "ms"
	}
	return r.Unit
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(s, "|", `\|`) + "`"
}

func (x ratio) target() string {
	switch {
	case x.Most != 0:
		return fmt.Sprintf("≤ %g", x.Most)
	case x.Least != 0:
		return fmt.Sprintf("≥ %g", x.Least)
	}
	return "–"
}

func (x ratio) verdict() string {
	switch {
	case x.Most == 0 && x.Least == 0:
		return "–"
	case x.Met:
		return "yes"
	}
	return "**no**"
}

func (e *entry) figure(unit string) string {
	return number(e.Median, unit)
}

// number shows three digits that count.
func number(v float64, unit string) string {
	switch {
	case v == 0:
		return "–"
	case v >= 1000:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, unit))
}

// Between these two the tables stand in BENCHMARKS.md.
const (
	tablesBegin = "<!-- written by make bench -->\n"
	tablesEnd   = "<!-- until here -->\n"
)

// write brings the documents up to date: what has been measured takes the place of
// what there was of it, as long as the machine is the same.
func write(docs string, found report) error {
	file := filepath.Join(docs, "benchmarks", "latest.json")
	var before report
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &before); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if before.Machine.like(found.Machine) {
		found.add(before)
	}
	text, err = json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return err
	}
	page := filepath.Join(docs, "BENCHMARKS.md")
	text, err = os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), tablesBegin)
	_, tail, ended := strings.Cut(rest, tablesEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the tables, between %q and %q", page, tablesBegin, tablesEnd)
	}
	var tables bytes.Buffer
	if err := printTables(&tables, found, "benchmarks"); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(head+tablesBegin+"\n"+tables.String()+"\n"+tablesEnd+tail), 0o644)
}

// add adds what another report has and this one has not, in the order in which
// everything is listed.
func (r *report) add(before report) {
	var all report
	for _, sc := range scenarios() {
		for _, from := range []*report{r, &before} {
			if i := slices.IndexFunc(from.Scenarios, func(s result) bool { return s.Name == sc.name }); i >= 0 {
				all.Scenarios = append(all.Scenarios, from.Scenarios[i])
				break
			}
		}
	}
	for _, w := range sweeps() {
		for _, from := range []*report{r, &before} {
			if i := slices.IndexFunc(from.Curves, func(c curve) bool { return c.Name == w.name }); i >= 0 {
				all.Curves = append(all.Curves, from.Curves[i])
				break
			}
		}
	}
	r.Scenarios, r.Curves = all.Scenarios, all.Curves
}
