package monitor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cofferdam/label"
	"cofferdam/wire"
)

// newSeal makes a seal and returns the handles of its parts.
func (p *peer) newSeal() (sealer, unsealer, tester uint64) {
	p.t.Helper()
	h := p.does(wire.OpNewSeal, wire.Ask{}).Handles
	if len(h) != 3 {
		p.t.Fatalf("a new seal has handles %v", h)
	}
	return h[0], h[1], h[2]
}

// encloses makes a capsule.
func (p *peer) encloses(sealer uint64, l label.Label, data string) uint64 {
	p.t.Helper()
	return p.does(wire.OpEnclose, wire.Ask{Handles: []uint64{sealer}, Label: l, Data: []byte(data)}).Handles[0]
}

// bears is what authenticate says. It never fails.
func (p *peer) bears(by, capsule uint64) bool {
	p.t.Helper()
	return len(p.does(wire.OpAuthenticate, wire.Ask{Handles: []uint64{by, capsule}}).Data) > 0
}

// The laws of sealing, in a model: environments make seals, enclose, pass all that they
// hold to each other, drop it, and open what they can and cannot. What is opened
// depends on what the two handles stand for and on nothing else.
func TestCapsuleLaws(t *testing.T) {
	for seed := range uint64(20) {
		l := newLab(t, office(t))
		r := rand.New(rand.NewPCG(seed, 1))
		type thing struct {
			kind string // sealer, unsealer, tester, capsule, value
			seal int
			data string
		}
		type holder struct {
			env  *Env
			p    *peer
			has  map[uint64]thing
			most uint64 // the highest handle that it ever had
		}
		var all []*holder
		for range 3 {
			e, p := l.fresh("low")
			all = append(all, &holder{e, p, make(map[uint64]thing), 0})
		}
		got := func(h *holder, n uint64, x thing) {
			if _, used := h.has[n]; used {
				t.Fatalf("handle %d is given twice", n)
			}
			h.has[n], h.most = x, max(h.most, n)
		}
		// some is a handle of h, or one that it has not.
		some := func(h *holder, kinds ...string) (uint64, thing) {
			var of []uint64
			for n, x := range h.has {
				if slices.Contains(kinds, x.kind) {
					of = append(of, n)
				}
			}
			slices.Sort(of)
			if len(of) == 0 || r.IntN(8) == 0 {
				n := []uint64{0, r.Uint64(), h.most + 1 + uint64(r.IntN(100)), uint64(r.IntN(int(h.most) + 1))}[r.IntN(4)]
				return n, h.has[n]
			}
			n := of[r.IntN(len(of))]
			return n, h.has[n]
		}
		seals := 0
		for step := range 300 {
			h := all[r.IntN(len(all))]
			switch r.IntN(8) {
			case 0:
				seals++
				a, b, c := h.p.newSeal()
				got(h, a, thing{"sealer", seals, ""})
				got(h, b, thing{"unsealer", seals, ""})
				got(h, c, thing{"tester", seals, ""})
			case 1, 2:
				n, x := some(h, "sealer")
				data := strings.Repeat(fmt.Sprint(step), r.IntN(20))
				code, told := h.p.do(wire.OpEnclose, wire.Ask{Handles: []uint64{n}, Data: []byte(data)})
				switch {
				case x.kind != "sealer" && (code != wire.Denied || len(told.Data) > 0):
					t.Fatalf("enclose with a handle of %q: %v %s", x.kind, code, told.Data)
				case x.kind == "sealer" && code != wire.OK:
					t.Fatalf("enclose: %v", code)
				case code == wire.OK:
					got(h, told.Handles[0], thing{"capsule", x.seal, data})
				}
			case 3:
				v := h.p.does(wire.OpSeal, wire.Ask{Data: []byte("value")})
				got(h, v.Handles[0], thing{"value", 0, ""})
			case 4:
				to := all[r.IntN(len(all))]
				if n, x := some(h, "sealer", "unsealer", "tester", "capsule"); x.kind != "" {
					got(to, l.hand(h.env, to.p, n), x)
				}
			case 5:
				if n, x := some(h, "sealer", "unsealer", "tester", "capsule"); x.kind != "" && r.IntN(3) == 0 {
					h.p.does(wire.OpDrop, wire.Ask{Handles: []uint64{n}})
					delete(h.has, n)
				}
			case 6:
				u, x := some(h, "unsealer", "tester", "sealer")
				c, y := some(h, "capsule", "value")
				code, told := h.p.do(wire.OpDisclose, wire.Ask{Handles: []uint64{u, c}})
				if x.kind == "unsealer" && y.kind == "capsule" && x.seal == y.seal {
					if code != wire.OK || string(told.Data) != y.data {
						t.Fatalf("disclose of %q: %v %q", y.data, code, told.Data)
					}
				} else if code != wire.Denied || len(told.Data) > 0 {
					t.Fatalf("disclose of %+v with %+v: %v %q", y, x, code, told.Data)
				}
			case 7:
				u, x := some(h, "unsealer", "tester", "sealer")
				c, y := some(h, "capsule", "value")
				want := (x.kind == "unsealer" || x.kind == "tester") && y.kind == "capsule" && x.seal == y.seal
				if got := h.p.bears(u, c); got != want {
					t.Fatalf("authenticate of %+v with %+v: %v", y, x, got)
				}
			}
		}
		for _, h := range all {
			l.m.Remove(h.env)
		}
	}
}

