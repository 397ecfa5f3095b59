package monitor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// A world is a monitor with environments that do what comes to their minds. It is
// one goroutine: an environment's frame is handled to its end, then everybody reads
// what came, then the next one has its turn. So what happens is determined by the
// seed, by the secret, and by what the monitor says.
//
// An environment knows what it was told and nothing else: what it does next is a
// function of its name, of the step, and of all that it has read. One that is above
// the world's observer knows the secret besides. In two worlds that differ in
// the secret alone, whoever is not above the observer therefore does and reads the
// same until the monitor tells it something that depends on the secret; from then
// on, almost everything is different, so that nothing small goes unnoticed.
type world struct {
	*lab
	seed, secret uint64
	step         int
	actors       []*actor
	slots        [][]*actor     // whose turn it is, by the number of the turn
	children     []*infant      // that run
	done         map[string]int // how often it was heard: an operation and what came of it

	// observer is the highest label of those who must not learn the secret, and
	// owned is all the power that anybody in the world has: nobody can bring what
	// is above the observer down to it.
	observer label.Label
	owned    label.Formula
	labels   []label.Label // most of those that there are
}

// actor is one environment of a world.
type actor struct {
	w    *world
	env  *Env
	c    *conn
	nc   *wireEnd
	dead bool
	slot int

	child    *infant // nil for one that is none
	replaced bool    // it has ended, and has a successor

	// What it knows.
	view    []event
	hash    uint64 // of the view
	last    uint64 // id of its last request
	asked   map[uint64]wire.Op
	state   guard.State
	owns    label.Formula
	handles []handle
	calls   []uint64 // to be answered
	parent  bool     // it has had a child
	lacks   bool     // it looked for a handle of a kind that it has not
}

// handle is one that an actor has, and what it believes it to be.
type handle struct {
	n    uint64
	kind string
}

// event is something that an actor has read, or that happened to it.
type event struct {
	step int
	text string
	high bool // it is above the observer now
}

// wireEnd is the other end of a wire connection, of which everything is read that
// is there.
type wireEnd struct {
	raw    syscall.RawConn
	unread []byte
}

// read returns all whole frames that have come, and io.EOF if no more will.
func (w *wireEnd) read() (frames []wire.Frame, err error) {
	for err == nil {
		w.unread = slices.Grow(w.unread, 4<<10)
		room := w.unread[len(w.unread):cap(w.unread)]
		n, recvErr := 0, error(nil)
		if err := w.raw.Control(func(fd uintptr) {
			n, _, recvErr = syscall.Recvfrom(int(fd), room, syscall.MSG_DONTWAIT)
		}); err != nil {
			return nil, err
		}
		if recvErr == syscall.EAGAIN {
			break
		}
		if recvErr != nil || n == 0 {
			err = io.EOF
		}
		w.unread = w.unread[:len(w.unread)+max(n, 0)]
	}
	for r := wire.NewReader(bytes.NewReader(w.unread)); len(w.unread) > 0; {
		f, frameErr := r.Next()
		if frameErr == io.EOF || frameErr == io.ErrUnexpectedEOF {
			break
		}
		if frameErr != nil {
			return nil, frameErr
		}
		w.unread = w.unread[wire.HeaderSize+f.Size:]
		f.NameBytes, f.CallerBytes, f.Body = bytes.Clone(f.NameBytes), bytes.Clone(f.CallerBytes), bytes.Clone(f.Body)
		frames = append(frames, f)
	}
	return frames, err
}

// newWorld makes one. What its environments are depends on the seed alone.
func newWorld(t testing.TB, seed, secret uint64, observer label.Label) *world {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	w := &world{seed: seed, secret: secret, observer: observer, done: make(map[string]int)}
	w.labels = palette(r, observer)
	p := someWorld(r, w.labels)
	for _, s := range p.Services {
		w.owned = w.owned.And(s.Flow.Owns)
	}
	w.lab = newLab(t, p)
	w.m.spawner = &kindergarten{w: w, born: make(chan *infant, 1)}
	for _, s := range p.Services {
		if s.Name == template {
			continue
		}
		w.enter(w.admit(s.Name, s.Name+"-1"), w.turn())
		if r.IntN(3) == 0 && !slices.ContainsFunc(p.Mailboxes, func(b Mailbox) bool { return b.Owner == s.Name }) {
			w.enter(w.admit(s.Name, s.Name+"-2"), w.turn())
		}
	}
	return w
}

