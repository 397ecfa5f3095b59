package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxBorn    = 16
	maxSetup   = 640
	maxProgram = 192
	maxClaim   = 48
	maxSeal    = 16
	maxDrops   = 64
	maxFDs     = 253     // SCM_MAX_FD, unix(7)
	dataBytes  = 3 << 20 // room for arguments and environment: ARG_MAX is 2 MiB here
)

// ControlFD is the number of the control socket inside the child. Received
// descriptors get the numbers from 0 upwards; there are at most 253 of them at a time.
const ControlFD = 255

// A step is one system call of a script. An argument whose bit is set in load
// is the offset of an int32 in the arena, read when the step runs; the result
// is written to the offset store, unless that is 0.
type step struct {
	nr     uintptr
	args   [6]uintptr
	store  uintptr
	accept uintptr // an errno that is as good as success
	load   uint8
}

// arena is what parent and child share.
type arena struct {
	born    [maxBorn]step
	setup   [maxSetup]step
	program [maxProgram]step
	claim   [maxClaim]step
	seal    [maxSeal]step
	control
	data [dataBytes]byte
}

// control is what an arena has besides steps and their data.
type control struct {
	count  [5]int32
	waits  int32 // the program's process waits to be claimed
	adopts int32 // somebody else makes the program's process

	// Written by the child, or by the program's process in the child's memory.
	failStage, failStep, failErrno int32
	claimed                        int32

	message message
	goIov   unix.Iovec
	goMsg   unix.Msghdr
	goCtl   [unix.SizeofCmsghdr + 4*256]byte
	report  Report
	repIov  unix.Iovec
	repMsg  unix.Msghdr // plain
	pidMsg  unix.Msghdr // with the program's pidfd
	pidCtl  [24]byte    // cmsghdr and one int32
	status  int32
	pidfd   int32
	rusage  unix.Rusage
	tls     [64]byte

	// Of a cradle: what it is to make.
	args   cloneArgs
	target uintptr // arena of the child
	net    int32   // number of the network namespace for it, or -1
	home   int32   // of the one where to be afterwards, or -1
	drops  [maxDrops]drop
}

// message is what a child or a cradle is told.
type message struct {
	kind  int32
	setup int32 // how many steps of Setup are to be carried out by then
	pid   int32 // of the program's process that is adopted
}

// drop is memory that a cradle has no use for.
type drop struct{ from, to uintptr }

// Stage is one of the five lists of steps of a script.
type Stage struct {
	script *Script
	index  int32
	steps  []step
	names  []string
}

// The stages of a script, in the order they run.
const (
	stageBorn    = iota // right after clone
	stageSetup          // after Prepare, Ready or Go, as the init
	stageProgram        // in the program's process
	stageClaim          // there too, after Go: up to execve
	stageSeal           // as the init, once the program runs
)

// Script is what a cloned child does. It is not safe for concurrent use. A
// script lies in a place of a [Room], which Close gives back; it may be
// closed once the child is dead.
type Script struct {
	Setup, Program, Claim, Seal Stage

	born Stage

	room  *Room
	place int
	a     *arena
	used  int
	ctl   int
	err   error

	moves []uintptr // places in data that hold an address
}

// Close gives the place and the control socket back. What the script held is not
// there any more for the next one.
func (s *Script) Close() {
	if s.ctl >= 0 {
		unix.Close(s.ctl)
		s.ctl = -1
	}
	if s.a != nil {
		clear(s.a.data[:s.used])
		s.room.give(s.place, s.used)
		s.a = nil
	}
}

// Step refers to a step just added, to say more about it.
type Step struct {
	st *step
	s  *Script
}

// Add appends a system call. what completes the sentence "… : errno". The
// arguments are numbers and addresses obtained from the script.
func (g *Stage) Add(what string, nr uintptr, args ...uintptr) Step {
	n := g.script.a.count[g.index]
	if int(n) == len(g.steps) {
		g.script.fail(fmt.Errorf("script of more than %d steps", len(g.steps)))
		return Step{&step{}, g.script}
	}
	st := &g.steps[n]
	*st = step{nr: nr}
	copy(st.args[:], args)
	g.names = append(g.names, what)
	g.script.a.count[g.index] = n + 1
	return Step{st, g.script}
}

// Accept makes errno as good as success.
func (t Step) Accept(errno unix.Errno) Step {
	t.st.accept = uintptr(errno)
	return t
}

