package supervisor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cofferdam/label"
)

// check holds q against what has to be so at any time.
func (q *fair) check(t testing.TB) {
	t.Helper()
	shares := 0
	var walk func(s *share, depth int) int
	walk = func(s *share, depth int) int {
		shares++
		count := len(s.line)
		if len(s.turns.all) != len(s.parts) || len(s.crowd.all) != len(s.parts) || depth == 2 != (len(s.line) > 0) && s.parent != nil {
			t.Fatalf("share %q has %d parts, %d and %d in its heaps, %d in its line", s.name, len(s.parts), len(s.turns.all), len(s.crowd.all), len(s.line))
		}
		for i, part := range s.turns.all {
			if part.slots[0] != i || s.crowd.all[part.slots[1]] != part || s.parts[part.name] != part {
				t.Fatalf("share %q is not where it says", part.name)
			}
			if i > 0 && s.turns.before(part, s.turns.all[(i-1)/2]) {
				t.Fatalf("share %q is behind one that it is before", part.name)
			}
			if part.count == 0 || part.turn < s.round {
				t.Fatalf("share %q: %d wait, and the turn is in round %d, now %d", part.name, part.count, part.turn, s.round)
			}
			count += walk(part, depth+1)
		}
		if count != s.count {
			t.Fatalf("share %q counts %d, there are %d", s.name, s.count, count)
		}
		return count
	}
	if n := walk(&q.root, 0); n > q.most || n > 0 && q.first() == nil || n == 0 && (q.first() != nil || shares != 1) {
		t.Fatalf("%d wait of at most %d, in %d shares, and the first is %v", n, q.most, shares, q.first())
	}
}

// Whatever is done, nobody is lost, nobody comes twice, there is no more than there may be, and
// the order that is told is the one that comes.
func TestFairKeepsItsBooks(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := newFair(1+r.IntN(40), 1+r.IntN(20))
		var waiting []*waiter
		drop := func(w *waiter) {
			i := slices.Index(waiting, w)
			if i < 0 {
				t.Fatal("somebody was served, or pushed out, who does not wait")
			}
			waiting = slices.Delete(waiting, i, i+1)
		}
		for range 300 {
			switch n := r.IntN(10); {
			case n < 5:
				w := &waiter{cost: 1 + r.Int64N(50)}
				w.pushed = func() { drop(w) }
				if q.push(w, fmt.Sprint(r.IntN(6)), fmt.Sprint(r.IntN(3))) {
					waiting = append(waiting, w)
				}
			case n < 8:
				w := q.first()
				if w == nil {
					break
				}
				if all := q.all(); all[0] != w || len(all) != len(waiting) {
					t.Fatalf("%d are told to wait, %d do; the first is the first: %t", len(all), len(waiting), all[0] == w)
				}
				q.serve(w)
				drop(w)
			case len(waiting) > 0:
				w := waiting[r.IntN(len(waiting))]
				q.remove(w)
				q.remove(w) // twice is no error
				drop(w)
			}
			q.check(t)
			if q.root.count != len(waiting) {
				t.Fatalf("%d wait, want %d", q.root.count, len(waiting))
			}
		}
		for want := slices.Clone(q.all()); len(want) > 0; want = want[1:] {
			if q.first() != want[0] {
				t.Fatal("the order that was told is not the one that comes")
			}
			q.serve(want[0])
		}
	}
}

// Of those who wait all the time each gets the same, to within what two turns take, however much one asks
// for and however many he sends.
func TestFairShares(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		const shares, largest = 5, 100
		q := newFair(10_000, 10_000)
		var got [shares]int64
		typical := [shares]int64{1, largest, 7, 1 + r.Int64N(largest), 50}
		backlog := func(i int) {
			w := &waiter{cost: 1 + r.Int64N(typical[i])}
			w.pushed = func() { t.Fatal("pushed out with room left") }
			owner := w
			if !q.push(owner, fmt.Sprint(i), fmt.Sprint(r.IntN(1+i))) {
				t.Fatal("no room")
			}
		}
		for i := range shares {
			for range 1 + 20*(shares-i) {
				backlog(i)
			}
		}
		for range 5000 {
			w := q.first()
			i := int(w.share.parent.name[0] - '0')
			q.serve(w)
			got[i] += w.cost
			backlog(i)
			if most, least := slices.Max(got[:]), slices.Min(got[:]); most-least > 2*largest {
				t.Fatalf("shares of %v", got)
			}
		}
	}
}

