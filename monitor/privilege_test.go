package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// owner is an environment of a test about privileges, with its connection.
type owner struct {
	*peer
	env *Env
}

func (l *lab) owner(instance, at, clearance, owns string) owner {
	l.t.Helper()
	e := l.admitAt("front", instance, at, clearance, owns)
	return owner{l.connect(e), e}
}

// public is an owner that is public and may be more.
func (l *lab) public(instance, owns string) owner {
	l.t.Helper()
	return l.owner(instance, "True %% True", "alice & bob & carol %% True", owns)
}

// gives hands what o has by the handle h to another one, as a message does.
func (o owner) gives(h uint64, to owner) uint64 {
	o.t.Helper()
	objects, err := o.env.objects([]uint64{h})
	if err != nil {
		o.t.Fatal(err)
	}
	handles, err := to.env.holdObjects(objects)
	if err != nil {
		o.t.Fatal(err)
	}
	return handles[0]
}

func (o owner) delegates(q string) uint64 {
	o.t.Helper()
	return o.does(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula(q)}).Handles[0]
}

func (o owner) revokes(h uint64) {
	o.t.Helper()
	o.does(wire.OpRevoke, wire.Ask{Handles: []uint64{h}})
}

func (o owner) drops(handles ...uint64) {
	o.t.Helper()
	o.does(wire.OpDrop, wire.Ask{Handles: handles})
}

// owns checks what o owns, by what it is told and by what it can do.
func (o owner) owns(want string) {
	o.t.Helper()
	f := label.MustParseFormula(want)
	if got := o.does(wire.OpLabels, wire.Ask{}).Owns; got != f {
		o.t.Fatalf("%s owns %s, want %s", o.env.id.Instance, got, f)
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		named := label.MustParseFormula(name)
		_, err := o.asks(wire.OpSeal, wire.Ask{Label: label.New(label.True, named), In: named})
		if f.Implies(named) != (err == nil) {
			o.t.Fatalf("%s owns %s; vouching as %s: %v", o.env.id.Instance, f, name, err)
		}
	}
}

func TestDelegate(t *testing.T) {
	l := newLab(t, bank())
	a, b, c := l.public("a", "alice & bob"), l.public("b", "True"), l.public("c", "True")
	h := a.delegates("alice")
	b.owns("True") // nobody gave it to b yet
	atB := a.gives(h, b)
	b.owns("alice")
	a.owns("alice & bob")
	further := b.delegates("alice | carol")
	b.gives(further, c)
	c.owns("alice | carol")

	b.drops(atB)
	b.owns("True")
	c.owns("alice | carol") // b let go of its own, not of c's

	a.revokes(h)
	c.owns("True")
	a.owns("alice & bob")
	a.fails(wire.OpRevoke, wire.Ask{Handles: []uint64{h}}, wire.Denied, "") // revoked, and gone

	a.gives(a.delegates("alice & bob"), b)
	b.owns("alice & bob")
	b.fails(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("carol")}, wire.Label, `does not imply "carol"`)
	b.fails(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice & carol")}, wire.Label, "does not imply")
	b.fails(wire.OpDelegate, wire.Ask{Privilege: label.False}, wire.Label, "does not imply")
	b.delegates("True")
}

// A delegated privilege is one of several that it takes: without one of them
// nothing of it is left, and those that it does not take are of no matter.
func TestDelegateOfSeveral(t *testing.T) {
	l := newLab(t, bank())
	a, b := l.public("a", "alice"), l.public("b", "bob")
	c, d, e := l.public("c", "carol"), l.public("d", "True"), l.public("e", "True")
	fromA, again, fromB := a.delegates("alice"), a.delegates("alice"), b.delegates("bob")
	a.gives(fromA, c)
	a.gives(again, c)
	b.gives(fromB, c)
	c.owns("alice & bob & carol")
	c.gives(c.delegates("alice & bob & carol"), d)
	c.gives(c.delegates("carol"), e)
	d.owns("alice & bob & carol")

	a.revokes(again)
	c.owns("alice & bob & carol")
	d.owns("alice & bob & carol")
	b.revokes(fromB)
	c.owns("alice & carol")
	d.owns("True")
	a.revokes(fromA)
	c.owns("carol")
	e.owns("carol")
}