// A Slot is a place in the script for the result of a step.
type Slot uintptr

// Slot makes one.
func (s *Script) Slot() Slot {
	return Slot(s.alloc(4, 4) + unsafe.Offsetof(s.a.data))
}

// Into stores the result.
func (t Step) Into(slot Slot) Step {
	t.st.store = uintptr(slot)
	return t
}

// From takes argument i from slot when the step runs.
func (t Step) From(i int, slot Slot) Step {
	t.st.args[i] = uintptr(slot)
	t.st.load |= 1 << i
	return t
}

// Err is the first thing that went wrong while the script was written: too many
// steps, or too much data.
func (s *Script) Err() error { return s.err }

func (s *Script) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// alloc returns the offset in data of n fresh zero bytes.
func (s *Script) alloc(n, align int) uintptr {
	at := (s.used + align - 1) &^ (align - 1)
	if n < 0 || at+n > dataBytes {
		s.fail(fmt.Errorf("script of more than %d bytes of data", dataBytes))
		return 0
	}
	s.used = at + n
	return uintptr(at)
}

func (s *Script) addr(at uintptr) uintptr {
	return uintptr(unsafe.Pointer(&s.a.data[at]))
}

// String stores v with a final NUL and returns its address. A NUL within v is
// an error of the script: it would cut the string short.
func (s *Script) String(v string) uintptr {
	for i := range len(v) {
		if v[i] == 0 {
			s.fail(fmt.Errorf("%q contains a NUL byte", v))
			return 0
		}
	}
	at := s.alloc(len(v)+1, 1)
	if s.err == nil {
		copy(s.a.data[at:], v)
	}
	return s.addr(at)
}

// Strings stores an array of strings that ends with a null pointer.
func (s *Script) Strings(vs []string) uintptr {
	at := s.alloc(8*(len(vs)+1), 8)
	for i, v := range vs {
		p := s.String(v)
		if s.err != nil {
			return 0
		}
		*(*uintptr)(unsafe.Pointer(&s.a.data[at+uintptr(8*i)])) = p
	}
	return s.addr(at)
}

// Bytes stores b, aligned to 8, and returns its address.
func (s *Script) Bytes(b []byte) uintptr {
	at := s.alloc(len(b), 8)
	if s.err == nil {
		copy(s.a.data[at:], b)
	}
	return s.addr(at)
}

// BytesWithSlot stores b and returns its address and the slot that lies at
// offset off within it: for structures that hold a descriptor not yet known.
func (s *Script) BytesWithSlot(b []byte, off int) (uintptr, Slot) {
	at := s.alloc(len(b), 8)
	if s.err == nil {
		copy(s.a.data[at:], b)
	}
	return s.addr(at), Slot(at + unsafe.Offsetof(s.a.data) + uintptr(off))
}

// Rlimit stores a struct rlimit64.
func (s *Script) Rlimit(cur, max uint64) uintptr {
	at := s.alloc(16, 8)
	if s.err == nil {
		*(*[2]uint64)(unsafe.Pointer(&s.a.data[at])) = [2]uint64{cur, max}
	}
	return s.addr(at)
}

// Filter stores a seccomp program and returns the address of its sock_fprog.
func (s *Script) Filter(prog []unix.SockFilter) uintptr {
	size := int(unsafe.Sizeof(unix.SockFilter{}))
	at := s.alloc(len(prog)*size, 8)
	head := s.alloc(16, 8)
	if s.err != nil {
		return 0
	}
	copy(unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&s.a.data[at])), len(prog)), prog)
	f := (*unix.SockFprog)(unsafe.Pointer(&s.a.data[head]))
	f.Len = uint16(len(prog))
	f.Filter = (*unix.SockFilter)(nil)
	*(*uintptr)(unsafe.Pointer(&f.Filter)) = s.addr(at)
	s.moves = append(s.moves, head+unsafe.Offsetof(f.Filter))
	return s.addr(head)
}

// name tells which step it was. Number -1 is what comes before the first one of
// the program's process: to make that.
func (s *Script) name(stage, step int32) string {
	if step < 0 {
		return "make a process for the program"
	}
	for _, g := range []*Stage{&s.born, &s.Setup, &s.Program, &s.Claim, &s.Seal} {
		if g.index == stage && int(step) < len(g.names) {
			return g.names[step]
		}
	}
	return fmt.Sprintf("step %d.%d", stage, step)
}
