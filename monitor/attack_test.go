package monitor

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// Each test here is an attack on labels: somebody who knows a secret works together
// with somebody who may not, and both do what they like.

// Two instances of a service answer the same method. One reads a secret, which it
// may, and then is or is not there any more. The other one must not see it by what
// comes to it: neither the call that the first has not answered, nor the next ones.
func TestAttackByNotBeingThere(t *testing.T) {
	p := Policy{
		Services: []Service{
			{Name: "front", Flow: Flow{State: guard.State{Clearance: label.MustParse("alice %% True")}}},
			{
				Name:    "back",
				Flow:    Flow{State: guard.State{Clearance: label.MustParse("alice %% True")}},
				Methods: []Method{{Name: "look", Idempotent: true, Endpoint: &guard.Endpoint{Answer: label.MustParse("alice %% True")}}},
			},
		},
		Grants: []Grant{{From: "front", Kind: KindCall, To: "back.look", Rule: "m.yaml:1"}},
	}
	p.Services[0].Flow.Label = label.Public
	for _, secret := range []bool{false, true} {
		l := newLab(t, p)
		high := l.admit("back", "back-1")
		one := l.connect(high)
		one.serve("look")
		eventually(t, "it is served", func() bool { return high.self.methods["look"].servedBy(high) })
		caller := l.connect(l.admitAt("front", "front-1", "alice %% True", "alice %% True", "alice"))
		// Its own privilege lets it ask in public.
		ask := wire.Ask{Out: label.MustParseFormula("alice")}
		asked := caller.callWith("back.look", ask, "")
		first := one.called("look")

		one.fails(wire.OpRaise, wire.Ask{Label: label.MustParse("alice %% True")}, wire.Label, "method look")
		one.does(wire.OpRaise, wire.Ask{Label: label.MustParse("alice %% True"), Mode: wire.ModeForce})
		_, two := l.server("back", "back-2", "look")
		if secret {
			l.m.Remove(high)
			caller.want(asked, wire.Interrupted, "")
		}
		two.quiet()
		for range 4 { // all of these are for the second one, in either case
			caller.callWith("back.look", ask, "")
			f := two.called("look")
			two.reply(f.ID, wire.OK, "")
			caller.next()
		}
		if !secret {
			one.reply(first.ID, wire.OK, "late")
			if f := caller.next(); f.ID != asked || f.Code != wire.OK {
				t.Errorf("what it was asked before it rose, it may answer still: %v", f.Code)
			}
		}
	}
}

// Asbestos raised whoever received, by the label of the message: a high environment
// sent something to those of n low ones whose bit was set, and what the others could
// still say afterwards was n bits of the secret (reference flow.md 10.2). Here the
// label of nobody changes who has not asked for it, and then by that of the mailbox,
// whatever is in it.
func TestAttackThroughLabels(t *testing.T) {
	const bits = 8
	secret := label.MustParse("alice %% True")
	for name, asks := range map[string][]wire.Mode{
		"nobody receives":              nil,
		"all receive":                  {0},
		"all receive, and are raised":  {wire.ModeRaise},
		"all receive, raised by force": {wire.ModeRaise | wire.ModeForce},
	} {
		t.Run(name, func(t *testing.T) {
			collect := func(word uint) (seen []string) {
				l := newLab(t, office(t))
				e, high := l.fresh("high")
				var all []*peer
				for i := range bits {
					low, p := l.fresh("low")
					box := p.does(wire.OpMailbox, wire.Ask{Label: secret}).Handles[0]
					objects, err := low.objects([]uint64{box})
					if err != nil {
						t.Fatal(err)
					}
					handles, err := e.holdObjects(objects)
					if err != nil {
						t.Fatal(err)
					}
					if word>>i&1 == 1 {
						high.does(wire.OpPost, wire.Ask{Handles: handles, Data: []byte("you")})
					}
					all = append(all, p)
				}
				for i, p := range all {
					for _, mode := range asks {
						code, _ := p.do(wire.OpRecv, wire.Ask{Handles: []uint64{1}, Mode: mode})
						if mode == 0 {
							seen = append(seen, code.String())
						}
					}
					code, _ := p.do(wire.OpPost, post("inbox", fmt.Sprint("I am ", i)))
					told := p.does(wire.OpLabels, wire.Ask{})
					if told.Label == label.Public {
						seen = append(seen, code.String())
					}
				}
				_, collector := l.fresh("clerk")
				for range 4 { // as many as the inbox keeps
					code, told := collector.do(wire.OpRecv, named("inbox"))
					seen = append(seen, fmt.Sprintf("%v %s %v", code, told.Data, told.Caller))
				}
				return seen
			}
			none := collect(0)
			for _, word := range []uint{0xff, 0x01, 0xa5, 0x80} {
				if got := collect(word); !slices.Equal(got, none) {
					t.Errorf("a secret of %08b is seen as\n%q\nand none as\n%q", word, got, none)
				}
			}
		})
	}
}