// A capsule is as opaque as can be: whatever is in it, all that its holder can
// do gives the same bytes.
func TestCapsulesAreOpaque(t *testing.T) {
	observe := func(data string, l label.Label) []byte {
		lab := newLab(t, office(t))
		_, maker := lab.fresh("low")
		e, holder := lab.fresh("low")
		sealer, unsealer, _ := maker.newSeal()
		capsule := maker.encloses(sealer, l, data)
		if code, told := maker.do(wire.OpDisclose, wire.Ask{Handles: []uint64{unsealer, capsule}, Mode: wire.ModeRaise}); code != wire.OK || string(told.Data) != data || told.Label != l {
			t.Fatalf("%v %v", code, told)
		}
		holder.newSeal()
		reply := holder.does(wire.OpMailbox, wire.Ask{})
		lab.m.mu.Lock()
		made := lab.m.envs["low-1"]
		lab.m.mu.Unlock()
		h := lab.hand(made, holder, capsule)
		var seen []byte
		see := func(op wire.Op, a wire.Ask) {
			holder.start(op, 0, a)
			f := holder.next()
			f.CallerBytes = nil
			seen = wire.AppendFrame(seen, &f)
		}
		see(wire.OpUnseal, wire.Ask{Handles: []uint64{h}})
		see(wire.OpRevoke, wire.Ask{Handles: []uint64{h}})
		see(wire.OpRelabel, wire.Ask{Handles: []uint64{h}})
		see(wire.OpDisclose, wire.Ask{Handles: []uint64{2, h}})
		see(wire.OpDisclose, wire.Ask{Handles: []uint64{2, h}, Mode: wire.ModeRaise})
		see(wire.OpAuthenticate, wire.Ask{Handles: []uint64{2, h}})
		see(wire.OpAuthenticate, wire.Ask{Handles: []uint64{h, h}})
		// How many of them fit into a message, a mailbox, and the holder.
		for n := 1; n < wire.MaxHandles; n++ {
			see(wire.OpPost, wire.Ask{Handles: append([]uint64{reply.Handles[0]}, slices.Repeat([]uint64{h}, n)...)})
		}
		for range 20 {
			see(wire.OpRecv, wire.Ask{Handles: reply.Handles})
		}
		for {
			objects, err := made.objects([]uint64{capsule})
			if err != nil {
				t.Fatal(err)
			}
			n, err := e.holdObject(objects[0])
			seen = fmt.Append(seen, n, err)
			if err != nil {
				break
			}
		}
		return fmt.Append(seen, e.flow.kept.bytes.Load(), made.flow.kept.bytes.Load())
	}
	want := observe("", label.Public)
	for _, tt := range []struct {
		name, data, label string
	}{
		{"long", strings.Repeat("x", MaxCapsule), "True %% True"},
		{"secret", "x", "alice %% True"},
	} {
		if got := observe(tt.data, label.MustParse(tt.label)); !bytes.Equal(got, want) {
			t.Errorf("%s: its holder can tell it from an empty and public one", tt.name)
		}
	}
}

