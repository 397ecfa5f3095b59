package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// curve is cost against size.
type curve struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	X     string `json:"x"` // what the axis shows, with its unit
	Y     string `json:"y"`
	LogX  bool   `json:"log_x"`
	LogY  bool   `json:"log_y"`
	Lines []line `json:"lines"`
}

type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
	Bound  bool         `json:"bound"` // a target or a limit, and not a measurement
}

// palette is that of Okabe and Ito, which everybody can tell apart.
var palette = []color.Color{
	color.NRGBA{0x00, 0x72, 0xb2, 0xff}, color.NRGBA{0xd5, 0x5e, 0x00, 0xff}, color.NRGBA{0x00, 0x9e, 0x73, 0xff},
	color.NRGBA{0xcc, 0x79, 0xa7, 0xff}, color.NRGBA{0xe6, 0x9f, 0x00, 0xff}, color.NRGBA{0x56, 0xb4, 0xe9, 0xff},
}

func (c curve) plot() (*plot.Plot, error) {
	if len(c.Lines) == 0 {
		return nil, errors.New("it has no lines")
	}
	p := sheet()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Add(grid{})
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	for i, l := range c.Lines {
		points := make(plotter.XYs, len(l.Points))
		for j, at := range l.Points {
			if c.LogX && at[0] <= 0 || c.LogY && at[1] <= 0 {
				return nil, fmt.Errorf("line %q has %v, for which a logarithmic axis has no place", l.Name, at)
			}
			points[j] = plotter.XY{X: at[0], Y: at[1]}
		}
		drawn, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", l.Name, err)
		}
		drawn.Color = palette[i%len(palette)]
		drawn.Width = vg.Points(1.5)
		if l.Bound {
			drawn.Color, drawn.Dashes = grey, []vg.Length{vg.Points(4), vg.Points(3)}
			p.Add(drawn)
			p.Legend.Add(l.Name, drawn)
			continue
		}
		marks.Color, marks.Shape, marks.Radius = drawn.Color, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(drawn, marks)
		p.Legend.Add(l.Name, drawn, marks)
	}
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, times{}
	}
	room := 0.1 + 0.05*float64(len(c.Lines)) // for the legend, as a share of the height
	if c.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, times{}
		p.Y.Max *= math.Pow(p.Y.Max/p.Y.Min, room)
	} else {
		p.Y.Min = min(p.Y.Min, 0) // what looks like a slope should be one
		p.Y.Max += room * (p.Y.Max - p.Y.Min)
	}
	return p, nil
}

// grid are faint lines at the marks of both axes.
type grid struct{}

// Plot implements plot.Plotter.
func (grid) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: faint, Width: vg.Points(0.5)}
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if t.Label != "" {
			c.StrokeLine2(style, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
		}
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if t.Label != "" {
			c.StrokeLine2(style, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}
