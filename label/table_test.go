package label

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestForgotten makes two million formulas, with as many names. What nobody has any
// more is gone from the table and from memory; what somebody has stays what it was.
func TestForgotten(t *testing.T) {
	n := 2_000_000
	if testing.Short() {
		n = 100_000
	}
	kept := MustParse("kept & (a | b) %% kept")
	before := heap()
	peak := uint64(0)
	for i := range n {
		l := New(must(NewFormula([]string{fmt.Sprintf("someone %d", i)}, []string{"a"})), True)
		if l.FlowsTo(kept) || kept.FlowsTo(l) {
			t.Fatalf("%v flows", l)
		}
		if i%(n/10) == n/20 {
			peak = max(peak, heap())
		}
	}
	// Cleanups run some time after the collection that finds what is dead.
	left := func() int {
		runtime.GC()
		return nodes.size() + principals.size()
	}
	entries := left()
	for deadline := time.Now().Add(time.Minute); entries > 1000 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		entries = left()
	}
	after := heap()
	const bound = 64 << 20 // two million at once would be more than a gigabyte
	if entries > 1000 || peak > before+bound || after > before+bound/4 {
		t.Errorf("%d entries left; heap %d KiB before, at most %d during, %d after", entries, before>>10, peak>>10, after>>10)
	}
	t.Logf("%d entries left; heap %d KiB before, at most %d during, %d after", entries, before>>10, peak>>10, after>>10)
	if again := MustParse(kept.String()); again != kept {
		t.Errorf("%v is another %v", again, kept)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestOneOfEach has many goroutines make the same formulas while others are
// collected: those that are alive at a time and of one meaning are ==, and
// answers that are remembered are those of the right pair.
func TestOneOfEach(t *testing.T) {
	const goroutines = 8
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for round := range rounds {
		var wg sync.WaitGroup
		var made [goroutines][20]Formula
		for g := range goroutines {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(g), uint64(round)))
				for _, i := range r.Perm(len(made[g])) {
					made[g][i] = numbered(round%3, i)
				}
				for range 100 {
					i, j := r.IntN(20), r.IntN(20)
					if got := made[g][i].Implies(made[g][j]); got != (j <= i) {
						t.Errorf("%v implies %v: %v", made[g][i], made[g][j], got)
					}
				}
			}()
		}
		wg.Wait()
		for g := range made {
			if made[g] != made[0] {
				t.Fatalf("round %d: two that are the same are not ==", round)
			}
		}
		if round%10 == 0 {
			runtime.GC()
		}
	}
}

// numbered is an and of 2+i names, so that one with more implies one with fewer.
func numbered(series, i int) Formula {
	var clauses [][]string
	for k := range 2 + i {
		clauses = append(clauses, []string{fmt.Sprintf("series %d, %d", series, k)})
	}
	return must(NewFormula(clauses...))
}

// TestRemembered compares what is answered from memory with what is found anew, with
// many more formulas than a formula remembers, in the order that makes
// them take each other's place.
func TestRemembered(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var all []Formula
	for range 300 {
		all = append(all, someFormula(r, 5))
	}
	for range 100_000 {
		f, g := all[r.IntN(len(all))], all[r.IntN(len(all))]
		if f == True || g == True {
			continue
		}
		if got, want := f.Implies(g), f.n.compare(g.n); got != want {
			t.Fatalf("%v implies %v: %v, and found anew %v", f, g, got, want)
		}
	}
}

func (t *table[T]) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byHash)
}
