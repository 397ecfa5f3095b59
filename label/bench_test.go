package label

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// timed measures n different questions in turn, n a power of two, and reports the
// processor's time too, which a neighbour disturbs less.
func timed(b *testing.B, n int, ask func(i int)) {
	before := processorNanos(b)
	asked := 0
	for b.Loop() {
		ask(asked & (n - 1))
		asked++
	}
	b.ReportMetric(float64(processorNanos(b)-before)/float64(asked), "cpu-ns/op")
}

func processorNanos(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

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

// pairs returns labels of about that shape, each of which flows to the one at its
// place and is not it: one name more in a clause of the secrecy here, and of the
// integrity there.
func (s shape) pairs(seed uint64) (from, to []Label) {
	for _, l := range s.labels(seed) {
		from = append(from, New(weaker(l.secrecy), l.integrity))
		to = append(to, New(l.secrecy, weaker(l.integrity)))
	}
	return from, to
}

func weaker(f Formula) Formula {
	clauses := f.Clauses()
	clauses[0] = append(clauses[0], "somebody else")
	return must(NewFormula(clauses...))
}

// anew is FlowsTo with whatever it has to remember, and without remembering.
func anew(l, m Label) bool {
	implies := func(f, g Formula) bool {
		if f == g || f == True || g == True || f.n.every&^g.n.any != 0 {
			return f.Implies(g)
		}
		return f.n.find(g.n)
	}
	return implies(m.secrecy, l.secrecy) && implies(l.integrity, m.integrity)
}

// BenchmarkFlowsTo asks about different pairs in turn. "yes" and "no" are found
// anew each time; "equal" are equal labels that were made apart; "repeated" are so
// few pairs that all are remembered.
func BenchmarkFlowsTo(b *testing.B) {
	for _, s := range shapes {
		labels, again, unrelated := s.labels(1), s.labels(1), s.labels(2)
		lower, higher := s.pairs(1)
		b.Run(s.name+"/equal", func(b *testing.B) {
			timed(b, s.cases, func(i int) { answered = labels[i].FlowsTo(again[i]) })
		})
		b.Run(s.name+"/yes", func(b *testing.B) {
			timed(b, s.cases, func(i int) { answered = anew(lower[i], higher[i]) })
		})
		b.Run(s.name+"/no", func(b *testing.B) {
			timed(b, s.cases, func(i int) { answered = anew(labels[i], unrelated[i]) })
		})
		b.Run(s.name+"/yes/repeated", func(b *testing.B) {
			timed(b, 4, func(i int) { answered = lower[i].FlowsTo(higher[i]) })
		})
		b.Run(s.name+"/no/repeated", func(b *testing.B) {
			timed(b, 4, func(i int) { answered = labels[i].FlowsTo(unrelated[i]) })
		})
	}
}

// answered keeps the compiler from leaving out what nobody looks at.
var answered bool

// BenchmarkFlowsToWith: p is half of the secrecy's clauses, and does not suffice.
func BenchmarkFlowsToWith(b *testing.B) {
	for _, s := range shapes {
		labels, unrelated := s.labels(1), s.labels(2)
		half := halfOf(labels)
		b.Run(s.name, func(b *testing.B) {
			timed(b, s.cases, func(i int) { labels[i].FlowsToWith(half[i], unrelated[i]) })
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
			timed(b, s.cases, func(i int) { labels[i].Downgrade(half[i]) })
		})
	}
}

// BenchmarkJoin: "wide" has the shape in both halves, of unrelated labels; "narrow"
// one clause as integrity; "equal" joins with what it is already, and "above" with what
// it flows to. Large and wide is over the bound, and refused.
func BenchmarkJoin(b *testing.B) {
	for _, s := range shapes {
		labels, unrelated := s.labels(1), s.labels(2)
		lower, higher := s.pairs(1)
		for _, bb := range []struct {
			name string
			l, m []Label
		}{
			{"wide", labels, unrelated},
			{"narrow", narrow(labels), narrow(unrelated)},
			{"equal", labels, s.labels(1)},
			{"above", lower, higher},
		} {
			b.Run(s.name+"/"+bb.name, func(b *testing.B) {
				timed(b, s.cases, func(i int) { bb.l[i].Join(bb.m[i]) })
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
			timed(b, s.cases, func(i int) { must(Parse(texts[i])) })
		})
	}
}

// BenchmarkLoop is what all others have on top of what they measure.
func BenchmarkLoop(b *testing.B) {
	labels := shapes[0].labels(1)
	timed(b, shapes[0].cases, func(i int) { answered = labels[i] == labels[0] })
}