// A capsule has a label, which is for who has its unsealer: he is told of it, and
// what it takes, and nobody else is.
func TestCapsulesHaveLabels(t *testing.T) {
	l := newLab(t, office(t))
	secret := label.MustParse("alice %% True")
	maker, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	sealer, unsealer, tester := low.newSeal()
	capsule := low.encloses(sealer, secret, "hidden")
	low.refused(wire.OpEnclose, wire.Ask{Handles: []uint64{sealer}, Label: label.MustParse("bob %% True")}, wire.Label)
	low.refused(wire.OpEnclose, wire.Ask{Handles: []uint64{sealer}, Label: label.MustParse("True %% alice")}, wire.Label)
	if text := low.refused(wire.OpEnclose, wire.Ask{Handles: []uint64{sealer}, Data: make([]byte, MaxCapsule+1)}, wire.TooLarge); !strings.Contains(text, fmt.Sprint(MaxCapsule)) {
		t.Errorf("it says %q", text)
	}
	for _, by := range []uint64{sealer, tester, capsule} {
		low.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{by, capsule}}, wire.Denied)
	}
	if text := low.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{unsealer, capsule}}, wire.Label); !strings.Contains(text, "alice") {
		t.Errorf("it says %q", text)
	}
	u, c := l.hand(maker, clerk, unsealer), l.hand(maker, clerk, capsule)
	_, other, _ := clerk.newSeal()
	clerk.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{other, c}, Mode: wire.ModeRaise}, wire.Denied)
	if told := clerk.does(wire.OpLabels, wire.Ask{}); told.Label != label.Public {
		t.Errorf("what it may not open has raised it to %v", told.Label)
	}
	told := clerk.does(wire.OpDisclose, wire.Ask{Handles: []uint64{u, c}, Mode: wire.ModeRaise})
	if string(told.Data) != "hidden" || told.Label != secret {
		t.Errorf("%q at %v", told.Data, told.Label)
	}
	if told := clerk.does(wire.OpLabels, wire.Ask{}); told.Label != secret {
		t.Errorf("it is at %v", told.Label)
	}
}

// The parts of a seal and its capsules pass through hands that can do nothing with
// them, and are what they were at their end.
func TestCapsulesTravel(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	_, high := l.fresh("low")
	sealer, unsealer, tester := low.newSeal()
	capsule := low.encloses(sealer, label.Public, "genuine")
	low.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: []uint64{capsule, tester}})
	mine := high.does(wire.OpMailbox, wire.Ask{})
	high.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: mine.Handles})

	got := clerk.does(wire.OpRecv, named("inbox")).Handles
	to := clerk.does(wire.OpRecv, named("inbox")).Handles[0]
	if !clerk.bears(got[1], got[0]) {
		t.Error("the tester does not know its capsule")
	}
	fake, _, _ := clerk.newSeal()
	forged := clerk.encloses(fake, label.Public, "genuine")
	if clerk.bears(got[1], forged) {
		t.Error("the tester takes a capsule of another seal for its own")
	}
	clerk.refused(wire.OpDisclose, wire.Ask{Handles: got}, wire.Denied)
	clerk.refused(wire.OpEnclose, wire.Ask{Handles: got[1:]}, wire.Denied)
	clerk.does(wire.OpPost, wire.Ask{Handles: []uint64{to, got[0], forged}})

	low.does(wire.OpPost, wire.Ask{Name: "tasks", Handles: []uint64{unsealer}})
	u := high.does(wire.OpTake, named("tasks")).Handles[0]
	c := high.does(wire.OpRecv, wire.Ask{Handles: mine.Handles}).Handles
	if told := high.does(wire.OpDisclose, wire.Ask{Handles: []uint64{u, c[0]}}); string(told.Data) != "genuine" {
		t.Errorf("%q", told.Data)
	}
	high.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{u, c[1]}}, wire.Denied)
	// With its last unsealer a capsule is closed for good.
	high.does(wire.OpDrop, wire.Ask{Handles: []uint64{u}})
	low.does(wire.OpDrop, wire.Ask{Handles: []uint64{unsealer}})
	high.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{u, c[0]}}, wire.Denied)
	low.refused(wire.OpDisclose, wire.Ask{Handles: []uint64{unsealer, capsule}}, wire.Denied)
}

// A hostile holder is stopped by its own bounds.
func TestCapsulesAreBounded(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	sealer, unsealer, _ := low.newSeal()
	var all []uint64
	for {
		code, told := low.do(wire.OpEnclose, wire.Ask{Handles: []uint64{sealer}, Data: []byte(fmt.Sprint(len(all)))})
		if code == wire.Busy {
			break
		}
		if code != wire.OK {
			t.Fatal(code)
		}
		all = append(all, told.Handles...)
	}
	if want := (maxHeldBytes - 3*handleBytes) / (MaxCapsule + handleBytes); len(all) != want {
		t.Errorf("it can hold %d, want %d", len(all), want)
	}
	for i, c := range all {
		if told := low.does(wire.OpDisclose, wire.Ask{Handles: []uint64{unsealer, c}}); string(told.Data) != fmt.Sprint(i) {
			t.Errorf("capsule %d is %q", i, told.Data)
		}
	}
	low.does(wire.OpDrop, wire.Ask{Handles: all[:1]})
	low.encloses(sealer, label.Public, "again")
}
