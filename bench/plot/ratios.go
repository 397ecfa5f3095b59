package main

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// scenario is one question and what came of it, as ours divided by each peer's.
type scenario struct {
	Name   string  `json:"name"`
	What   string  `json:"what"`
	More   bool    `json:"more"` // more is better
	Ratios []ratio `json:"ratios"`
}

type ratio struct {
	Of    string  `json:"of"`
	To    string  `json:"to"`
	P99   bool    `json:"p99"` // of 99th percentiles, where less is better whatever the rest is
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Most  float64 `json:"most"`  // the target; 0 if it is none
	Least float64 `json:"least"` // the same
	Met   bool    `json:"met"`
}

// bar is one ratio, turned so that more is better whatever was measured.
type bar struct {
	name           string
	at, low, high  float64
	target         float64 // 0 for none
	met, beginsNew bool    // another scenario begins here
}

func barsOf(scenarios []scenario) []bar {
	var all []bar
	for _, s := range scenarios {
		for i, r := range s.Ratios {
			if r.Ratio <= 0 || r.Low <= 0 || r.High <= 0 {
				continue // it has no place on this axis
			}
			b := bar{name: s.Name + ": " + r.Of + " / " + r.To, at: r.Ratio, low: r.Low, high: r.High, target: r.Most + r.Least, met: r.Met, beginsNew: i == 0}
			if r.P99 {
				b.name += ", p99"
			}
			if !s.More || r.P99 {
				b.at, b.low, b.high = 1/r.Ratio, 1/r.High, 1/r.Low
				if b.target != 0 {
					b.target = 1 / b.target
				}
			}
			all = append(all, b)
		}
	}
	return all
}

// Colours that can be told apart by those who see no difference of red and green.
var (
	blue   = color.NRGBA{0x1f, 0x77, 0xb4, 0xff}
	orange = color.NRGBA{0xe6, 0x6b, 0x00, 0xff}
	grey   = color.NRGBA{0x9a, 0xa5, 0xb1, 0xff}
	ink    = color.NRGBA{0x22, 0x22, 0x22, 0xff}
	faint  = color.NRGBA{0xdd, 0xdd, 0xdd, 0xff}
)

// ratios is the chart of all bars, and the height that it needs.
func ratios(bars []bar) (*plot.Plot, vg.Length) {
	p := sheet()
	p.Title.Text = "How many times as fast as the peer (or as small)"
	p.X.Label.Text = "black mark: target; blue reached it, orange did not, grey has none"
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = times{}
	p.Add(chart(bars))
	// The first stands at the top.
	ticks := make([]plot.Tick, len(bars))
	for i, b := range bars {
		ticks[i] = plot.Tick{Value: float64(len(bars) - 1 - i), Label: b.name}
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Tick.Length = 0
	p.Y.LineStyle.Width = 0
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	return p, vg.Length(len(bars))*0.55*vg.Centimeter + 3*vg.Centimeter
}

// times are the marks of a logarithmic axis: 0.1, 0.2, 0.5, 1, 2, 5 …, or decades
// alone where there are many.
type times struct{}

func (times) Ticks(min, max float64) []plot.Tick {
	steps := []float64{1, 2, 5}
	if max/min > 2000 {
		steps = steps[:1]
	}
	var out []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(min))); decade <= max*1.0001; decade *= 10 {
		for _, step := range steps {
			if v := decade * step; v >= min*0.9999 && v <= max*1.0001 {
				out = append(out, plot.Tick{Value: v, Label: grouped(v)})
			}
		}
	}
	return out
}

// grouped is a number as people write it: 0.2, 50, 10,000.
func grouped(v float64) string {
	if v < 1 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// chart draws bars from 1 to where they end. The library's own begin at 0, which a
// logarithmic axis does not have.
type chart []bar

// DataRange implements plot.DataRanger, with room for the figures at the end of bars.
func (c chart) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax = 1, 1
	for _, b := range c {
		for _, v := range []float64{b.at, b.low, b.high, b.target} {
			if v > 0 {
				xmin, xmax = math.Min(xmin, v), math.Max(xmax, v)
			}
		}
	}
	return xmin / 2, xmax * 2, -0.6, float64(len(c)) - 0.4
}

// Plot implements plot.Plotter.
func (c chart) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&canvas)
	line := func(style draw.LineStyle, x1, y1, x2, y2 vg.Length) { canvas.StrokeLine2(style, x1, y1, x2, y2) }
	for _, t := range (times{}).Ticks(p.X.Min, p.X.Max) {
		line(draw.LineStyle{Color: faint, Width: vg.Points(0.5)}, x(t.Value), canvas.Min.Y, x(t.Value), canvas.Max.Y)
	}
	for i, b := range c {
		at := float64(len(c) - 1 - i)
		low, middle, high := y(at-0.32), y(at), y(at+0.32)
		fill := grey
		switch {
		case b.target != 0 && b.met:
			fill = blue
		case b.target != 0:
			fill = orange
		}
		canvas.FillPolygon(fill, []vg.Point{{X: x(1), Y: low}, {X: x(b.at), Y: low}, {X: x(b.at), Y: high}, {X: x(1), Y: high}})
		line(draw.LineStyle{Color: ink, Width: vg.Points(0.7)}, x(b.low), middle, x(b.high), middle)
		if b.target != 0 {
			line(draw.LineStyle{Color: color.Black, Width: vg.Points(2)}, x(b.target), y(at-0.42), x(b.target), y(at+0.42))
		}
		if b.beginsNew && i > 0 {
			line(draw.LineStyle{Color: faint, Width: vg.Points(0.5)}, canvas.Min.X, y(at+0.5), canvas.Max.X, y(at+0.5))
		}
		// The figure stands beyond everything else of its bar, on the side to which it points.
		style := text.Style{Color: ink, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(8)), Handler: plot.DefaultTextHandler, YAlign: text.YCenter}
		end := vg.Point{X: x(math.Max(b.high, math.Max(b.at, b.target))) + vg.Points(4), Y: middle}
		if b.at < 1 {
			style.XAlign = text.XRight
			least := math.Min(b.low, b.at)
			if b.target != 0 {
				least = math.Min(least, b.target)
			}
			end.X = x(least) - vg.Points(4)
		}
		canvas.FillText(style, end, figure(b.at)+"×")
	}
	line(draw.LineStyle{Color: ink, Width: vg.Points(1)}, x(1), canvas.Min.Y, x(1), canvas.Max.Y)
}

// figure is a number with two digits that count, or all that it has before the point.
func figure(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
