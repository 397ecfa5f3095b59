package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// delegate finds who may be given a privilege or a mailbox of whom: everybody whom
// its owner can send something to, and so on.
func (g *flowGraph) delegate() {
	before := ""
	for changed := true; changed && g.err == nil; {
		changed = false
		var made []circle
		g.known = make(map[*flowNode]circle)
		for _, n := range g.order {
			if n.kind != atService {
				continue
			}
			g.tokens = true
			c := circle{of: n, members: map[*flowNode]bool{n: true}}
			reached := g.reach([]start{{n, n.state.Label}}, nil)
			g.tokens = false
			for to := range reached.states {
				for m := range g.known[to].members {
					if reached.through[to] {
						c.members[m] = true
					}
				}
			}
			for _, to := range g.order {
				if to.kind != atService || to == n || !reached.at(to) && !c.members[to] {
					continue
				}
				c.members[to] = true
				for _, p := range g.powers(n) {
					if g.keeps || g.all(to).Implies(p.what) {
						continue
					}
					to.pairs, to.options = append(to.pairs, p), nil
					changed = true
				}
			}
			g.known[n] = c
			if len(c.members) > 1 && !slices.ContainsFunc(made, c.within) {
				made = append(slices.DeleteFunc(made, func(d circle) bool { return d.within(c) }), c)
			}
		}
		if after := fmt.Sprint(made); after != before {
			before, changed = after, true
			g.make(made)
		}
		if changed {
			g.settle()
		}
	}
}

// circle is who may be given a handle of a mailbox that an instance makes.
type circle struct {
	of      *flowNode
	members map[*flowNode]bool
}

// within tells whether all that can be done with the mailboxes of c can be done with
// those of d.
func (c circle) within(d circle) bool {
	if len(c.members) > len(d.members) || !d.of.state.Label.FlowsTo(c.of.state.Label) || !c.of.state.Clearance.FlowsTo(d.of.state.Clearance) {
		return false
	}
	for n := range c.members {
		if !d.members[n] {
			return false
		}
	}
	return true
}

func (c circle) String() string {
	var b strings.Builder
	fmt.Fprint(&b, c.of.place, c.of.state)
	for _, n := range slices.SortedFunc(maps.Keys(c.members), func(x, y *flowNode) int { return cmp.Compare(x.number, y.number) }) {
		fmt.Fprint(&b, " ", n.number)
	}
	return b.String()
}

// make puts mailboxes that are made at run time in the place of those before.
func (g *flowGraph) make(all []circle) {
	isMade := func(l *link) bool { return l.kind == toMade }
	g.order = slices.DeleteFunc(g.order, func(n *flowNode) bool {
		n.out = slices.DeleteFunc(n.out, isMade)
		if n.kind == atMade {
			delete(g.nodes, n.place)
		}
		return n.kind == atMade
	})
	for _, c := range all {
		n, _ := g.node(place{kind: atMade, name: c.of.name, principal: c.of.principal, via: c.of.via})
		n.state = c.of.state
		for _, m := range g.order {
			if c.members[m] {
				g.link(&link{kind: toMade, from: m, to: n})
			}
		}
	}
}
