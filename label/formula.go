package label

import (
	"fmt"
	"slices"
)

// Formula says whose authority something takes: an and of clauses, each an or of
// principals, without negation. It is in normal form, in which no clause
// contains another, so that formulas of one meaning are ==. The zero Formula is
// [True].
type Formula struct{ n *node } // nil, and only nil, is True

// The two formulas that name nobody. They are not to be assigned to.
var (
	True  = Formula{}            // no clause: holds for anybody
	False = intern([]clause{{}}) // the empty clause: holds for nobody
)

// NewFormula returns the and of clauses, each of them the or of its names: no
// clauses are [True], an empty one is [False]. Names are UTF-8, compared byte for
// byte; the empty name is one like others. Over the bounds, in normal form, it is
// [ErrBound].
func NewFormula(clauses ...[]string) (Formula, error) {
	if len(clauses) > maxRaw {
		return Formula{}, fmt.Errorf("%w: %d clauses, before those that say nothing are left out; at most %d", ErrBound, len(clauses), maxRaw)
	}
	raw := make([]clause, len(clauses))
	for i, names := range clauses {
		c, err := newClause(names)
		if err != nil {
			return Formula{}, err
		}
		raw[i] = c
	}
	return bounded(reduce(raw, MaxClauses))
}

// bounded interns what was reduced, if it was within the bounds.
func bounded(normal []clause, err error) (Formula, error) {
	if err != nil {
		return Formula{}, err
	}
	return intern(normal), nil
}

// Clauses returns the normal form: names in a clause in the order of their bytes;
// clauses in the order of their size, those of one size in that of their names.
func (f Formula) Clauses() [][]string {
	all := make([][]string, len(f.clauses()))
	for i, c := range f.clauses() {
		all[i] = make([]string, len(c.names))
		for j, p := range c.names {
			all[i][j] = p.name
		}
	}
	return all
}

// Implies tells whether g holds wherever f does. Of two privileges it tells
// whether f speaks for g: whoever has f may act as one who has g.
func (f Formula) Implies(g Formula) bool {
	known := f.recall(g)
	return known == yes || known != no && f.n.find(g.n)
}

// And returns the formula that holds where both do: two privileges together.
// Clauses are not multiplied, so it has at most those of both, and it is not
// refused if that is over the bound: that is for whoever keeps it. Or, Join
// and Meet refuse to give out what is.
func (f Formula) And(g Formula) Formula {
	switch {
	case f.Implies(g):
		return f
	case g.Implies(f):
		return g
	}
	raw := slices.Concat(f.clauses(), g.clauses())
	return intern(must(reduce(raw, len(raw))))
}

// Or returns the formula that holds where either does. It has up to as many
// clauses as the product of theirs; over the bounds it is [ErrBound].
func (f Formula) Or(g Formula) (Formula, error) {
	switch {
	case f.Implies(g):
		return g, g.bounded()
	case g.Implies(f):
		return f, f.bounded()
	}
	work := maxProducts
	return bounded(or(f.clauses(), g.clauses(), &work))
}

// bounded tells whether f is within the bounds, which only And can make it exceed.
func (f Formula) bounded() error {
	if n := len(f.clauses()); n > MaxClauses {
		return fmt.Errorf("%w: %d clauses, at most %d", ErrBound, n, MaxClauses)
	}
	return nil
}

// impliesWith tells whether f and p together imply g. A clause that two formulas
// imply together is implied by one of them alone, so nothing is put together.
func (f Formula) impliesWith(p, g Formula) bool {
	if f.Implies(g) {
		return true
	}
	if p == True {
		return false
	}
	for i := range g.clauses() {
		if d := &g.n.clauses[i]; !someWithin(p.clauses(), d) && !someWithin(f.clauses(), d) {
			return false
		}
	}
	return true
}

// less returns f without the clauses that p or q implies.
func (f Formula) less(p, q Formula) Formula {
	if q.Implies(f) {
		return True
	}
	var rest []clause
	for i := range f.clauses() {
		if c := &f.n.clauses[i]; !someWithin(p.clauses(), c) && !someWithin(q.clauses(), c) {
			rest = append(rest, *c)
		}
	}
	if len(rest) == len(f.clauses()) {
		return f
	}
	return intern(rest)
}

func (f Formula) clauses() []clause {
	if f.n == nil {
		return nil
	}
	return f.n.clauses
}
