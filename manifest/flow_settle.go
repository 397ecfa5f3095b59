package manifest

import (
	"fmt"

	"cofferdam/guard"
	"cofferdam/label"
)

// settle finds how low an instance with the labels of its caller may start, and how
// high it may rise. Several callers of one service are taken together, which may
// give it more than any of them would.
func (g *flowGraph) settle() {
	first := make(map[*flowNode]bool)
	for changed, round := true, 0; changed; round++ {
		if changed = false; round > 64 {
			g.fail(fmt.Errorf("services that start each other have no end of labels"))
			return
		}
		for _, n := range g.order {
			for _, l := range n.in {
				to := l.to
				if l.kind != toOwn && l.kind != toGate && l.kind != toSpawn {
					continue
				}
				from := guard.State{Label: g.lowest(l.from), Clearance: g.highest(l.from)}
				g.grow(first, &changed, to, from, l.kind)
			}
			for _, l := range n.out {
				if l.kind == toPeople && n.svc.ofCaller() {
					g.grow(first, &changed, n, guard.State{Label: l.pair.Request, Clearance: l.pair.Request}, toOwn)
				}
			}
		}
	}
}

// grow adds what a caller in the state from brings to an instance.
func (g *flowGraph) grow(first map[*flowNode]bool, changed *bool, n *flowNode, from guard.State, kind linkKind) {
	own := guard.State{Label: g.as(n.svc.Label, n.principal), Clearance: g.as(n.svc.Clearance, n.principal)}
	next := from
	if kind != toSpawn { // of a template it is the spawner's to say
		var err error
		if next.Label, err = own.Label.Join(from.Label); err != nil {
			g.fail(err)
		}
		if next.Clearance, err = own.Clearance.Join(from.Clearance); err == nil {
			next.Clearance, err = next.Clearance.Join(next.Label)
		}
		if err != nil {
			g.fail(err)
		}
	}
	if first[n] {
		low, err := n.state.Label.Meet(next.Label)
		if err != nil {
			g.fail(err)
		}
		high, err := n.state.Clearance.Join(next.Clearance)
		if err != nil {
			g.fail(err)
		}
		next = guard.State{Label: low, Clearance: high}
	}
	if !first[n] || next != n.state {
		first[n], n.state, n.options, *changed = true, next, nil, true
	}
}

// lowest is the least label that an instance can start something at.
func (g *flowGraph) lowest(n *flowNode) label.Label {
	l := n.state.Label
	for _, p := range g.powers(n) {
		l = l.Downgrade(p.what)
	}
	return l
}

// highest is the most that an instance can raise its clearance to.
func (g *flowGraph) highest(n *flowNode) label.Label {
	o := g.options(n)
	return o[len(o)-1].clearance
}

// clearanceUnder is the highest clearance that p lets an environment set.
func clearanceUnder(c label.Label, p label.Formula) label.Label {
	missing := label.New(label.True, label.True).Missing(label.Privileges{In: p}, c)
	return label.New(c.Secrecy().And(p), missing.In)
}

// powers are the privileges that n has or may have been given.
func (g *flowGraph) powers(n *flowNode) []given {
	if n.owns == label.True {
		return n.pairs
	}
	return append([]given{{n.power, n.owns}}, n.pairs...)
}

func (g *flowGraph) all(n *flowNode) label.Formula {
	f := label.True
	for _, p := range g.powers(n) {
		f = f.And(p.what)
	}
	return f
}
