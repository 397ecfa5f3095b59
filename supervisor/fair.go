package supervisor

import (
	"container/heap"
	"slices"

	"cofferdam/label"
)

// fair is those who wait for a turn, and whose it is: deficit round robin over whom they
// count for, and within each of these over whom they name.
//
// In each round everybody who waits is given the same, and whoever has enough for what the first of
// his asks has his turn. The rounds are not walked: for each the round of his turn is known,
// and the next one is at the top of a heap. So a step takes the logarithm of how many wait. Who comes anew
// begins at the round of the last turn: he gets nothing for the time when he did not wait, and
// however many come after him, his round comes.
//
// It is bounded. Where it is full, whoever has most waiting makes room for who has less: his last one
// is pushed out.
//
// The caller guards it.
type fair struct {
	most, each int // who wait, in all and for one share

	root    share
	shares  uint64 // that ever were
	changes uint64

	line     []*waiter // in the order of their turns, as of some change
	lineAsOf uint64
}

// waiter is one who waits.
type waiter struct {
	cost   int64       // of what there is to be shared, at least 1
	at     label.Label // of what waits: whoever is not at or above it is not told that it does
	pushed func()      // is called when it is pushed out
	of     any         // who it is, to its owner
	share  *share      // nil if it does not wait
}

// share is a part of those who wait: for one of them all are one.
type share struct {
	name   string
	parent *share

	parts map[string]*share
	turns shareHeap // parts by turn
	crowd shareHeap // parts by how many wait, most first
	line  []*waiter // of a share without parts, in the order of coming
	count int       // who wait
	round int64     // of the last turn of a part

	// Within the parent: it had deficit in the round since, and has its turn in the round turn.
	since, deficit, turn int64
	number               uint64
	slots                [2]int
}

func newFair(most, each int) *fair {
	q := &fair{most: most, each: each}
	q.root.init()
	return q
}

func (s *share) init() {
	s.parts = make(map[string]*share)
	s.turns = shareHeap{slot: 0, before: func(a, b *share) bool {
		return a.turn < b.turn || a.turn == b.turn && a.number < b.number
	}}
	s.crowd = shareHeap{slot: 1, before: func(a, b *share) bool {
		return a.count > b.count || a.count == b.count && a.number > b.number
	}}
}

// first is who has the next turn, nil if nobody waits. That is so until he is removed, but for
// those of his own share and those who come to wait for much less.
func (q *fair) first() *waiter { return q.root.first() }

func (s *share) first() *waiter {
	for s.parent == nil || len(s.line) == 0 {
		if len(s.turns.all) == 0 {
			return nil
		}
		s = s.turns.all[0]
	}
	return s.line[0]
}

// push lets w wait, for somebody and within that for somebody. It reports false if there is no
// place for it.
func (q *fair) push(w *waiter, who, within string) bool {
	if !q.makeRoom(&q.root, q.most, who) {
		return false
	}
	if s := q.root.parts[who]; s != nil && !q.makeRoom(s, q.each, within) {
		return false
	}
	s := &q.root
	for _, name := range []string{who, within} {
		part := s.parts[name]
		if part == nil {
			q.shares++
			part = &share{name: name, parent: s, number: q.shares, since: s.round}
			part.init()
			s.parts[name] = part
			heap.Push(&s.turns, part)
			heap.Push(&s.crowd, part)
		}
		s = part
	}
	w.share = s
	s.line = append(s.line, w)
	q.changed(s, 1)
	return true
}

// makeRoom sees to it that one more can wait in s for a part of that name, with at most so many.
func (q *fair) makeRoom(s *share, most int, name string) bool {
	if s.count < most {
		return true
	}
	longest := s.crowd.all[0]
	own := 0
	if part := s.parts[name]; part != nil {
		own = part.count
	}
	if own+1 >= longest.count {
		return false
	}
	for len(longest.crowd.all) > 0 {
		longest = longest.crowd.all[0]
	}
	last := longest.line[len(longest.line)-1]
	q.remove(last)
	last.pushed()
	return true
}

func (q *fair) count() int { return q.root.count }

// serve takes out w, who is the first: he has his turn.
func (q *fair) serve(w *waiter) {
	for s := w.share; s.parent != nil; s = s.parent {
		s.deficit += s.turn - s.since - w.cost
		s.since = s.turn
		s.parent.round = s.turn
	}
	q.remove(w)
}

// remove takes out w, if it waits.
func (q *fair) remove(w *waiter) {
	s := w.share
	if s == nil {
		return
	}
	w.share = nil
	s.line = slices.Delete(s.line, slices.Index(s.line, w), slices.Index(s.line, w)+1)
	q.changed(s, -1)
}

// changed counts one more or less who waits in s, and finds when it and those that it is
// part of have their turns.
func (q *fair) changed(s *share, by int) {
	q.changes++
	for ; ; s = s.parent {
		s.count += by
		p := s.parent
		if p == nil {
			return
		}
		if s.count == 0 {
			heap.Remove(&p.turns, s.slots[0])
			heap.Remove(&p.crowd, s.slots[1])
			delete(p.parts, s.name)
			continue
		}
		s.turn = max(s.since+max(s.first().cost-s.deficit, 0), p.round)
		heap.Fix(&p.turns, s.slots[0])
		heap.Fix(&p.crowd, s.slots[1])
	}
}

// all is who waits, in the order of their turns if nobody else comes. It is not the caller's to
// change.
func (q *fair) all() []*waiter {
	if q.lineAsOf == q.changes {
		return q.line
	}
	copied := newFair(q.most, q.each)
	was := make(map[*waiter]*waiter)
	copied.root.copy(&q.root, was)
	q.line = make([]*waiter, 0, q.root.count)
	for w := copied.first(); w != nil; w = copied.first() {
		q.line = append(q.line, was[w])
		copied.serve(w)
	}
	q.lineAsOf = q.changes
	return q.line
}

func (s *share) copy(from *share, was map[*waiter]*waiter) {
	s.count, s.round = from.count, from.round
	for _, w := range from.line {
		c := &waiter{cost: w.cost, share: s}
		was[c] = w
		s.line = append(s.line, c)
	}
	for name, part := range from.parts {
		c := &share{name: name, parent: s, since: part.since, deficit: part.deficit, turn: part.turn, number: part.number}
		c.init()
		c.copy(part, was)
		s.parts[name] = c
		heap.Push(&s.turns, c)
		heap.Push(&s.crowd, c)
	}
}

// place is which one w is of how many, of those that may be known at a label; 0 if it does not wait.
func (q *fair) place(w *waiter, at label.Label) (n, of int) {
	if w.share == nil {
		return 0, 0
	}
	for _, other := range q.all() {
		if other != w && !other.at.FlowsTo(at) {
			continue
		}
		of++
		if other == w {
			n = of
		}
	}
	return n, of
}

// shareHeap has the first of some shares at the top. Each knows its slot.
type shareHeap struct {
	all    []*share
	slot   int
	before func(a, b *share) bool
}

func (h *shareHeap) Len() int           { return len(h.all) }
func (h *shareHeap) Less(i, j int) bool { return h.before(h.all[i], h.all[j]) }
func (h *shareHeap) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].slots[h.slot], h.all[j].slots[h.slot] = i, j
}

func (h *shareHeap) Push(x any) {
	s := x.(*share)
	s.slots[h.slot] = len(h.all)
	h.all = append(h.all, s)
}

func (h *shareHeap) Pop() any {
	last := h.all[len(h.all)-1]
	h.all[len(h.all)-1] = nil
	h.all = h.all[:len(h.all)-1]
	return last
}
