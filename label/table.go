package label

import (
	"runtime"
	"slices"
	"sync"
	"weak"
)

// table has one of each thing that is in use, by its hash. It would be package
// state if there was anything to see of it: it makes comparisons fast, and is
// otherwise not there. Nothing is kept by it: what nobody points to any more is
// collected, and then its entry goes.
type table[T any] struct {
	mu     sync.Mutex
	byHash map[uint64][]weak.Pointer[T] // nearly always one
}

func newTable[T any]() *table[T] { return &table[T]{byHash: make(map[uint64][]weak.Pointer[T])} }

// get returns the thing with that hash that is wanted, or a fresh one.
func (t *table[T]) get(hash uint64, wanted func(*T) bool, fresh func() *T) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, entry := range t.byHash[hash] {
		if thing := entry.Value(); thing != nil && wanted(thing) {
			return thing
		}
	}
	thing := fresh()
	t.byHash[hash] = append(t.byHash[hash], weak.Make(thing))
	runtime.AddCleanup(thing, t.forget, hash)
	return thing
}

// forget drops the entries with that hash whose things are gone.
func (t *table[T]) forget(hash uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := func(entry weak.Pointer[T]) bool { return entry.Value() == nil }
	if rest := slices.DeleteFunc(t.byHash[hash], gone); len(rest) > 0 {
		t.byHash[hash] = rest
	} else {
		delete(t.byHash, hash)
	}
}
