// Command growth measures cost against size: what one more service, environment, grant or
// record makes dearer, and what not.
//
//	go run ./bench/growth                    all of it; needs bin/cofferdam (make build)
//	go run ./bench/growth growth-grants      some of it
//	go run ./bench/growth -most 1000         no more than so many of anything
//	go run ./bench/growth -write docs        … and docs/benchmarks/growth.json with it, for bench/plot
//
// What takes a running application is measured at one; what takes more of something than
// one manifest may have, and only one room knows of, by the benchmarks of that room
// whose names begin with BenchmarkGrowth.
//
// Trusted: no. It only measures.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"cofferdam/bench/own"
)

// curve is what bench/plot draws.
type curve struct {
	Name  string  `json:"name"`
	Title string  `json:"title"`
	X     string  `json:"x"`
	Y     string  `json:"y"`
	LogX  bool    `json:"log_x"`
	LogY  bool    `json:"log_y"`
	Lines []*line `json:"lines"`
}

type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
	Bound  bool         `json:"bound,omitempty"`
}

// add adds a point to a line.
func (c *curve) add(name string, x, y float64) {
	for _, l := range c.Lines {
		if l.Name == name {
			l.Points = append(l.Points, [2]float64{x, y})
			return
		}
	}
	c.Lines = append(c.Lines, &line{Name: name, Points: [][2]float64{{x, y}}})
}

var scenarios = []struct {
	name string
	run  func(p own.Program, most int) ([]*curve, error)
}{
	{"growth-services", services},
	{"growth-environments", environments},
	{"growth-grants", grants},
	{"growth-audit", records},
	{"growth-monitor", inside},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == own.PlayRole {
		if err := own.Play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "growth:", err)
			os.Exit(1)
		}
		return
	}
	docs := flag.String("write", "", "a directory of documents: benchmarks/growth.json in it is brought up to date")
	binary := flag.String("binary", "bin/cofferdam", "what is measured")
	most := flag.Int("most", math.MaxInt, "measure at no larger size")
	flag.Parse()
	if err := run(*docs, *binary, *most, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(docs, binary string, most int, wanted []string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var found []*curve
	var failed []error
	for _, s := range scenarios {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		curves, err := s.run(own.Program{Binary: binary, Player: self}, most)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
		found = append(found, curves...)
	}
	for _, c := range found {
		c.print()
	}
	if docs != "" {
		failed = append(failed, write(filepath.Join(docs, "benchmarks", "growth.json"), found))
	}
	return errors.Join(failed...)
}

// upTo are the sizes that are at most so large.
func upTo(most int, sizes ...int) []int {
	return slices.DeleteFunc(sizes, func(n int) bool { return n > most })
}

// print prints a column for each size.
func (c *curve) print() {
	var sizes []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !slices.Contains(sizes, p[0]) {
				sizes = append(sizes, p[0])
			}
		}
	}
	slices.Sort(sizes)
	fmt.Printf("\n%s, in %s:\n\n| %s |", c.Title, c.Y, c.X)
	for _, x := range sizes {
		fmt.Printf(" %.0f |", x)
	}
	fmt.Print("\n|---|")
	for range sizes {
		fmt.Print("---|")
	}
	for _, l := range c.Lines {
		fmt.Printf("\n| %s |", l.Name)
		for _, x := range sizes {
			at := slices.IndexFunc(l.Points, func(p [2]float64) bool { return p[0] == x })
			if at < 0 {
				fmt.Print(" – |")
				continue
			}
			fmt.Printf(" %.3g |", l.Points[at][1])
		}
	}
	fmt.Println()
}

// write brings the file up to date: what was measured takes the place of what there was of it.
func write(file string, found []*curve) error {
	var all struct {
		Curves []*curve `json:"curves"`
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, c := range found {
		i := slices.IndexFunc(all.Curves, func(o *curve) bool { return o.Name == c.Name })
		if i < 0 {
			all.Curves = append(all.Curves, c)
		} else {
			all.Curves[i] = c
		}
	}
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
