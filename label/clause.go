package label

import (
	"fmt"
	"slices"
)

// clause is an or of principals, in the order of their bytes and each once. The
// empty clause is false. A clause is never changed.
type clause struct {
	bloom uint64 // bits of its names: what is not within bloom is not within names
	names []*principal
}

func newClause(names []string) (clause, error) {
	if len(names) > maxRaw {
		return clause{}, fmt.Errorf("%w: a clause of %d names", ErrBound, len(names))
	}
	c := clause{names: make([]*principal, 0, len(names))}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return clause{}, err
		}
		p := newPrincipal(name)
		c.bloom |= p.bloom
		c.names = append(c.names, p)
	}
	slices.SortFunc(c.names, byBytes)
	c.names = slices.Compact(c.names)
	return c, nil
}

// within tells whether every name of c is one of d: whether c implies d.
func (c *clause) within(d *clause) bool {
	return c.bloom&^d.bloom == 0 && subset(c.names, d.names)
}

// subset tells whether every one of a is in b. Both are in one order, so that each
// is looked for behind the one before.
//
//go:noinline
func subset(a, b []*principal) bool {
	found := 0
	for at := 0; at < len(b) && found < len(a); at++ {
		if b[at] == a[found] {
			found++
		}
	}
	return found == len(a)
}

// someWithin tells whether one of f is within d: whether f, as an and, implies d.
func someWithin(f []clause, d *clause) bool { return firstWithin(f, d) >= 0 }

// firstWithin returns the place of the first of f that is within d, or -1.
func firstWithin(f []clause, d *clause) int {
	absent := ^d.bloom
	for i := range f {
		if f[i].bloom&absent == 0 && f[i].within(d) {
			return i
		}
	}
	return -1
}

// union is the or of two clauses.
func (c *clause) union(d *clause) clause {
	u := clause{bloom: c.bloom | d.bloom, names: make([]*principal, 0, len(c.names)+len(d.names))}
	a, b := c.names, d.names
	for len(a) > 0 && len(b) > 0 {
		switch order := byBytes(a[0], b[0]); {
		case order < 0:
			u.names, a = append(u.names, a[0]), a[1:]
		case order > 0:
			u.names, b = append(u.names, b[0]), b[1:]
		default:
			u.names, a, b = append(u.names, a[0]), a[1:], b[1:]
		}
	}
	u.names = append(append(u.names, a...), b...)
	return u
}

func bySize(c, d clause) int { return len(c.names) - len(d.names) }

// canonical is the order of clauses in a formula: by size, then by names.
func canonical(c, d clause) int {
	if order := bySize(c, d); order != 0 {
		return order
	}
	return slices.CompareFunc(c.names, d.names, byBytes)
}

// reduce brings an and of clauses into normal form, and sorts raw by the way. It
// gives up as soon as it has kept more than limit: the small ones come first, so
// that nothing that was kept is left out later.
func reduce(raw []clause, limit int) ([]clause, error) {
	slices.SortFunc(raw, bySize)
	kept := make([]clause, 0, min(len(raw), limit))
	for i := range raw {
		c := &raw[i]
		switch {
		case someWithin(kept, c):
			continue
		case len(c.names) > MaxNames:
			return nil, fmt.Errorf("%w: a clause of %d names, at most %d", ErrBound, len(c.names), MaxNames)
		case len(kept) == limit:
			return nil, fmt.Errorf("%w: more than %d clauses", ErrBound, limit)
		}
		kept = append(kept, *c)
	}
	slices.SortFunc(kept, canonical)
	return kept, nil
}

// or is the or of two ands in normal form. It takes what it multiplies out from
// work, and gives up before it begins if that is not enough.
func or(f, g []clause, work *int) ([]clause, error) {
	if len(f) == 1 && len(g) == 1 { // as nearly always in a text
		return reduce([]clause{f[0].union(&g[0])}, MaxClauses)
	}
	// What contains a clause of the other side is a clause of the result, and of
	// all that it could be joined with it is the smallest: the rest is multiplied.
	left, raw := split(f, g, nil)
	right, raw := split(g, f, raw)
	if *work -= len(left) * len(right); *work < 0 {
		return nil, fmt.Errorf("%w: ors that multiply out to more clauses than are tried", ErrBound)
	}
	for i := range left {
		for j := range right {
			raw = append(raw, left[i].union(&right[j]))
		}
	}
	return reduce(raw, MaxClauses)
}

// split returns the clauses of f that contain none of g, and appends the others to
// absorbed.
func split(f, g, absorbed []clause) (rest, all []clause) {
	for i := range f {
		if someWithin(g, &f[i]) {
			absorbed = append(absorbed, f[i])
		} else {
			rest = append(rest, f[i])
		}
	}
	return rest, absorbed
}
