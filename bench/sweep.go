package main

import (
	"fmt"
	"os"
	"time"
)

// sweep asks one question in several sizes: what comes of it is a curve of cost.
type sweep struct {
	name, title string
	x, y        string // what the axes show, with units
	logX, logY  bool
	at          []float64
	scenario    func(at float64) scenario
}

// curve is a sweep's result, as bench/plot draws it.
type curve struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	X        string `json:"x"`
	Y        string `json:"y"`
	LogX     bool   `json:"log_x,omitempty"`
	LogY     bool   `json:"log_y,omitempty"`
	Measured string `json:"measured"`
	Lines    []line `json:"lines"`
}

type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// run measures each size as the scenario that it is, all contestants in turn. Who is
// not there has no line.
func (w sweep) run(s settings) (curve, error) {
	c := curve{Name: w.name, Title: w.title, X: w.x, Y: w.y, LogX: w.logX, LogY: w.logY, Measured: time.Now().UTC().Format("2006-01-02 15:04")}
	for _, at := range w.at {
		fmt.Fprintf(os.Stderr, "%s, %s %g\n", w.name, w.x, at)
		r, err := w.scenario(at).run(s)
		if err != nil {
			return curve{}, err
		}
		for _, e := range r.Entries {
			if e.Missing == "" {
				c.add(e.Name, at, e.Median)
			}
		}
	}
	return c, nil
}

func (c *curve) add(name string, x, y float64) {
	for i := range c.Lines {
		if c.Lines[i].Name == name {
			c.Lines[i].Points = append(c.Lines[i].Points, [2]float64{x, y})
			return
		}
	}
	c.Lines = append(c.Lines, line{name, [][2]float64{{x, y}}})
}

// value is that of a line at x, if it has one.
func (l line) value(x float64) (y float64, ok bool) {
	for _, p := range l.Points {
		if p[0] == x {
			return p[1], true
		}
	}
	return 0, false
}

// sweeps are all, in the order in which they are told.
func sweeps() []sweep {
	return []sweep{{
		name: "call-size", title: "A call there and back, by its size", x: "bytes", y: "µs", logX: true, logY: true,
		at: []float64{64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10},
		scenario: func(at float64) scenario {
			sc := calling(int(at))
			sc.rounds, sc.count = 3, 500
			return sc
		},
	}, {
		name: "start-workers", title: "Environments a second, by how many start them at once", x: "at once", y: "per second", logX: true,
		at: []float64{1, 2, 4, 8, 16},
		scenario: func(at float64) scenario {
			sc := startingAtOnce(int(at))
			sc.rounds = 3
			return sc
		},
	}}
}
