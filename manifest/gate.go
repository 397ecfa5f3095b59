package manifest

import (
	"cofferdam/guard"

	"go.yaml.in/yaml/v4"
)

// Gate is what makes a method one through which the owner of something lets go
// of it: what a caller must bring, and what comes out. Each use runs the program
// anew and is recorded.
type Gate struct {
	Pos Pos
	guard.Gate
	Bits int // bound on the answer: 1 is true or false, n a number below 2^n; 0 is no bound

	given, vouched bool // Output and Integrity, while the manifest is read
}

func gateKeys() table[Gate] {
	return table[Gate]{keys: []key[Gate]{
		{"shows", aFormula, false, "True: anybody with the grant", "What a caller must show that it owns. It keeps it.", func(r *reader, v value, g *Gate) {
			g.Shows = r.fixedFormula(v)
		}},
		{"integrity", aFormula, false, "what the service owns", "Who must vouch for the caller at that time: its label's integrity implies it. So untrusted data steers no release.", func(r *reader, v value, g *Gate) {
			g.Integrity, g.vouched = r.fixedFormula(v), true
		}},
		{"input", aLabel, false, publicLabel, "Bound on what may be put in: the caller's label flows to it.", func(r *reader, v value, g *Gate) {
			g.Input = r.fixedLabel(v)
		}},
		{"output", aLabel, false, "as input", "Label of the answer. The service must own what lies between.", func(r *reader, v value, g *Gate) {
			l := r.label(v)
			r.refuseMark(v, l.open, nobodyHere)
			g.Output, g.given = l.text, true
		}},
		{"bits", aCount, false, "no bound", "Bound on what an answer may tell: 1 is true or false, n a number below 2^n, at most 62. Any other answer is refused.", func(r *reader, v value, g *Gate) {
			g.Bits = r.integer(v, aCount, 1, 62)
		}},
	}}
}

func readGate(r *reader, v value, p *Provide) {
	p.Gate = &Gate{Pos: v.pos()}
	mapping(r, v, aGate, gateKeys(), p.Gate)
}

func (g *Gate) fillDefaults(owns Formula) {
	if !g.given {
		g.Output = g.Input
	}
	if !g.vouched {
		g.Integrity = owns.text
	}
	g.given, g.vouched = false, false
}

func (g *Gate) node() *yaml.Node {
	if g == nil {
		return nil
	}
	var o object
	o.add("shows", text(g.Shows.String()))
	o.add("integrity", text(g.Integrity.String()))
	o.add("input", text(g.Input.String()))
	o.add("output", text(g.Output.String()))
	if g.Bits > 0 {
		o.add("bits", count(g.Bits))
	}
	return o.done()
}
