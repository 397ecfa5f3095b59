package monitor

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"cofferdam/label"
	"cofferdam/wire"
)

// The principals of a world: alice and bob own themselves in some services, and
// carol in none. The secret is what is above an observer who may know everything
// but what is carol's, or who believes nothing but what she vouches for.
var (
	worldFormulas = formulas("True", "alice", "bob", "carol", "alice & bob", "alice & carol", "bob & carol",
		"alice | bob", "alice | carol", "alice & (bob | carol)", "alice & bob & carol")
	worldPowers = formulas("True", "alice", "bob", "alice & bob", "alice | carol", "alice | bob")

	knowsNothingOfCarols = label.MustParse("alice & bob %% True")
	hearsOnlyCarol       = label.MustParse("False %% carol")
)

func formulas(texts ...string) (all []label.Formula) {
	for _, s := range texts {
		all = append(all, label.MustParseFormula(s))
	}
	return all
}

func one[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// someOf is a random label; half of them have only one half.
func someOf(r *rand.Rand) label.Label {
	l := label.New(one(r, worldFormulas), one(r, worldFormulas))
	switch r.IntN(4) {
	case 0:
		return label.New(l.Secrecy(), label.True)
	case 1:
		return label.New(label.True, l.Integrity())
	}
	return l
}

// above is a random label that l flows to.
func above(r *rand.Rand, l label.Label) label.Label {
	return must(l.Join(someOf(r)))
}

// must is for labels, of which there are too few here for one to be over the bounds.
func must(l label.Label, err error) label.Label {
	if err != nil {
		panic(err)
	}
	return l
}

const worldServices = 4

// someWorld is a policy with random labels. Half of its services start where an
// observer may look.
func someWorld(r *rand.Rand, observer label.Label) Policy {
	var p Policy
	for i := range worldServices {
		s := Service{Name: fmt.Sprintf("s%d", i), Methods: []Method{{Name: "m"}}}
		s.Flow.Label = someOf(r)
		if r.IntN(2) == 0 {
			s.Flow.Label = must(s.Flow.Label.Meet(observer))
		}
		s.Flow.Clearance = above(r, above(r, s.Flow.Label))
		s.Flow.Owns = one(r, worldPowers)
		p.Services = append(p.Services, s)
	}
	return p
}

// move is something that an actor can do.
type move struct {
	weight int
	make   func(a *actor, r *rand.Rand) (wire.Op, wire.Ask)
}

var moves = []move{
	{4, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) { return wire.OpLabels, wire.Ask{} }},
	{3, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRaise, wire.Ask{Label: a.nearby(r), Mode: a.force(r)}
	}},
	{2, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpLower, a.with(r, wire.Ask{Label: a.nearby(r), Mode: a.force(r)})
	}},
	{1, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpClearance, a.with(r, wire.Ask{Label: above(r, a.state.Label)})
	}},
	{6, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpSeal, a.with(r, wire.Ask{Label: a.nearby(r), Data: a.data(r)})
	}},
	{4, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpUnseal, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Mode: a.raising(r)})
	}},
	{2, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRelabel, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Label: a.nearby(r)})
	}},
	{2, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpTaint, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Label: someOf(r)})
	}},
	{1, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpDrop, wire.Ask{Handles: []uint64{a.some(r)}}
	}},
	{4, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpDelegate, a.with(r, wire.Ask{Privilege: one(r, append(worldPowers, a.owns, a.owns, a.owns))})
	}},
	{2, func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRevoke, wire.Ask{Handles: []uint64{a.some(r, "privilege")}}
	}},
}

// choose is what a does next.
func (a *actor) choose(r *rand.Rand) wire.Frame {
	total := 0
	for _, m := range moves {
		total += m.weight
	}
	n := r.IntN(total)
	for _, m := range moves {
		if n -= m.weight; n < 0 {
			op, ask := m.make(a, r)
			a.last++
			a.asked[a.last] = op
			return wire.Frame{Header: wire.Header{Op: op, ID: a.last}, Body: ask.Append(nil, op)}
		}
	}
	panic("the weights do not add up")
}

// with names privileges, more often than not ones that a owns.
func (a *actor) with(r *rand.Rand, ask wire.Ask) wire.Ask {
	for _, p := range []*label.Formula{&ask.Out, &ask.In} {
		switch r.IntN(6) {
		case 0, 1:
			*p = a.owns
		case 2:
			*p = one(r, worldPowers)
		}
	}
	return ask
}

// nearby is a label that a may well be able to write to, or reach.
func (a *actor) nearby(r *rand.Rand) label.Label {
	switch r.IntN(8) {
	case 0:
		return someOf(r)
	case 1:
		return a.state.Clearance
	case 2, 3:
		return above(r, a.state.Label)
	case 4:
		return a.state.Label.Downgrade(a.owns)
	}
	return a.state.Label
}

// some is a handle of the kind that a has, and now and then another one or none.
func (a *actor) some(r *rand.Rand, kinds ...string) uint64 {
	var fit []uint64
	for _, h := range a.handles {
		if slices.Contains(kinds, h.kind) {
			fit = append(fit, h.n)
		}
	}
	switch {
	case r.IntN(20) == 0:
		return r.Uint64N(20)
	case len(fit) > 0 && r.IntN(10) > 0:
		return one(r, fit)
	case len(a.handles) > 0:
		return one(r, a.handles).n
	}
	return 1
}

func (a *actor) data(r *rand.Rand) []byte {
	return fmt.Appendf(nil, "%x", r.Uint64()>>r.IntN(60))
}

func (a *actor) force(r *rand.Rand) wire.Mode { return wire.Mode(r.IntN(2)) * wire.ModeForce }

func (a *actor) raising(r *rand.Rand) wire.Mode {
	return one(r, []wire.Mode{0, wire.ModeRaise, wire.ModeRaise | wire.ModeForce})
}
