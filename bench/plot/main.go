// Command plot draws results of benchmarks, each as an SVG and as a PNG.
//
//	go -C bench/plot run . -o ../../docs/benchmarks ../../docs/benchmarks/latest.json
//
// It reads what `go run ./bench --format json` prints, or any JSON that has one of
// the two things that it draws:
//
//	{"scenarios": [{"name": "call", "what": "…", "unit": "µs", "more": false,
//	                "ratios": [{"of": "cofferdam", "to": "gRPC", "ratio": 0.4, "low": 0.3, "high": 0.5, "most": 0.5, "met": true}]}],
//	 "curves":    [{"name": "growth-grants", "title": "…", "x": "grants", "y": "µs", "log_x": true,
//	                "lines": [{"name": "a decision", "points": [[10, 0.3], [100, 0.31]]}]}]}
//
// All scenarios become one chart, ratios.svg, of how many times as fast as each peer
// ours is, with the targets marked. Each curve becomes a chart with its name.
//
// It is a module of its own: the library that draws is large, and nobody who builds
// the software should have to build that too.
//
// Trusted: no.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func main() {
	dir := flag.String("o", ".", "directory to write to")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: plot [-o DIR] RESULTS.json...")
		os.Exit(2)
	}
	for _, file := range flag.Args() {
		if err := drawFile(file, *dir); err != nil {
			fmt.Fprintf(os.Stderr, "plot: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

// results is the part of a file that is drawn.
type results struct {
	Scenarios []scenario `json:"scenarios"`
	Curves    []curve    `json:"curves"`
}

func drawFile(file, dir string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	drew := 0
	if bars := barsOf(r.Scenarios); len(bars) > 0 {
		p, height := ratios(bars)
		if err := save(p, dir, "ratios", 22*vg.Centimeter, height); err != nil {
			return err
		}
		drew++
	}
	for _, c := range r.Curves {
		p, err := c.plot()
		if err != nil {
			return fmt.Errorf("curve %q: %w", c.Name, err)
		}
		if err := save(p, dir, c.Name, 16*vg.Centimeter, 10*vg.Centimeter); err != nil {
			return err
		}
		drew++
	}
	if drew == 0 {
		return fmt.Errorf("it has neither ratios nor curves")
	}
	return nil
}

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// save writes both forms: the one to look at, and the one that every viewer shows.
func save(p *plot.Plot, dir, name string, width, height vg.Length) error {
	if !names.MatchString(name) {
		return fmt.Errorf("name %q: it becomes a file's, and must match %v", name, names)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, form := range []string{"svg", "png"} {
		c, err := draw.NewFormattedCanvas(width, height, form)
		if err != nil {
			return err
		}
		const margin = 8
		p.Draw(draw.Crop(draw.New(c), margin, -margin, margin, -margin))
		f, err := os.Create(filepath.Join(dir, name+"."+form))
		if err != nil {
			return err
		}
		_, err = c.WriteTo(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sheet is an empty plot in our fonts.
func sheet() *plot.Plot {
	p := plot.New()
	sans := func(style *text.Style, points vg.Length) { style.Font.Variant, style.Font.Size = "Sans", points }
	sans(&p.Title.TextStyle, 12)
	p.Title.Padding = 6
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		sans(&a.Label.TextStyle, 10)
		sans(&a.Tick.Label, 9)
		a.Label.Padding = 4
	}
	sans(&p.Legend.TextStyle, 9)
	return p
}