// No privilege outlives the handle of who delegated it.
func TestDelegatorLetsGo(t *testing.T) {
	l := newLab(t, bank())
	a, b, c := l.public("a", "alice"), l.public("b", "True"), l.public("c", "True")
	h := a.delegates("alice")
	atB := a.gives(h, b)
	back := b.gives(atB, a)
	a.drops(h)
	b.owns("alice") // a has it still
	a.drops(back)
	b.owns("True")

	h = a.delegates("alice")
	a.gives(h, b)
	b.gives(b.delegates("alice"), c)
	c.owns("alice")
	l.m.Remove(b.env)
	c.owns("True")
	b = l.public("b-2", "True")
	a.gives(h, b)
	b.owns("alice")
	l.m.Remove(a.env)
	b.owns("True")
	b.fails(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice")}, wire.Label, "does not imply")
}

// What a handle does not stand for is the same as what it may not be used for.
func TestForgedPrivileges(t *testing.T) {
	l := newLab(t, bank())
	a, b := l.public("a", "alice"), l.public("b", "True")
	h := a.delegates("alice")
	atB := a.gives(h, b)
	value := b.does(wire.OpSeal, wire.Ask{}).Handles[0]
	for name, forged := range map[string]uint64{
		"one that a delegated": atB, "a value": value, "of another environment": h + 1000, "none": 0, "the largest": ^uint64(0),
	} {
		_, err := b.asks(wire.OpRevoke, wire.Ask{Handles: []uint64{forged}})
		if err != wire.ErrDenied {
			t.Errorf("revoking %s: %v, want %v", name, err, wire.ErrDenied)
		}
	}
	b.fails(wire.OpUnseal, wire.Ask{Handles: []uint64{atB}}, wire.Denied, "")
	b.owns("alice")
	b.drops(atB, atB, atB)
	b.owns("True")
}

// Privileges never reach above the clearance, those of others no more than one's own.
func TestDelegatedBelowClearance(t *testing.T) {
	l := newLab(t, bank())
	a, b := l.public("a", "alice"), l.owner("b", "True %% True", "True %% True", "True")
	a.gives(a.delegates("alice"), b)
	alice := label.MustParseFormula("alice")
	secret := label.MustParse("alice %% True")
	b.fails(wire.OpSeal, wire.Ask{Label: secret, Out: alice}, wire.Label, "object ⊑ clearance")
	b.fails(wire.OpRaise, wire.Ask{Label: secret}, wire.Label, "clearance")
	// As its owner it may have a higher one; that is asked for openly.
	b.does(wire.OpClearance, wire.Ask{Label: secret, Out: alice})
	b.does(wire.OpRaise, wire.Ask{Label: secret})
	b.does(wire.OpLower, wire.Ask{Label: label.Public, Out: alice})
}

// To revoke is to tell those who have it. So the delegation ends when its owner
// rises above where it did so, before it does and never after.
func TestDelegatorRises(t *testing.T) {
	l := newLab(t, bank())
	a, b := l.public("a", "alice & bob"), l.public("b", "True")
	secret := label.MustParse("carol %% True")
	h := a.delegates("alice")
	a.gives(h, b)
	a.fails(wire.OpRaise, wire.Ask{Label: secret}, wire.Label, "alice")
	b.owns("alice")
	a.does(wire.OpRaise, wire.Ask{Label: secret, Mode: wire.ModeForce})
	b.owns("True")
	a.revokes(h) // no news to anybody
	a.gives(a.delegates("alice"), b)
	b.owns("alice")

	// Named beforehand, a privilege lets it tell what it releases.
	a, b = l.public("a-2", "alice & bob"), l.public("b-2", "True")
	bob := label.MustParseFormula("bob")
	told := a.does(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice"), Out: bob})
	a.gives(told.Handles[0], b)
	a.does(wire.OpRaise, wire.Ask{Label: label.MustParse("bob %% True")})
	b.owns("alice")
	a.fails(wire.OpRaise, wire.Ask{Label: label.MustParse("bob & carol %% True")}, wire.Label, "alice")
	a.revokes(told.Handles[0])
	b.owns("True")
	a.fails(wire.OpDelegate, wire.Ask{Privilege: bob, Out: label.MustParseFormula("carol")}, wire.Label, "does not imply")
}

// What was opened with a privilege is cut when it is revoked, and what was
// delegated with it, and nothing else.
func TestRevokedIsCut(t *testing.T) {
	l := newLab(t, bank())
	a, b, c := l.public("a", "alice & bob"), l.public("b", "carol"), l.public("c", "True")
	h := a.delegates("alice & bob")
	atB := a.gives(h, b)
	alice := label.Privileges{Out: label.MustParseFormula("alice")}
	lasts := func(name string, with label.Privileges) *atomic.Bool {
		var cut atomic.Bool
		if err := b.env.flow.lasts(&lasting{name: name, with: with, holds: func(guard.State) error { return nil }, cut: func() { cut.Store(true) }}); err != nil {
			t.Fatal(err)
		}
		return &cut
	}
	open, plain, own := lasts("open", alice), lasts("plain", label.Privileges{}), lasts("own", label.Privileges{In: label.MustParseFormula("carol")})
	told := b.does(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("carol"), Out: label.MustParseFormula("bob")})
	b.gives(told.Handles[0], c)
	c.owns("carol")
	a.revokes(h)
	eventually(t, "what was opened with it is cut", open.Load)
	eventually(t, "what was delegated with it is revoked", func() bool { return c.does(wire.OpLabels, wire.Ask{}).Owns == label.True })
	if plain.Load() || own.Load() {
		t.Errorf("cut: what takes no privilege %v, what takes one of the manifest %v", plain.Load(), own.Load())
	}
	if err := b.env.flow.lasts(&lasting{with: alice, holds: func(guard.State) error { return nil }}); err == nil || !strings.Contains(err.Error(), "does not imply") {
		t.Errorf("it can be opened again: %v", err)
	}
	// And when it is dropped.
	h = a.delegates("alice")
	b.drops(atB)
	atB = a.gives(h, b)
	open = lasts("open", alice)
	b.drops(atB)
	eventually(t, "what was opened with it is cut", open.Load)
}

// A call that was made with it is withdrawn, also from whoever is at it; and an
// answer does not come in vouched for by what is owned no more.
func TestRevokedCall(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "balance")
	a, b := l.public("a", "alice"), l.public("b", "True")
	h := a.delegates("alice")
	a.gives(h, b)
	fields := (&wire.Ask{In: label.MustParseFormula("alice")}).Append(nil, wire.OpCall)
	call := func() uint64 {
		b.last++
		b.send(wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: b.last, Flags: wire.FlagFields}, NameBytes: []byte("bank.balance"), Body: append(wire.AppendFields(nil, fields), 'x')})
		return b.last
	}
	id := call()
	got := server.called("balance")
	server.reply(got.ID, wire.OK, "7")
	b.want(id, wire.OK, "7")

	id = call()
	got = server.called("balance")
	plain := b.call("bank.balance", "y")
	other := server.called("balance")
	a.revokes(h)
	b.want(id, wire.Canceled, "")
	if f := server.next(); f.Op != wire.OpCancel || f.ID != got.ID {
		t.Errorf("the server gets %v %d, want to know that %d is no longer wanted", f.Op, f.ID, got.ID)
	}
	server.reply(got.ID, wire.OK, "7")
	server.reply(other.ID, wire.OK, "8")
	b.want(plain, wire.OK, "8")
	id = call()
	if f := b.next(); f.ID != id || f.Code != wire.Label {
		t.Errorf("once more: %v, want %v", f.Code, wire.Label)
	}
	l.booksAreEmpty()
	b.env.flow.mu.Lock()
	defer b.env.flow.mu.Unlock()
	if n := len(b.env.flow.lasting); n != 0 {
		t.Errorf("%d still last", n)
	}
}