// turn makes two new turns, of which it returns the first: the other is for the
// children of whoever has it. Who has a turn when depends on the seed and the step
// alone, whoever else there is.
func (w *world) turn() int {
	w.slots = append(w.slots, nil, nil)
	return len(w.slots) - 2
}

// enter makes an actor of an environment.
func (w *world) enter(e *Env, slot int) *actor {
	a := &actor{w: w, env: e, slot: slot, asked: make(map[uint64]wire.Op)}
	ours, theirs := socketpair(w.t)
	raw, err := ours.SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	a.nc = &wireEnd{raw: raw}
	if a.c, err = newConn(a.env, theirs); err != nil {
		w.t.Fatal(err)
	}
	a.state, a.owns = e.at(), e.flow.power.given
	w.t.Cleanup(a.c.close)
	w.actors = append(w.actors, a)
	w.slots[slot] = append(w.slots[slot], a)
	for _, h := range e.flow.first {
		a.knows(h)
	}
	if e.self.methods["m"] != nil {
		a.c.handle(&wire.Frame{Header: wire.Header{Op: wire.OpServe}, Body: methodFields("m")})
	}
	return a
}

// kindergarten is where the children of a world are.
type kindergarten struct {
	w    *world
	born chan *infant
}

// infant is a child that runs, until somebody ends it or it ends itself.
type infant struct {
	actor *actor
	by    *actor
	ctx   context.Context
	flow  Flow
	name  string
	admit func(*Env)
	grown chan struct{}  // closed once it is an actor, or could not be one
	end   chan wire.Exit // how it ends, if by itself
}

func (*kindergarten) End(string, Key) {}

func (*kindergarten) Unresponsive(wire.Identity, string) {}

func (n *kindergarten) Spawn(ctx context.Context, by wire.Identity, _ string, _ wire.Spawn, flow Flow, admit func(*Env)) (wire.Exit, error) {
	c := &infant{ctx: ctx, flow: flow, name: by.Instance + "/child", admit: admit, grown: make(chan struct{}), end: make(chan wire.Exit, 1)}
	n.born <- c
	<-c.grown
	if c.actor == nil {
		return wire.Exit{}, errors.New("it did not come to be")
	}
	defer n.w.m.Remove(c.actor.env)
	select {
	case exit := <-c.end:
		return exit, nil
	case <-ctx.Done():
		return wire.Exit{}, ctx.Err()
	}
}

func (*kindergarten) Line(context.Context, string, string, wire.Identity, []byte, Flow, func(*Env)) ([]byte, error) {
	return nil, wire.ErrUnavailable
}

func (*kindergarten) Instance(context.Context, string, Key) (func(), error) {
	return nil, wire.ErrUnavailable
}

// settle waits until all has happened that follows from what was done, beside the
// goroutine that did it.
func (w *world) settle(by *actor, children int) {
	w.t.Helper()
	before := len(w.children)
	for range by.env.brood() - children {
		w.raise(by, <-w.m.spawner.(*kindergarten).born)
	}
	w.children = slices.DeleteFunc(w.children, func(c *infant) bool { return c.ctx.Err() != nil || c.actor.dead })
	eventually(w.t, "what rested on what was revoked is cut", func() bool { return w.m.unchecked.Load() == 0 })
	if len(w.children) != before {
		eventually(w.t, "who has ended is gone", func() bool { return spawned() <= len(w.children) })
	}
}

// brood is how many children e has.
func (e *Env) brood() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.children)
}

// spawned is how many children are not over yet, with all that follows from that.
func spawned() int {
	stacks := make([]byte, 64<<10)
	for {
		if n := runtime.Stack(stacks, true); n < len(stacks) {
			return bytes.Count(stacks[:n], []byte(".(*result).run("))
		}
		stacks = make([]byte, 2*len(stacks))
	}
}

// raise makes an actor of a child, whose turns come after those of by.
func (w *world) raise(by *actor, c *infant) {
	defer close(c.grown)
	e, err := w.m.AdmitAt(wire.Identity{Service: template, Instance: c.name}, c.flow)
	if err != nil {
		by.note("cannot have a child: %v", err) // of a name that was there already
		return
	}
	c.admit(e)
	c.actor = w.enter(e, by.slot+1)
	c.actor.child, c.by = c, by
	w.children = append(w.children, c)
}

// high tells whether a is above the observer, so that it may know the secret.
func (a *actor) high() bool {
	return !a.env.at().Label.FlowsUnder(label.Privileges{Out: a.w.owned, In: a.w.owned}, a.w.observer)
}

