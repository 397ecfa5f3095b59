package label

import (
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

// node is what a formula points to. There is one for each normal form that
// is in use, so that formulas are equal if their pointers are.
type node struct {
	id      uint64   // from 1, and of no other node before or after
	clauses []clause // not empty: that is True, which has no node
	text    string   // what String returns; the normal form's only one

	// What this formula was last asked: the id of another times 2, and 1 if it
	// implies that one. A word is read and written at once, and no id comes
	// twice, so that an answer is never another pair's. It goes with the node.
	asked [8]atomic.Uint64
}

// Formulas would be package state, if there was anything to see of it: what is
// interned makes comparisons fast and is otherwise not there. The table maps a
// text to a weak pointer, and an entry goes with its node.
var (
	nodes  sync.Map // string to weak.Pointer[node]
	lastID atomic.Uint64
)

// intern returns the formula with these clauses, which are in normal form and
// are not changed from here on.
func intern(normal []clause) Formula {
	if len(normal) == 0 {
		return Formula{}
	}
	text := string(appendClauses(nil, normal))
	var fresh *node
	for {
		known, ok := nodes.Load(text)
		if !ok {
			if fresh == nil {
				fresh = &node{id: lastID.Add(1), clauses: normal, text: text}
			}
			entry := weak.Make(fresh)
			if known, ok = nodes.LoadOrStore(text, entry); !ok {
				runtime.AddCleanup(fresh, func(text string) { nodes.CompareAndDelete(text, entry) }, text)
				return Formula{fresh}
			}
		}
		if n := known.(weak.Pointer[node]).Value(); n != nil {
			return Formula{n}
		}
		// It is dead, and its cleanup has not come yet.
		nodes.CompareAndDelete(text, known)
	}
}

// few is how many pairs of clauses are compared as fast as an answer is looked up.
const few = 4

// implies is [Formula.Implies] of two that are not True.
func (n *node) implies(m *node) bool {
	if len(n.clauses)*len(m.clauses) <= few {
		return n.compare(m)
	}
	slot := &n.asked[m.id%uint64(len(n.asked))]
	if known := slot.Load(); known>>1 == m.id {
		return known&1 == 1
	}
	answer := m.id << 1
	yes := n.compare(m)
	if yes {
		answer |= 1
	}
	slot.Store(answer)
	return yes
}

// compare finds for every clause of m one of n that is within it. If there is
// none for one, then all others but its principals satisfy n, and not m.
func (n *node) compare(m *node) bool {
	for i := range m.clauses {
		if !someWithin(n.clauses, &m.clauses[i]) {
			return false
		}
	}
	return true
}