// Whether anybody had it, and what he did with it, is not to be seen in any answer.
func TestRevokeTellsNothing(t *testing.T) {
	l := newLab(t, bank())
	var answers []string
	for i, use := range []func(a owner, h uint64){
		func(owner, uint64) {},
		func(a owner, h uint64) {
			b := l.public("b", "True")
			a.gives(h, b)
		},
		func(a owner, h uint64) {
			b, c := l.public("b-2", "True"), l.public("c-2", "True")
			at := a.gives(h, b)
			b.gives(b.delegates("alice"), c)
			b.drops(at)
			l.m.Remove(c.env)
		},
	} {
		a := l.public(fmt.Sprint("a-", i), "alice")
		var got []wire.Frame
		ask := func(op wire.Op, ask wire.Ask) wire.Frame {
			a.ask(op, "", 0, ask.Append(nil, op))
			f := a.next()
			got = append(got, f)
			return f
		}
		told, err := wire.ParseTold(ask(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice")}).Body)
		if err != nil {
			t.Fatal(err)
		}
		use(a, told.Handles[0])
		ask(wire.OpLabels, wire.Ask{})
		ask(wire.OpRevoke, wire.Ask{Handles: told.Handles})
		ask(wire.OpRevoke, wire.Ask{Handles: told.Handles})
		answers = append(answers, fmt.Sprintf("%+v", got))
	}
	if len(slices.Compact(answers)) != 1 {
		t.Errorf("the answers differ:\n%s", strings.Join(answers, "\n"))
	}
}

func TestPrivilegeBounds(t *testing.T) {
	l := newLab(t, bank())
	names := make([]string, label.MaxClauses)
	for i := range names {
		names[i] = fmt.Sprintf("p%02d", i)
	}
	a := l.public("a", strings.Join(names, "&"))
	b := l.public("b", "alice")

	// So many that the table is full, and each is worth something until it is revoked.
	var handles []uint64
	for range MaxHandles {
		handles = append(handles, l.mustDelegate(t, a.env, "p00"))
	}
	a.fails(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("p01")}, wire.Busy, "")
	last := a.gives(handles[MaxHandles-1], b)
	for len(handles) > 1 {
		n := min(wire.MaxHandles, len(handles)-1)
		a.drops(handles[:n]...)
		handles = handles[n:]
	}
	if got := b.does(wire.OpLabels, wire.Ask{}).Owns; got != label.MustParseFormula("alice & p00") {
		t.Errorf("b owns %s", got)
	}
	b.drops(last)

	// As many as one may hold.
	for range MaxPrivileges {
		a.gives(handles[0], b)
	}
	objects, _ := a.env.objects(handles)
	if _, err := b.env.holdObjects(objects); !errors.Is(err, wire.ErrBusy) {
		t.Errorf("one more than %d privileges: %v", MaxPrivileges, err)
	}
	if got := b.does(wire.OpLabels, wire.Ask{}).Owns; got != label.MustParseFormula("alice & p00") {
		t.Errorf("b owns %s", got)
	}

	// As much as one may own, so that it can be told.
	c := l.public("c", "alice")
	a.gives(a.delegates(strings.Join(names[1:], "&")), c)
	if _, err := c.env.holdObjects(objects); !errors.Is(err, wire.ErrBusy) {
		t.Errorf("more than %d clauses: %v", label.MaxClauses, err)
	}
	c.fails(wire.OpUnseal, wire.Ask{Handles: []uint64{2}}, wire.Denied, "") // nothing was left behind
	if owns := c.does(wire.OpLabels, wire.Ask{}).Owns; len(owns.Clauses()) != label.MaxClauses {
		t.Errorf("c owns %s", owns)
	}
}

// mustDelegate is delegates without the frames.
func (l *lab) mustDelegate(t *testing.T, e *Env, q string) uint64 {
	t.Helper()
	p, err := e.newPrivilege(label.MustParseFormula(q), label.Privileges{}, e.at().Label)
	if err != nil {
		t.Fatal(err)
	}
	h, err := e.holdObject(p)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A privilege that goes to and fro and becomes longer each time ends somewhere, and
// is gone altogether when the first of it is. No power rests upon itself.
func TestPassedOn(t *testing.T) {
	l := newLab(t, bank())
	a := l.public("a", "alice")
	pair := [2]owner{l.public("b", "True"), l.public("c", "True")}
	first := a.delegates("alice")
	at := a.gives(first, pair[0])
	n := 0
	for ; ; n++ {
		from, to := pair[n%2], pair[1-n%2]
		told, err := from.asks(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice")})
		if err != nil {
			if !strings.Contains(err.Error(), "passed on") {
				t.Fatal(err)
			}
			break
		}
		next := from.gives(told.Handles[0], to)
		from.drops(at) // so that it has only what comes back
		at = next
	}
	if n != maxPassed {
		t.Errorf("passed on %d times, want %d", n, maxPassed)
	}
	a.revokes(first)
	for _, o := range pair {
		o.owns("True")
	}
}

// A revocation has happened when its answer is there, whatever others do
// meanwhile with what it takes away.
func TestRevokeRace(t *testing.T) {
	l := newLab(t, bank())
	a := l.public("a", "alice")
	alice := label.Privileges{In: label.MustParseFormula("alice")}
	users := make([]*Env, 4)
	for i := range users {
		users[i] = l.public(fmt.Sprint("user-", i), "True").env
	}
	for range 20 {
		h := a.delegates("alice")
		objects, err := a.env.objects([]uint64{h})
		if err != nil {
			t.Fatal(err)
		}
		var revoked, stop atomic.Bool
		var cut atomic.Int64
		var wg sync.WaitGroup
		var opened atomic.Int64
		for i, e := range users {
			handles, err := e.holdObjects(objects)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for !stop.Load() {
					was := revoked.Load()
					if err := e.mayName(alice); err == nil && was {
						t.Errorf("%s names it after it was revoked", e.id.Instance)
					}
					if p, err := e.newPrivilege(alice.In, label.Privileges{}, label.Public); err == nil {
						if h, err := users[(i+1)%len(users)].holdObject(p); err == nil {
							users[(i+1)%len(users)].dropHandles(&wire.Ask{Handles: []uint64{h}})
						}
						e.takeBack(p)
					}
					li := &lasting{with: alice, holds: func(guard.State) error { return nil }, cut: func() { cut.Add(1) }}
					if opened.Load() < 100 && e.flow.lasts(li) == nil {
						opened.Add(1)
					}
				}
				e.dropHandles(&wire.Ask{Handles: handles})
			})
		}
		a.revokes(h)
		revoked.Store(true)
		eventually(t, "all is cut", func() bool { return cut.Load() == opened.Load() })
		stop.Store(true)
		wg.Wait()
	}
	for _, e := range users {
		e.flow.mu.Lock()
		if n, r := len(e.flow.lasting), e.flow.resting.Load(); n != 0 || r != 0 || len(e.flow.handles) != 0 || e.flow.kept.bytes.Load() != 0 {
			t.Errorf("%s: %d last, %d rest on privileges, %d handles, %d bytes", e.id.Instance, n, r, len(e.flow.handles), e.flow.kept.bytes.Load())
		}
		e.flow.mu.Unlock()
	}
}

// How long it takes to revoke does not tell how many have it.
func BenchmarkRevoke(b *testing.B) {
	for _, holders := range []int{0, 1000} {
		b.Run(fmt.Sprintf("holders=%d", holders), func(b *testing.B) {
			l := newLab(b, bank())
			a := l.public("a", "alice").env
			all := make([]*Env, 1000)
			for i := range all {
				all[i] = l.admitAt("front", fmt.Sprint("holder-", i), "True %% True", "True %% True", "True")
			}
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				p, err := a.newPrivilege(label.MustParseFormula("alice"), label.Privileges{}, label.Public)
				if err != nil {
					b.Fatal(err)
				}
				handles := make([]uint64, holders)
				for i, e := range all[:holders] {
					handles[i], _ = e.holdObject(p)
				}
				b.StartTimer()
				a.takeBack(p)
				b.StopTimer()
				for i, e := range all[:holders] {
					e.dropHandles(&wire.Ask{Handles: handles[i : i+1]})
				}
				b.StartTimer()
			}
		})
	}
}