// Who has read a secret of bob's makes of a value of alice's, with her privilege, one
// that is public: that he did so would be bob's secret in public, so his own label is
// compared too (reference flow.md 7.2). The same of a seal, a capsule, a mailbox and a
// delegation.
func TestAttackByMaking(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admitAt("front", "front-1", "alice %% True", "alice & bob %% True", "alice"))
	alice := label.MustParseFormula("alice")
	value := p.does(wire.OpSeal, wire.Ask{Label: label.MustParse("alice %% True"), Data: []byte("x")}).Handles
	sealer := p.does(wire.OpNewSeal, wire.Ask{}).Handles[:1]
	p.does(wire.OpRelabel, wire.Ask{Handles: value, Label: label.Public, Out: alice})

	p.does(wire.OpRaise, wire.Ask{Label: label.MustParse("alice & bob %% True")})
	const why = `implies "bob"`
	p.fails(wire.OpRelabel, wire.Ask{Handles: value, Label: label.Public, Out: alice}, wire.Label, why)
	p.fails(wire.OpTaint, wire.Ask{Handles: value, Out: alice}, wire.Label, why)
	p.fails(wire.OpSeal, wire.Ask{Out: alice}, wire.Label, why)
	p.fails(wire.OpEnclose, wire.Ask{Handles: sealer, Out: alice}, wire.Label, why)
	p.fails(wire.OpMailbox, wire.Ask{Out: alice}, wire.Label, why)
	p.fails(wire.OpLower, wire.Ask{Label: label.Public, Out: alice}, wire.Label, why)
}

// In LIO a principal of which each character was cut to eight bits was another's. Here
// names are compared byte by byte, and what is not text is none.
func TestAttackByName(t *testing.T) {
	l := newLab(t, bank())
	for i, tt := range []struct{ owner, other string }{
		{"A", "Ł"},               // U+0141 is A in its lower byte
		{"alice", "аlice"},       // Cyrillic
		{"é", "e\u0301"},         // composed or not
		{"alice", "Alice"},       //
		{"alice", "alice "},      //
		{"alice", "alice\u200b"}, // a space of no width
		{"alice", "ali\u00adce"}, // a hyphen that is not shown
		{"alice|bob", "alice"},   // one name, which has an operator in it
		{"a", strings.Repeat("a", label.MaxName)},
	} {
		owner, err := label.NewFormula([]string{tt.owner})
		if err != nil {
			t.Fatal(err)
		}
		other, err := label.NewFormula([]string{tt.other})
		if err != nil {
			t.Fatal(err)
		}
		flow := Flow{State: guard.State{Clearance: label.New(owner.And(other), label.True)}, Owns: owner}
		e, err := l.m.AdmitAt(wire.Identity{Service: "front", Instance: fmt.Sprintf("front-%d", i)}, flow)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.m.Remove(e) })
		p := l.connect(e)
		secret := label.New(other, label.True)
		value := p.does(wire.OpSeal, wire.Ask{Label: secret, Data: []byte("x")}).Handles
		p.fails(wire.OpUnseal, wire.Ask{Handles: value, Out: owner}, wire.Label, "object ⊑ label")
		p.fails(wire.OpUnseal, wire.Ask{Handles: value, Out: other}, wire.Label, "you own")
		p.fails(wire.OpSeal, wire.Ask{Label: label.New(label.True, other), In: owner}, wire.Label, "vouch")
		p.fails(wire.OpSeal, wire.Ask{Label: label.New(label.True, other), In: other}, wire.Label, "you own")
		p.fails(wire.OpDelegate, wire.Ask{Privilege: other}, wire.Label, "you own")
	}
	p := l.connect(l.admit("front", "front-x"))
	for _, text := range []string{"\xff %% True", "\"a\\xff\xfe\" %% True", "alice\x00 %% True", "ałice %% True", "a b %% True"} {
		id := p.ask(wire.OpSeal, "", 0, wire.AppendField(nil, wire.KeyLabel, text))
		if f := p.next(); f.ID != id || f.Code != wire.Malformed {
			t.Errorf("a label of %q: %v %q", text, f.Code, f.Body)
		}
	}
}

