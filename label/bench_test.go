package label

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// shape is one of the three sizes: clauses of a formula, and names of a clause.
type shape struct {
	name           string
	clauses        int
	fewest, most   int
	cases, variety int // different labels, and principals that they are of
}

var shapes = []shape{
	{"tiny", 1, 1, 2, 512, 100},
	{"medium", 4, 3, 3, 512, 100},
	{"large", 32, 4, 4, 64, 1000},
}

// formulas returns n of that shape.
func (s shape) formulas(r *rand.Rand, n int) []Formula {
	all := make([]Formula, n)
	for i := range all {
		for {
			clauses := make([][]string, s.clauses)
			for j := range clauses {
				for range s.fewest + r.IntN(s.most-s.fewest+1) {
					clauses[j] = append(clauses[j], fmt.Sprintf("user:%03d@example.com", r.IntN(s.variety)))
				}
			}
			all[i] = must(NewFormula(clauses...))
			if len(all[i].Clauses()) == s.clauses {
				break
			}
		}
	}
	return all
}

// labels returns as many as the shape has cases, with both halves of its shape.
func (s shape) labels(seed uint64) []Label {
	r := rand.New(rand.NewPCG(seed, 0))
	secrecy, integrity := s.formulas(r, s.cases), s.formulas(r, s.cases)
	all := make([]Label, s.cases)
	for i := range all {
		all[i] = New(secrecy[i], integrity[i])
	}
	return all
}

// above returns labels that each of these flows to and is not: a clause more in the
// secrecy, and a clause of the integrity weakened by a name.
func above(labels []Label) []Label {
	all := make([]Label, len(labels))
	for i, l := range labels {
		clauses := l.Integrity().Clauses()
		clauses[0] = append(clauses[0], "somebody else")
		all[i] = New(l.Secrecy().And(must(NewFormula([]string{fmt.Sprintf("level %d", i)}))), must(NewFormula(clauses...)))
	}
	return all
}

// anew is FlowsTo without what is remembered.
func anew(l, m Label) bool {
	implies := func(f, g Formula) bool {
		if f == g || f == True || g == True {
			return f.Implies(g)
		}
		return f.n.compare(g.n)
	}
	return implies(m.secrecy, l.secrecy) && implies(l.integrity, m.integrity)
}

// BenchmarkFlowsTo: "yes" and "no" ask about different pairs in turn and remember
// nothing; "equal" are equal labels that were made apart; "repeated" is one pair.
func BenchmarkFlowsTo(b *testing.B) {
	for _, s := range shapes {
		labels, unrelated := s.labels(1), s.labels(2)
		higher := above(labels)
		again := s.labels(1)
		for _, bb := range []struct {
			name string
			ask  func(l, m Label) bool
			to   []Label
			want bool
		}{
			{"equal", Label.FlowsTo, again, true},
			{"yes", anew, higher, true},
			{"no", anew, unrelated, false},
			{"yes/remembered", Label.FlowsTo, higher, true},
			{"no/remembered", Label.FlowsTo, unrelated, false},
		} {
			b.Run(s.name+"/"+bb.name, func(b *testing.B) {
				for i, l := range labels {
					if bb.ask(l, bb.to[i]) != bb.want {
						b.Skipf("(%v) to (%v) is not %v", l, bb.to[i], bb.want)
					}
				}
				for i := 0; b.Loop(); i++ {
					bb.ask(labels[i%s.cases], bb.to[i%s.cases])
				}
			})
		}
		for _, bb := range []struct {
			name string
			to   Label
		}{{"yes", higher[0]}, {"no", unrelated[0]}} {
			b.Run(s.name+"/"+bb.name+"/repeated", func(b *testing.B) {
				for b.Loop() {
					labels[0].FlowsTo(bb.to)
				}
			})
		}
	}
}

// BenchmarkFlowsToWith: p is half of the secrecy's clauses, and does not suffice.
func BenchmarkFlowsToWith(b *testing.B) {
	for _, s := range shapes {
		labels, unrelated := s.labels(1), s.labels(2)
		half := halfOf(labels)
		b.Run(s.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				labels[i%s.cases].FlowsToWith(half[i%s.cases], unrelated[i%s.cases])
			}
		})
	}
}

func halfOf(labels []Label) []Formula {
	all := make([]Formula, len(labels))
	for i, l := range labels {
		clauses := l.Secrecy().Clauses()
		all[i] = must(NewFormula(clauses[:(len(clauses)+1)/2]...))
	}
	return all
}

func BenchmarkDowngrade(b *testing.B) {
	for _, s := range shapes {
		labels := s.labels(1)
		half := halfOf(labels)
		b.Run(s.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				labels[i%s.cases].Downgrade(half[i%s.cases])
			}
		})
	}
}

// BenchmarkJoin: "wide" has the shape in both halves, of unrelated labels; "narrow"
// one clause as integrity; "equal" joins with what it is already, and "above" with what
// it flows to. Large and wide is over the bound, and refused.
func BenchmarkJoin(b *testing.B) {
	for _, s := range shapes {
		labels, unrelated := s.labels(1), s.labels(2)
		for _, bb := range []struct {
			name string
			l, m []Label
		}{
			{"wide", labels, unrelated},
			{"narrow", narrow(labels), narrow(unrelated)},
			{"equal", labels, s.labels(1)},
			{"above", labels, above(labels)},
		} {
			b.Run(s.name+"/"+bb.name, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					bb.l[i%s.cases].Join(bb.m[i%s.cases])
				}
			})
		}
	}
}

func narrow(labels []Label) []Label {
	all := make([]Label, len(labels))
	for i, l := range labels {
		all[i] = New(l.Secrecy(), must(NewFormula(l.Integrity().Clauses()[0])))
	}
	return all
}

func BenchmarkParse(b *testing.B) {
	for _, s := range shapes {
		texts := make([]string, s.cases)
		for i, l := range s.labels(1) {
			texts[i] = l.String()
		}
		b.Run(s.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := Parse(texts[i%s.cases]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
