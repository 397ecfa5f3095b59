package label

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// someFormula is a random formula over n principals, small enough that no or of
// a few is over the bounds, and now and then a constant.
func someFormula(r *rand.Rand, n int) Formula {
	switch r.IntN(12) {
	case 0:
		return True
	case 1:
		return False
	}
	clauses := make([][]string, 1+r.IntN(4))
	for i := range clauses {
		for range 1 + r.IntN(3) {
			clauses[i] = append(clauses[i], "p"+strconv.Itoa(r.IntN(n)))
		}
	}
	return must(NewFormula(clauses...))
}

func someLabel(r *rand.Rand, n int) Label { return New(someFormula(r, n), someFormula(r, n)) }

// TestLaws holds random labels against the laws of the lattice and of privileges.
func TestLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	join := func(l, m Label) Label { return must(l.Join(m)) }
	meet := func(l, m Label) Label { return must(l.Meet(m)) }
	flowed := 0
	for range 8000 {
		n := 2 + r.IntN(5)
		l, m, k := someLabel(r, n), someLabel(r, n), someLabel(r, n)
		if r.IntN(2) == 0 {
			m = join(l, m) // otherwise few flow
		}
		p, q := someFormula(r, n), someFormula(r, n)
		if r.IntN(3) == 0 {
			p = p.And(q)
		}
		law := func(name string, holds bool) {
			t.Helper()
			if !holds {
				t.Fatalf("%s: l = %v, m = %v, k = %v, p = %v, q = %v", name, l, m, k, p, q)
			}
		}
		flows := l.FlowsTo(m)
		if flows {
			flowed++
		}
		law("reflexive", l.FlowsTo(l))
		law("antisymmetric", !(flows && m.FlowsTo(l)) || l == m)
		law("transitive", !(flows && m.FlowsTo(k)) || l.FlowsTo(k))
		law("bottom and top", Bottom.FlowsTo(l) && l.FlowsTo(Top))
		law("join decides", flows == (join(l, m) == m))
		law("meet decides", flows == (meet(l, m) == l))
		law("join is above", l.FlowsTo(join(l, m)) && m.FlowsTo(join(l, m)))
		law("join is least", !(l.FlowsTo(k) && m.FlowsTo(k)) || join(l, m).FlowsTo(k))
		law("meet is below", meet(l, m).FlowsTo(l) && meet(l, m).FlowsTo(m))
		law("meet is greatest", !(k.FlowsTo(l) && k.FlowsTo(m)) || k.FlowsTo(meet(l, m)))
		law("order of operands", join(l, m) == join(m, l) && meet(l, m) == meet(m, l))
		law("absorption", join(l, meet(l, m)) == l && meet(l, join(l, m)) == l)
		law("distribution", meet(l, join(m, k)) == join(meet(l, m), meet(l, k)))
		law("distribution of join", join(l, meet(m, k)) == meet(join(l, m), join(l, k)))

		down := l.Downgrade(p)
		law("downgrade is below", down.FlowsTo(l))
		law("downgrade is reached", l.FlowsToWith(p, down))
		law("downgrade twice", down.Downgrade(p) == down)
		law("downgrade is exact", l.FlowsToWith(p, m) == down.FlowsTo(m))
		law("downgrades add up", l.Downgrade(p.And(q)) == l.Downgrade(q).Downgrade(p))
		law("True has no power", l.FlowsToWith(True, m) == flows && l.Downgrade(True) == l)
		law("False has all", l.FlowsToWith(False, m))
		law("more power, more flows", !(p.Implies(q) && l.FlowsToWith(q, m)) || l.FlowsToWith(p, m))
		law("with p, transitive", !(l.FlowsToWith(p, m) && m.FlowsToWith(p, k)) || l.FlowsToWith(p, k))
		law("with p, of the and", l.FlowsToWith(p, m) == (p.And(m.Secrecy()).Implies(l.Secrecy()) && p.And(l.Integrity()).Implies(m.Integrity())))

		u := Privileges{Out: p, In: q}
		law("apart", l.FlowsUnder(u, m) == (New(l.Secrecy(), True).FlowsToWith(p, New(m.Secrecy(), True)) &&
			New(True, l.Integrity()).FlowsToWith(q, New(True, m.Integrity()))))
		law("apart is no more than together", !l.FlowsUnder(u, m) || l.FlowsToWith(p.And(q), m))
		law("apart, exact", l.FlowsUnder(u, m) == l.DowngradeUnder(u).FlowsTo(m))
		law("releasing is not vouching", l.DowngradeUnder(Privileges{Out: p}).Integrity() == l.Integrity())
		law("vouching is not releasing", l.DowngradeUnder(Privileges{In: p}).Secrecy() == l.Secrecy())

		missing := l.Missing(u, m)
		law("nothing is missing", l.FlowsUnder(u, m) == (missing == Privileges{}))
		law("with what was missing", l.FlowsUnder(Privileges{p.And(missing.Out), q.And(missing.In)}, m))
		needed := l.Missing(Privileges{}, m)
		law("the least that is needed", l.FlowsUnder(u, m) == (p.Implies(needed.Out) && q.Implies(needed.In)))
	}
	if flowed < 1000 {
		t.Errorf("only %d of the labels flowed", flowed)
	}
}

