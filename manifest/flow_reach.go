package manifest

import (
	"errors"
	"slices"

	"cofferdam/guard"
	"cofferdam/label"
)

// flowState is data at a place: whoever holds it has the label at, or what it lies in
// has; sealed is the label of the value that it is in, unopened, or inTheOpen.
type flowState struct {
	node       *flowNode
	at, sealed label.Label
	cost       int // of the way here

	before *flowState // nil for where it comes from
	by     []given    // whose privileges took it here from there
}

// inTheOpen is the label of the value that data is in if it is in none: the lowest, for
// nothing keeps it from anybody.
var inTheOpen = label.Bottom

type start struct {
	node *flowNode
	at   label.Label
}

// reached is where data can be. Of two labels at one place, of which one flows to
// the other, only the lower is kept: from it the other can be had at any time.
type reached struct {
	states map[*flowNode][]*flowState
	first  map[*flowNode]*flowState // the way with the fewest privileges, unopened values left aside

	through map[*flowNode]bool // of tokens: where they go on as those of the place itself do
}

// at tells whether data arrived, in the open.
func (r *reached) at(n *flowNode) bool { return r.first[n] != nil }

// The cost of a way, of which the least is shown: a privilege that is used, and a
// mailbox that is made while it runs where another way would do, which nobody reads
// out of the manifest. What costs more than maxCost is not told apart.
const (
	costPrivilege = 2
	costMade      = 3
	maxCost       = 9
)

// reach follows data from everywhere it can start at, through all that may be
// done with it.
func (g *flowGraph) reach(starts []start, stop func(*flowNode) bool) *reached {
	r := &reached{make(map[*flowNode][]*flowState), make(map[*flowNode]*flowState), make(map[*flowNode]bool)}
	levels := [][]*flowState{nil}
	add := func(s *flowState) {
		if *g.steps--; *g.steps < 0 {
			g.fail(errors.New("data can take more ways than are followed"))
			return
		}
		for _, old := range r.states[s.node] {
			if old.at.FlowsTo(s.at) && old.sealed.FlowsTo(s.sealed) && old.cost <= s.cost {
				return
			}
		}
		r.states[s.node] = append(r.states[s.node], s)
		for len(levels) <= s.cost {
			levels = append(levels, nil)
		}
		levels[s.cost] = append(levels[s.cost], s)
	}
	for _, s := range starts {
		add(&flowState{node: s.node, at: s.at, sealed: inTheOpen})
	}
	for cost := 0; cost < len(levels); cost++ {
		for i := 0; i < len(levels[cost]); i++ {
			s := levels[cost][i]
			if s.before != nil && s.sealed == inTheOpen && r.first[s.node] == nil && s.node != origin(s).node {
				r.first[s.node] = s
				if stop != nil && stop(s.node) {
					return r
				}
			}
			if _, known := g.known[s.node]; g.tokens && known && s.at == s.node.state.Label {
				r.through[s.node] = true
				continue
			}
			g.step(s, func(to *flowNode, at, sealed label.Label, by ...given) {
				next := &flowState{node: to, at: at, sealed: sealed, cost: s.cost + costPrivilege*len(by), before: s, by: by}
				if to.kind == atMade {
					next.cost += costMade
				}
				if next.cost = min(next.cost, maxCost); g.tokens {
					next.cost = 0 // of them only the place counts
				}
				add(next)
			})
			if g.err != nil {
				return r
			}
		}
	}
	return r
}

// origin is where the data of s came from.
func origin(s *flowState) *flowState {
	for s.before != nil {
		s = s.before
	}
	return s
}

// emit is a place that data gets to.
type emit func(to *flowNode, at, sealed label.Label, by ...given)

// option is a choice of privileges to use.
type option struct {
	p  label.Privileges
	by []given

	clearance label.Label // with which it works
}

// options are the choices worth trying, the ones that use less first.
func (g *flowGraph) options(n *flowNode) []option {
	if n.options != nil {
		return n.options
	}
	add := func(f label.Formula, by ...given) {
		o := option{p: label.Privileges{Out: f, In: f}, by: by, clearance: clearanceUnder(n.state.Clearance, f)}
		n.options = append(n.options, o)
	}
	add(label.True)
	powers := g.powers(n)
	for _, p := range powers {
		add(p.what, p)
	}
	if f := g.all(n); !slices.ContainsFunc(powers, func(p given) bool { return p.what == f }) {
		add(f, powers...)
	}
	return n.options
}

// may is the state of n with this label, whose clearance a privilege may have raised.
func (n *flowNode) may(at label.Label, o option) guard.State {
	return guard.State{Label: at, Clearance: o.clearance}
}

// taint raises n, if nothing that it has mounted for writing keeps it down.
func (n *flowNode) taint(s guard.State, p label.Privileges, t label.Label) (guard.State, bool) {
	s, err := s.Taint(p, t)
	if err != nil {
		return s, false
	}
	for _, v := range n.sits {
		if !s.Label.FlowsTo(v) {
			return s, false
		}
	}
	return s, true
}

// join is all of both, each once.
func join(a, b []given) []given {
	out := append([]given{}, a...)
	for _, g := range b {
		seen := false
		for _, h := range a {
			seen = seen || g == h
		}
		if !seen {
			out = append(out, g)
		}
	}
	return out
}