// run lets the world take its course, for a number of steps.
func (w *world) run(steps int) {
	for w.step = range steps {
		for _, a := range slices.Clone(w.slots[rand.New(rand.NewPCG(w.seed, uint64(w.step))).IntN(len(w.slots))]) {
			if a.dead {
				continue
			}
			children := a.env.brood()
			a.act()
			w.settle(a, children)
			if a.replaced {
				w.enter(w.admit(a.env.id.Service, a.env.id.Instance+"'"), a.slot)
			}
			for _, b := range w.actors {
				b.listen()
			}
		}
	}
	for _, c := range w.children {
		c.actor.dead = true
		c.end <- wire.Exit{}
	}
	eventually(w.t, "all children are gone", func() bool { return spawned() == 0 })
}

// act is the turn of a.
func (a *actor) act() {
	mind := a.hash
	wasHigh := a.high()
	if wasHigh {
		mind ^= a.w.secret
	}
	r := rand.New(rand.NewPCG(mind, uint64(a.w.step)))
	switch r.IntN(80) {
	case 0:
		a.end(r)
		return
	case 1, 2, 3, 4, 5, 6:
		a.give(r)
		return
	}
	f := a.choose(r)
	if f.Op == 0 {
		return
	}
	a.note("does %v %d %q", f.Op, f.ID, f.NameBytes)
	if wasHigh {
		a.view[len(a.view)-1].high = true // what it chose depends on the secret, whatever it is by now
	}
	if !a.c.handle(&f) {
		a.c.close()
	}
	if wasHigh && !a.high() {
		a.w.t.Fatalf("seed %d: at step %d %s came down to the observer by %v", a.w.seed, a.w.step, a.env.id.Instance, f.Op)
	}
}

// end is that of its environment. One that nobody above the observer has a part in
// has a successor, as services have; that one above it has ended must not be seen
// by when its successor starts, so there is none.
func (a *actor) end(r *rand.Rand) {
	a.note("ends")
	a.dead = true
	if a.child != nil {
		a.child.end <- wire.Exit{Stdout: a.data(r), Code: r.IntN(3)}
		return
	}
	a.replaced = !a.high()
	for _, c := range a.w.children {
		// The monitor would end it at the same time, and what then comes first is
		// nobody's to say.
		if c.by == a && a.env.at().Label.FlowsTo(c.actor.env.at().Label) {
			c.actor.dead = true
			c.end <- wire.Exit{}
		}
	}
	// So with what rests on the privileges that it has delegated: a call to it would be cut, or interrupted.
	a.env.dropHandles(&wire.Ask{Handles: a.env.delegations()})
	a.w.settle(a, a.env.brood())
	a.w.m.Remove(a.env)
	a.c.close()
}

// delegations are the handles that e has of privileges that it has delegated, in their order.
func (e *Env) delegations() (all []uint64) {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	for h, o := range e.flow.handles {
		if p, ok := o.(*privilege); ok && p.tie.by == &e.flow {
			all = append(all, h)
		}
	}
	slices.Sort(all)
	return all
}

// give hands something over to whoever has some turn, as a message does that is at the
// label of the sender: it does not learn whether that came to anything.
func (a *actor) give(r *rand.Rand) {
	slot := r.IntN(len(a.w.slots))
	h := a.some(r, gifts...)
	objects, err := a.env.objects([]uint64{h})
	a.note("gives %d to those of turn %d: %v", h, slot, err)
	if err != nil {
		return
	}
	from := a.env.at().Label
	for _, b := range a.w.slots[slot] {
		if b.dead || !from.FlowsTo(b.env.at().Label) {
			continue
		}
		handles, err := b.env.holdObjects(objects)
		b.note("is given %d: %v", handles, err)
		if err == nil {
			b.knows(handles[0])
		}
	}
}

// note adds to the view.
func (a *actor) note(format string, args ...any) {
	e := event{a.w.step, fmt.Sprintf(format, args...), a.high()}
	a.view = append(a.view, e)
	h := fnv.New64a()
	binary.Write(h, binary.LittleEndian, a.hash)
	fmt.Fprintf(h, "%d %s", e.step, e.text)
	a.hash = h.Sum64()
}