// TestTwoPrincipals tries every pair of labels over two principals, with every pair
// of privileges, against truth tables.
func TestTwoPrincipals(t *testing.T) {
	// The six monotone functions of a and b, each as text and as its truth table:
	// bit i is its value where a is bit 0 of i and b is bit 1.
	type function struct {
		f     Formula
		table uint
	}
	var all []function
	for text, table := range map[string]uint{
		"False": 0b0000, "a & b": 0b1000, "a": 0b1010, "b": 0b1100, "a | b": 0b1110, "True": 0b1111,
	} {
		all = append(all, function{MustParseFormula(text), table})
	}
	implies := func(f, g uint) bool { return f&^g == 0 }
	byTable := func(table uint) Formula {
		for _, f := range all {
			if f.table == table {
				return f.f
			}
		}
		t.Fatalf("no formula for %04b", table)
		return True
	}
	for _, f := range all {
		for _, g := range all {
			if f.f.Implies(g.f) != implies(f.table, g.table) {
				t.Errorf("%v implies %v: %v", f.f, g.f, f.f.Implies(g.f))
			}
			if f.f.And(g.f) != byTable(f.table&g.table) {
				t.Errorf("%v and %v = %v", f.f, g.f, f.f.And(g.f))
			}
			if or, err := f.f.Or(g.f); err != nil || or != byTable(f.table|g.table) {
				t.Errorf("%v or %v = %v, %v", f.f, g.f, or, err)
			}
		}
	}
	// The lowest secrecy that p can bring s to is the weakest that p makes as strong.
	least := func(p, s uint) uint {
		best := s
		for _, f := range all {
			if implies(p&f.table, s) && implies(s, f.table) && implies(best, f.table) {
				best = f.table
			}
		}
		return best
	}
	n := 0
	for _, s1 := range all {
		for _, i1 := range all {
			for _, s2 := range all {
				for _, i2 := range all {
					l, m := New(s1.f, i1.f), New(s2.f, i2.f)
					if got, want := l.FlowsTo(m), implies(s2.table, s1.table) && implies(i1.table, i2.table); got != want {
						t.Errorf("(%v).FlowsTo(%v) = %v", l, m, got)
					}
					if got, err := l.Join(m); err != nil || got != New(byTable(s1.table&s2.table), byTable(i1.table|i2.table)) {
						t.Errorf("(%v).Join(%v) = %v, %v", l, m, got, err)
					}
					if got, err := l.Meet(m); err != nil || got != New(byTable(s1.table|s2.table), byTable(i1.table&i2.table)) {
						t.Errorf("(%v).Meet(%v) = %v, %v", l, m, got, err)
					}
					for _, out := range all {
						for _, in := range all {
							n++
							p := Privileges{out.f, in.f}
							want := implies(out.table&s2.table, s1.table) && implies(in.table&i1.table, i2.table)
							if got := l.FlowsUnder(p, m); got != want {
								t.Errorf("(%v).FlowsUnder(%v, %v) = %v", l, p, m, got)
							}
							if out == in && l.FlowsToWith(out.f, m) != want {
								t.Errorf("(%v).FlowsToWith(%v, %v) = %v", l, out.f, m, !want)
							}
							if got := l.DowngradeUnder(p); got != New(byTable(least(out.table, s1.table)), byTable(i1.table&in.table)) {
								t.Errorf("(%v).DowngradeUnder(%v) = %v", l, p, got)
							}
						}
					}
				}
			}
		}
	}
	if n != 6*6*6*6*6*6 {
		t.Errorf("%d cases", n)
	}
}