// Who asks for the most is not kept waiting by those who come with little, again and again.
func TestFairStarvesNobody(t *testing.T) {
	q := newFair(1000, 1000)
	add := func(who string, cost int64) *waiter {
		w := &waiter{cost: cost, pushed: func() {}}
		if !q.push(w, who, "") {
			t.Fatal("no room")
		}
		return w
	}
	large := add("large", 1000)
	passed := int64(0)
	for i := range 100_000 {
		add(fmt.Sprint("small ", i%3), 10)
		w := q.first()
		if w == large {
			if passed > 3*1000+1000 {
				t.Errorf("others had %d before", passed)
			}
			return
		}
		q.serve(w)
		passed += w.cost
	}
	t.Errorf("others had %d, and it waits still", passed)
}

// Who has waited for much and gone has saved nothing up beyond that.
func TestFairSavesNothing(t *testing.T) {
	q := newFair(1000, 1000)
	add := func(who string, cost int64) *waiter {
		w := &waiter{cost: cost, pushed: func() {}}
		q.push(w, who, "")
		return w
	}
	bait := add("sly", 100)
	for range 200 {
		add("polite", 1)
	}
	for range 50 {
		q.serve(q.first())
	}
	for range 500 {
		add("sly", 1)
	}
	q.remove(bait)
	row := 0
	for q.first().share.parent.name == "sly" {
		q.serve(q.first())
		row++
	}
	if row > 51 {
		t.Errorf("%d turns in a row, for having waited while others had 50", row)
	}
}

// Where it is full, whoever has most makes room, and nobody else.
func TestFairMakesRoom(t *testing.T) {
	q := newFair(10, 6)
	pushed := 0
	add := func(who, within string) bool {
		return q.push(&waiter{cost: 1, pushed: func() { pushed++ }}, who, within)
	}
	for range 10 {
		add("greedy", "")
	}
	if q.root.count != 6 || pushed != 0 {
		t.Errorf("one share has %d places, %d were pushed out", q.root.count, pushed)
	}
	for range 4 {
		add("busy", "")
	}
	for i := range 3 {
		if !add("polite", "") || pushed != i+1 {
			t.Errorf("no room for the polite, %d pushed out", pushed)
		}
	}
	// greedy has 4 then, busy 3 and polite 3: nobody would be helped by giving one of them more.
	for _, who := range []string{"greedy", "busy", "polite"} {
		if who != "polite" && add(who, "") {
			t.Errorf("%s gets another place", who)
		}
	}
	for i := range 4 {
		if !add(fmt.Sprint("new ", i), "") {
			t.Errorf("no room for somebody new")
		}
	}
	if q.root.count != 10 {
		t.Errorf("%d wait", q.root.count)
	}
	q = newFair(100, 6) // within a share it is the same
	for range 6 {
		add("service", "greedy")
	}
	if before := pushed; !add("service", "polite") || pushed != before+1 || add("service", "greedy") {
		t.Error("within a share the greedy keeps all places")
	}
	q.check(t)
}

// Nobody learns of those who wait above him.
func TestFairPlaces(t *testing.T) {
	q := newFair(10, 10)
	secret := label.MustParse("alice %% True")
	var last *waiter
	for i := range 4 {
		w := &waiter{cost: 1}
		if i%2 == 0 {
			w.at = secret
		}
		q.push(w, fmt.Sprint(i), "")
		last = w
	}
	if n, of := q.place(last, label.Public); n != 2 || of != 2 {
		t.Errorf("in public it is number %d of %d, want 2 of 2", n, of)
	}
	if n, of := q.place(last, secret); n != 4 || of != 4 {
		t.Errorf("for alice it is number %d of %d, want 4 of 4", n, of)
	}
	q.remove(last)
	if n, of := q.place(last, secret); n != 0 || of != 0 {
		t.Errorf("after it has gone it is number %d of %d", n, of)
	}
}

// A turn takes the logarithm of how many wait, in comparisons: of ten times as many, some more.
func TestFairSteps(t *testing.T) {
	steps := func(n int) int {
		q := newFair(2*n, 2*n)
		compared := 0
		for _, h := range []*shareHeap{&q.root.turns, &q.root.crowd} {
			before := h.before
			h.before = func(a, b *share) bool { compared++; return before(a, b) }
		}
		for i := range n {
			q.push(&waiter{cost: 1 + int64(i%7)}, fmt.Sprint(i), "")
		}
		compared = 0
		for i := range 100 {
			w := q.first()
			q.serve(w)
			q.push(w, fmt.Sprint("again ", i), "")
		}
		return compared
	}
	few, many := steps(1_000), steps(10_000)
	if many > few*2 {
		t.Errorf("a hundred turns among 10000 take %d comparisons, among 1000 %d", many, few)
	}
}

// A step takes about the same however many wait. It is read by bench/growth.
func BenchmarkGrowthFair(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("principals=%d", n), func(b *testing.B) {
			q := newFair(2*n, 2*n)
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprint(i)
				q.push(&waiter{cost: 1}, names[i], "")
			}
			i := 0
			for b.Loop() {
				w := q.first()
				q.serve(w)
				q.push(w, names[i%n], "")
				i++
			}
		})
	}
}