// Handles are numbers, and anybody can say any number: of what another environment
// has, of what one has dropped, of what is of another kind. All are one answer.
func TestAttackByGuessing(t *testing.T) {
	l := newLab(t, bank())
	mine, other := l.connect(l.admit("front", "front-1")), l.connect(l.admit("front", "front-2"))
	var dropped uint64
	for range 40 { // so that its numbers go beyond those of mine
		dropped = other.does(wire.OpSeal, wire.Ask{Data: []byte("not yours")}).Handles[0]
	}
	kept := mine.does(wire.OpSeal, wire.Ask{}).Handles[0]
	replayed := mine.does(wire.OpSeal, wire.Ask{}).Handles[0]
	mine.does(wire.OpDrop, wire.Ask{Handles: []uint64{replayed}})
	seals := mine.does(wire.OpNewSeal, wire.Ask{}).Handles

	ops := map[wire.Op]func(h uint64) wire.Ask{
		wire.OpUnseal:   func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpRelabel:  func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpTaint:    func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpPost:     func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpPut:      func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpRecv:     func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpTake:     func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpWait:     func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpKill:     func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpRevoke:   func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpEnclose:  func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{h}} },
		wire.OpDisclose: func(h uint64) wire.Ask { return wire.Ask{Handles: []uint64{seals[1], h}} },
	}
	for op, ask := range ops {
		for name, h := range map[string]uint64{
			"of another environment": dropped, "dropped": replayed, "none": 0, "the largest": ^uint64(0), "the next": seals[2] + 1,
			"a tester": seals[2],
		} {
			code, told := mine.do(op, ask(h))
			if code != wire.Denied || len(told.Data) != 0 {
				t.Errorf("%v of a handle that is %s: %v %q, want %v and no word", op, name, code, told.Data, wire.Denied)
			}
		}
	}
	// It makes no difference where in a message a handle stands, nor is anything lost.
	objects := []uint64{seals[0], dropped}
	box := mine.does(wire.OpMailbox, wire.Ask{}).Handles[0]
	mine.fails(wire.OpPost, wire.Ask{Handles: append([]uint64{box}, objects...)}, wire.Denied, "")
	mine.fails(wire.OpRecv, wire.Ask{Handles: []uint64{box}}, wire.Empty, "")
	mine.does(wire.OpUnseal, wire.Ask{Handles: []uint64{kept}})
	// A handle that was dropped is not given again.
	if h := mine.does(wire.OpSeal, wire.Ask{}).Handles[0]; h <= box {
		t.Errorf("the next handle after %d is %d", box, h)
	}
}

