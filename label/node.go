package label

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// node is what a formula points to. There is one for each normal form that
// is in use, so that formulas are equal if their pointers are.
type node struct {
	id uint64 // from 1, and of no other node before or after

	// Bits of names (see clause): those of every clause, and those of any. What
	// has one in every clause that another has in none cannot imply it.
	every, any uint64

	clauses []clause // not empty: that is True, which has no node
	text    atomic.Pointer[string]

	// What this formula was last asked: the id of another times 2, and 1 if it
	// implies that one. A word is read and written at once, and no id comes
	// twice, so that an answer is never another pair's. It goes with the node.
	asked [slots]atomic.Uint64
}

const slots = 8

func newNode(normal []clause) *node {
	n := &node{id: lastID.Add(1), every: ^uint64(0), clauses: make([]clause, len(normal))}
	size := 0
	for _, c := range normal {
		n.every &= c.bloom
		n.any |= c.bloom
		size += len(c.names)
	}
	names := make([]*principal, 0, size) // all of them side by side
	for i, c := range normal {
		names = append(names, c.names...)
		n.clauses[i] = clause{c.bloom, names[len(names)-len(c.names):]}
	}
	return n
}

// string returns the text, which is made when it is first asked for.
func (n *node) string() string {
	text := n.text.Load()
	if text == nil {
		s := string(appendClauses(nil, n.clauses))
		text = &s
		n.text.Store(text)
	}
	return *text
}

var (
	nodes  = newTable[node]()
	lastID atomic.Uint64
)

// intern returns the formula with these clauses, which are in normal form.
func intern(normal []clause) Formula {
	if len(normal) == 0 {
		return True
	}
	wanted := func(n *node) bool { return slices.EqualFunc(n.clauses, normal, sameClause) }
	return Formula{nodes.get(hashOf(normal), wanted, func() *node { return newNode(normal) })}
}

func hashOf(clauses []clause) uint64 {
	var all uint64
	for _, c := range clauses {
		var one uint64
		for _, p := range c.names {
			one += p.hash
		}
		all = (bits.RotateLeft64(all, 29) ^ one) * 0x9e3779b97f4a7c15
	}
	return all
}

func sameClause(c, d clause) bool { return slices.Equal(c.names, d.names) }

// What a formula remembers of another; all else is nothing.
const (
	no  = 0
	yes = 1
)

// recall returns yes or no if it need not be found out whether f implies g.
func (f Formula) recall(g Formula) uint64 {
	if f == g || g == True {
		return yes
	}
	if f == True || f.n.every&^g.n.any != 0 {
		return no
	}
	return f.n.asked[g.n.id%slots].Load() ^ g.n.id<<1
}

// find finds out whether n implies m, and remembers it.
func (n *node) find(m *node) bool {
	answer := m.id<<1 | no
	found := n.compare(m)
	if found {
		answer |= yes
	}
	n.asked[m.id%slots].Store(answer)
	return found
}

// compare finds for every clause of m one of n that is within it. If there is
// none for one, then all others but its principals satisfy n, and not m.
func (n *node) compare(m *node) bool {
	if len(n.clauses) == 1 && len(m.clauses) == 1 { // most are
		return n.clauses[0].within(&m.clauses[0])
	}
	next := 0 // where the one for the next of m often is, both being in order
	for i := range m.clauses {
		d := &m.clauses[i]
		if next == len(n.clauses) || !n.clauses[next].within(d) {
			if next = firstWithin(n.clauses, d); next < 0 {
				return false
			}
		}
		next++
	}
	return true
}
