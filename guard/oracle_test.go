package guard

import (
	"testing"

	"cofferdam/label"
)

// The oracle knows the rules once more, and nothing of package label: a formula
// over the principals a and b is the set of the worlds in which it holds, a
// world being who of the two agrees. What follows from what is then a subset,
// and everything is tried rather than reasoned.

// table is a formula: bit w is set if it holds in the world w, in which a agrees
// if bit 0 is set and b if bit 1 is. More agreement never makes it false.
type table uint8

const (
	tFalse table = 0b0000
	tBoth  table = 0b1000
	tA     table = 0b1010
	tB     table = 0b1100
	tAny   table = 0b1110
	tTrue  table = 0b1111
)

// tables are all of them.
var tables = [...]table{tFalse, tBoth, tA, tB, tAny, tTrue}

// text is how package label reads a table.
var text = map[table]string{tFalse: "False", tBoth: "a & b", tA: "a", tB: "b", tAny: "a | b", tTrue: "True"}

func (f table) implies(g table) bool { return f&^g == 0 }

// pair is a label, or the privileges that release and that vouch.
type pair struct{ s, i table }

var none = pair{tTrue, tTrue} // no privilege, or public

// pairs are all of them.
var pairs = func() (all []pair) {
	for _, s := range tables {
		for _, i := range tables {
			all = append(all, pair{s, i})
		}
	}
	return all
}()

// to is ⊑ with the privileges p.
func (l pair) to(p, m pair) bool {
	return (m.s & p.s).implies(l.s) && (l.i & p.i).implies(m.i)
}

func (l pair) join(m pair) pair { return pair{l.s & m.s, l.i | m.i} }

// down is the lowest of all labels that l flows to with p.
func (l pair) down(p pair) pair { return downs[l.s][l.i][p.s][p.i] }

var downs = func() (downs [16][16][16][16]pair) {
	for _, l := range pairs {
		for _, p := range pairs {
			low := pair{tFalse, tTrue}
			for _, m := range pairs {
				if l.to(p, m) {
					low = pair{low.s | m.s, low.i & m.i}
				}
			}
			downs[l.s][l.i][p.s][p.i] = low
		}
	}
	return downs
}()

// outOf and inOf are one half of two privileges.
func (p pair) outOf() pair { return pair{p.s, tTrue} }
func (p pair) inOf() pair  { return pair{tTrue, p.i} }

// now is what the oracle knows of an environment.
type now struct{ cur, clr pair }

// states are all in which the label flows to the clearance.
var states = func() (all []now) {
	for _, cur := range pairs {
		for _, clr := range pairs {
			if cur.to(none, clr) {
				all = append(all, now{cur, clr})
			}
		}
	}
	return all
}()

// alloc, read and become are the checks that others are made of.
func (n now) alloc(p, t pair) bool { return n.cur.to(p, t) && t.to(none, n.clr) }
func (n now) read(p, t pair) bool  { return t.down(p).to(none, n.cur) }

// translated are the labels, formulas and states that stand for those of the oracle.
type translated [tTrue + 1]label.Formula

func translate() *translated {
	x := new(translated)
	for _, f := range tables {
		x[f] = label.MustParseFormula(text[f])
	}
	return x
}

func (x *translated) label(l pair) label.Label { return label.New(x[l.s], x[l.i]) }
func (x *translated) state(n now) State        { return State{x.label(n.cur), x.label(n.clr)} }

func (x *translated) privileges(p pair) label.Privileges {
	return label.Privileges{Out: x[p.s], In: x[p.i]}
}

// The lattice is the one of two principals: 6 formulas, 36 labels, 400 states.
func TestOracle(t *testing.T) {
	if len(tables) != 6 || len(pairs) != 36 || len(states) != 400 {
		t.Errorf("%d formulas, %d labels, %d states, want 6, 36, 400", len(tables), len(pairs), len(states))
	}
	for _, f := range tables {
		for w := range 4 {
			for _, more := range []int{w | 1, w | 2} {
				if f>>w&1 == 1 && f>>more&1 == 0 {
					t.Errorf("%s holds in %02b and not in %02b", text[f], w, more)
				}
			}
		}
	}
	for table, s := range text {
		if f := label.MustParseFormula(s); len(f.Clauses()) == 0 != (table == tTrue) {
			t.Errorf("%s is %v", s, f)
		}
	}
}