// listen reads what has come.
func (a *actor) listen() {
	if a.dead {
		return
	}
	frames, err := a.nc.read()
	if err != nil {
		a.note("its connection ends: %v", err)
		a.dead = true
		return // what was sent to it as it ended, nobody reads
	}
	// What is cut, or withdrawn because somebody ends, is so all at once.
	cut := func(f *wire.Frame) uint64 {
		if f.Op == wire.OpCancel || f.Op == wire.OpReply && f.Code == wire.Canceled {
			return f.ID
		}
		return math.MaxUint64
	}
	slices.SortStableFunc(frames, func(f, g wire.Frame) int { return cmp.Compare(cut(&f), cut(&g)) })
	for i := range frames {
		f := &frames[i]
		a.note("hears %v %d %v %q %q call %d flags %d: %q", f.Op, f.ID, f.Code, f.NameBytes, f.CallerBytes, f.Call, f.Flags, f.Body)
		a.learn(f)
	}
}

// learn remembers what of f may be of use.
func (a *actor) learn(f *wire.Frame) {
	fields, known := f.Body, false
	switch f.Op {
	case wire.OpCancel:
		a.w.done["cancel"]++
	case wire.OpCall:
		a.w.done["call"]++
		a.calls = append(a.calls, f.ID)
		known = f.Flags&wire.FlagFields != 0
	case wire.OpReply:
		op := a.asked[f.ID]
		a.w.done[fmt.Sprintf("%v %v", op, f.Code)]++
		delete(a.asked, f.ID)
		known = f.Code == wire.OK && op >= wire.OpLabels || f.Flags != 0
		if told, err := wire.ParseTold(f.Body); f.Code == wire.OK && err == nil {
			switch op {
			case wire.OpLabels:
				a.owns = told.Owns
				fallthrough
			case wire.OpRaise, wire.OpLower, wire.OpClearance:
				a.state = guard.State{Label: told.Label, Clearance: told.Clearance}
			}
		}
	}
	if f.Flags&wire.FlagFields != 0 {
		var err error
		if fields, _, err = wire.CutFields(f.Body); err != nil {
			a.w.t.Errorf("fields that cannot be cut: %v", err)
		}
	}
	if !known {
		return
	}
	told, err := wire.ParseTold(fields)
	if err != nil {
		a.w.t.Errorf("%v told %q: %v", f.Op, fields, err)
	}
	for _, h := range told.Handles {
		a.knows(h)
	}
}

// knows remembers a handle.
func (a *actor) knows(n uint64) {
	if objects, err := a.env.objects([]uint64{n}); err == nil {
		a.handles = append(a.handles, handle{n, objects[0].kind()})
	}
}

// differs describes where two worlds look different to those who are not above
// the observer, "" if they do not.
func (w *world) differs(other *world) string {
	views := make(map[string][2][]event)
	for i, all := range [][]*actor{w.actors, other.actors} {
		for _, a := range all {
			v := views[a.env.id.Instance]
			v[i] = append(v[i], a.seen()...)
			views[a.env.id.Instance] = v
		}
	}
	var first string
	at := -1
	for name, v := range views {
		mine, theirs := v[0], v[1]
		n := 0
		for n < len(mine) && n < len(theirs) && mine[n] == theirs[n] {
			n++
		}
		if n == len(mine) && n == len(theirs) {
			continue
		}
		step := -1
		here, there := "nothing more", "nothing more"
		if n < len(mine) {
			step, here = mine[n].step, fmt.Sprintf("step %d: %s", mine[n].step, mine[n].text)
		}
		if n < len(theirs) {
			there = fmt.Sprintf("step %d: %s", theirs[n].step, theirs[n].text)
			if step < 0 || theirs[n].step < step {
				step = theirs[n].step
			}
		}
		if at < 0 || step < at {
			at = step
			first = fmt.Sprintf("%s\n  %s\n  %s\nbefore that\n%s", name, here, there, tail(mine[:n]))
			first += fmt.Sprintf("others in step %d:\n  %s\nand\n  %s\n", at, strings.Join(w.doing(at), "\n  "), strings.Join(other.doing(at), "\n  "))
		}
	}
	return first
}

// seen is the part of the view that must not depend on the secret.
func (a *actor) seen() (low []event) {
	for _, e := range a.view {
		if !e.high {
			low = append(low, e)
		}
	}
	return low
}

// doing is what everybody did and heard just before a step and in it.
func (w *world) doing(step int) (all []string) {
	for _, a := range w.actors {
		for _, e := range a.view {
			if e.step == step {
				all = append(all, fmt.Sprintf("%s at %v %.200s", a.env.id.Instance, a.env.at().Label, e.text))
			}
		}
	}
	return all
}

func tail(events []event) string {
	var b strings.Builder
	for _, e := range events[max(0, len(events)-6):] {
		fmt.Fprintf(&b, "  step %d: %s\n", e.step, e.text)
	}
	return b.String()
}