// Products of labels explode (reference flow.md 1.2): 3 clauses of 3 names joined seven times are 2187.
// Whoever asks for them is refused before they are made, in every operation that
// joins, and costs the monitor little.
func TestAttackByLargeLabels(t *testing.T) {
	l := newLab(t, bank())
	wide := func(of string, clauses int) label.Formula {
		var all [][]string
		for i := range clauses {
			all = append(all, []string{fmt.Sprintf("%s%02d", of, i), fmt.Sprintf("%s%02d'", of, i)})
		}
		f, err := label.NewFormula(all...)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	large, other := wide("a", label.MaxClauses), wide("b", label.MaxClauses)
	e, err := l.m.AdmitAt(wire.Identity{Service: "front", Instance: "front-1"}, Flow{
		State: guard.State{Label: label.New(label.True, large), Clearance: label.Top}, Owns: large,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.m.Remove(e) })
	p := l.connect(e)
	mine := p.does(wire.OpSeal, wire.Ask{Label: label.New(label.True, large), Data: []byte("x")}).Handles
	foreign := (&value{label.New(label.True, other), []byte("y")})
	theirs, err := e.holdObjects([]object{foreign})
	if err != nil {
		t.Fatal(err)
	}
	capsules := p.does(wire.OpNewSeal, wire.Ask{}).Handles
	sealed, err := held[sealer](e, capsules[0])
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := e.holdObjects([]object{&capsule{seal: sealed.of, label: label.New(label.True, other)}})
	if err != nil {
		t.Fatal(err)
	}

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 20
	for range rounds {
		raise := wire.ModeRaise
		p.fails(wire.OpTaint, wire.Ask{Handles: mine, Label: label.New(label.True, other)}, wire.Label, "over the bound")
		p.fails(wire.OpUnseal, wire.Ask{Handles: theirs, Mode: raise}, wire.Label, "over the bound")
		p.fails(wire.OpDisclose, wire.Ask{Handles: []uint64{capsules[1], hidden[0]}, Mode: raise}, wire.Label, "over the bound")
		p.fails(wire.OpUnseal, wire.Ask{Handles: theirs}, wire.Label, "object ⊑ label")
		p.does(wire.OpUnseal, wire.Ask{Handles: theirs, In: large}) // its own word, openly given
		p.fails(wire.OpRaise, wire.Ask{Label: label.New(label.True, other)}, wire.Label, "label ⊑ new label")
		p.fails(wire.OpDelegate, wire.Ask{Privilege: other}, wire.Label, "you own")
		id := p.ask(wire.OpTaint, "", 0, wire.AppendField(wire.AppendUint(nil, wire.KeyHandle, mine[0]), wire.KeyLabel,
			"True %% "+strings.Repeat("((a & b & c & d) | ", 20)+"e"+strings.Repeat(")", 20)))
		if f := p.next(); f.ID != id || f.Code != wire.Malformed && f.Code != wire.Label {
			t.Fatalf("a deep label: %v %q", f.Code, f.Body)
		}
		id = p.ask(wire.OpRaise, "", 0, wire.AppendField(nil, wire.KeyLabel, "True %% "+product(8)))
		if f := p.next(); f.ID != id || f.Code != wire.Malformed || !strings.Contains(string(f.Body), "over the bound") {
			t.Fatalf("a label of a product: %v %q", f.Code, f.Body)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 8<<20 {
		t.Errorf("a round of refused operations allocates %d bytes", each)
	}
	if now := p.does(wire.OpLabels, wire.Ask{}); now.Label != label.New(label.True, large) {
		t.Errorf("it is at %v now", now.Label)
	}
}

// product is the text of an or of n ands of 3.
func product(n int) string {
	var ands []string
	for i := range n {
		ands = append(ands, fmt.Sprintf("(x%d & y%d & z%d)", i, i, i))
	}
	return strings.Join(ands, " | ")
}

// Whoever is above does as much as it may of everything that is bounded. Whoever is
// below then gets the same answers as before, with the same handles.
func TestAttackByExhaustion(t *testing.T) {
	secret := label.MustParse("alice %% True")
	observe := func(exhaust bool) (seen []string) {
		l := newLab(t, office(t))
		high, p := l.fresh("high")
		low, q := l.fresh("low")
		_, clerk := l.fresh("clerk")
		if exhaust {
			box := p.does(wire.OpMailbox, wire.Ask{Label: secret}).Handles[0]
			for i := 1; ; i++ {
				if code, _ := p.do(wire.OpMailbox, wire.Ask{Label: secret}); code == wire.Busy {
					break
				} else if i > MaxMailboxes {
					t.Fatalf("mailbox %d: %v", i, code)
				}
			}
			for i := 0; ; i++ {
				if code, _ := p.do(wire.OpPut, post("cases", "x")); code == wire.Busy {
					break
				} else if i > 100 {
					t.Fatalf("put %d: %v", i, code)
				}
			}
			for range 3 * DefaultMessages {
				p.does(wire.OpPost, wire.Ask{Handles: []uint64{box}, Data: []byte("x")})
				p.does(wire.OpPost, post("secrets", "x"))
			}
			for range MaxInFlight {
				p.start(wire.OpRecv, time.Hour, wire.Ask{Handles: []uint64{box}}) // first what is there comes
			}
			eventually(t, "it waits for as much as it may", func() bool { return high.inFlight.Load() >= MaxInFlight-3*DefaultMessages })
			for high.holds() < MaxHandles {
				if _, err := high.holdObject(&value{secret, make([]byte, 8<<10)}); err != nil {
					break // of bytes there are too many
				}
			}
			high.records.mu.Lock()
			high.records.spent, high.records.since = 2*freeRecords, time.Now()
			high.records.mu.Unlock()
		}
		see := func(p *peer, op wire.Op, a wire.Ask) {
			code, told := p.do(op, a)
			seen = append(seen, fmt.Sprintf("%v %v %v %s", op, code, told.Handles, told.Data))
		}
		see(q, wire.OpMailbox, wire.Ask{})
		see(q, wire.OpSeal, wire.Ask{Label: secret, Data: []byte("x")})
		see(q, wire.OpPost, post("secrets", "x"))
		see(q, wire.OpPost, post("cases", "x"))
		see(q, wire.OpPost, post("inbox", "x"))
		see(q, wire.OpPut, post("tasks", "x"))
		see(q, wire.OpPut, post("cases", "x"))
		see(q, wire.OpTake, named("tasks"))
		see(q, wire.OpNewSeal, wire.Ask{})
		see(q, wire.OpDelegate, wire.Ask{})
		see(clerk, wire.OpRecv, named("inbox"))
		low.records.mu.Lock()
		spent := low.records.spent
		low.records.mu.Unlock()
		if spent > 10 {
			t.Errorf("%d records are counted against who has made none", spent)
		}
		return seen
	}
	if idle, busy := observe(false), observe(true); !slices.Equal(idle, busy) {
		t.Errorf("while nobody is busy\n%q\nand else\n%q", idle, busy)
	}
}

// A name that was not granted, and one that is not there, are the same to whoever
// asks, whatever is behind it.
func TestAttackByProbing(t *testing.T) {
	l := newLab(t, office(t))
	_, p := l.fresh("stranger")
	for _, op := range []wire.Op{wire.OpPost, wire.OpPut, wire.OpRecv, wire.OpTake} {
		want, told := p.do(op, named("nowhere"))
		for _, mode := range []wire.Mode{0, wire.ModeRaise} {
			for _, name := range []string{"inbox", "secrets", "tasks", "cases"} {
				a := named(name)
				if op == wire.OpRecv || op == wire.OpTake {
					a.Mode = mode
				}
				if code, got := p.do(op, a); code != want || string(got.Data) != string(told.Data) {
					t.Errorf("%v of %s: %v %q, of one that is not there: %v %q", op, name, code, got.Data, want, told.Data)
				}
			}
		}
	}
}
