package linux

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Room is shared memory in which scripts lie. A [Cradle] has all of it, each of its
// children the place of its own script alone. Only what is used of it takes memory.
// It is safe for concurrent use.
type Room struct {
	mem  []byte
	home int // network namespace of cradles, or -1

	mu   sync.Mutex
	free []int // guarded by mu: places that were used; the last one is taken first
	next int   // guarded by mu: from here on no place was used
}

// Places of a room: at most so many children at a time, or fewer where the kernel does
// not lend what it does not have.
const (
	mostPlaces  = 1 << 14
	leastPlaces = 1 << 6
)

// keptBytes is how much data of a script may be kept for the next one in its place.
const keptBytes = 64 << 10

// placeBytes is the size of a place: whole pages, so that one can be unmapped alone.
const placeBytes = (int(unsafe.Sizeof(arena{})) + 4095) &^ 4095

// NewRoom makes one. Its cradles are in the network namespace home, unless it is -1, when they make nobody: in
// the one that they last made somebody in they would keep it. There is no way to give it back: children have parts of it.
func NewRoom(home int) (*Room, error) {
	for n := mostPlaces; ; n /= 2 {
		mem, err := unix.Mmap(-1, 0, n*placeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err == nil {
			return &Room{mem: mem, home: home}, nil
		}
		if n == leastPlaces {
			return nil, fmt.Errorf("map a room for scripts: %w", err)
		}
	}
}

// NewScript returns a script without steps.
func (r *Room) NewScript() (*Script, error) {
	place, err := r.take()
	if err != nil {
		return nil, err
	}
	a := (*arena)(unsafe.Pointer(&r.mem[place*placeBytes]))
	a.control = control{}
	s := &Script{room: r, place: place, a: a, ctl: -1}
	s.born = Stage{script: s, index: stageBorn, steps: a.born[:]}
	s.Setup = Stage{script: s, index: stageSetup, steps: a.setup[:]}
	s.Program = Stage{script: s, index: stageProgram, steps: a.program[:]}
	s.Claim = Stage{script: s, index: stageClaim, steps: a.claim[:]}
	s.Seal = Stage{script: s, index: stageSeal, steps: a.seal[:]}
	return s, nil
}

func (r *Room) take() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		place := r.free[n-1]
		r.free = r.free[:n-1]
		return place, nil
	}
	if r.next == len(r.mem)/placeBytes {
		return 0, fmt.Errorf("all %d places for scripts are taken", r.next)
	}
	r.next++
	return r.next - 1, nil
}

// give gives a place back, of which so many bytes of data were used.
func (r *Room) give(place, used int) {
	if used > keptBytes {
		unix.Madvise(r.mem[place*placeBytes:][:placeBytes], unix.MADV_REMOVE)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, place)
}

// address is where a place begins.
func (r *Room) address(place int) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(r.mem))) + uintptr(place*placeBytes)
}
