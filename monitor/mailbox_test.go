package monitor

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// office is the policy of the tests of mailboxes: low knows nothing and may come to
// know what alice does, high does, and alice owns that.
func office(t testing.TB) Policy {
	secret := label.MustParse("alice %% True")
	grant := func(from string, kind Kind, to string) Grant {
		return Grant{From: from, Kind: kind, To: to, Rule: "office.yaml:1"}
	}
	released := grant("alice", KindPost, "released")
	released.Out = label.MustParseFormula("alice")
	return Policy{
		Services: []Service{
			{Name: "low", Flow: Flow{State: guard.State{Clearance: secret}}},
			{Name: "high", Flow: Flow{State: guard.State{Label: secret, Clearance: secret}}},
			{Name: "alice", Flow: Flow{State: guard.State{Label: secret, Clearance: secret}, Owns: label.MustParseFormula("alice")}},
			{Name: "clerk", Flow: Flow{State: guard.State{Clearance: secret}}},
			{Name: "stranger"},
		},
		Mailboxes: []Mailbox{
			{Name: "inbox", Owner: "clerk", Messages: 4, MessageBytes: 1000},
			{Name: "secrets", Owner: "clerk", Label: secret},
			{Name: "released", Owner: "low"},
			{Name: "tasks", Messages: 2},
			{Name: "cases", Label: secret, Messages: 2},
			{Name: "large", Owner: "clerk", Messages: 2, MessageBytes: MaxMessageBytes},
		},
		Grants: []Grant{
			grant("low", KindPost, "inbox"), grant("low", KindPost, "secrets"), grant("low", KindPost, "tasks"), grant("low", KindPut, "tasks"),
			grant("low", KindTake, "tasks"), grant("low", KindPost, "cases"), grant("low", KindPut, "cases"), grant("low", KindTake, "cases"), grant("low", KindPost, "large"),
			grant("high", KindPost, "inbox"), grant("high", KindPost, "secrets"), grant("high", KindPost, "tasks"), grant("high", KindPut, "tasks"),
			grant("high", KindTake, "tasks"), grant("high", KindPut, "cases"), grant("high", KindTake, "cases"),
			grant("alice", KindPost, "inbox"), grant("alice", KindPut, "tasks"), grant("alice", KindTake, "tasks"), released,
			grant("clerk", KindTake, "tasks"), grant("clerk", KindTake, "cases"),
		},
	}
}

// came is the answer to an operation on labels.
func (p *peer) came(id uint64) (wire.Code, wire.Told) {
	p.t.Helper()
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id {
		p.t.Fatalf("got %v %d %v %.80q, want the reply to %d", f.Op, f.ID, f.Code, f.Body, id)
	}
	if f.Code != wire.OK {
		return f.Code, wire.Told{Data: f.Body}
	}
	told, err := wire.ParseTold(f.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return f.Code, told
}

// start asks for an operation on labels.
func (p *peer) start(op wire.Op, timeout time.Duration, a wire.Ask) uint64 {
	p.t.Helper()
	return p.ask(op, "", timeout, a.Append(nil, op))
}

// do asks for an operation on labels and waits for its answer.
func (p *peer) do(op wire.Op, a wire.Ask) (wire.Code, wire.Told) {
	p.t.Helper()
	return p.came(p.start(op, 0, a))
}

// refused is do for what must not.
func (p *peer) refused(op wire.Op, a wire.Ask, want wire.Code) string {
	p.t.Helper()
	code, told := p.do(op, a)
	if code != want {
		p.t.Fatalf("%v: %v %s, want %v", op, code, told.Data, want)
	}
	return string(told.Data)
}

func named(name string) wire.Ask { return wire.Ask{Name: name} }

func post(name, data string) wire.Ask { return wire.Ask{Name: name, Data: []byte(data)} }

// fresh is a new instance of service, and a connection of it.
func (l *lab) fresh(service string) (*Env, *peer) {
	l.t.Helper()
	l.instances++
	e := l.admit(service, fmt.Sprintf("%s-%d", service, l.instances))
	return e, l.connect(e)
}

// TestMailTable tries each operation of each service on each mailbox. What is
// not granted and what does not exist are the same.
func TestMailTable(t *testing.T) {
	l := newLab(t, office(t))
	l.fresh("clerk")
	want := map[string]string{
		// what low sends up it cannot have back, nor learn what became of it
		"low post inbox": "ok", "low post secrets": "ok", "low post tasks": "ok", "low post large": "ok", "low post cases": "ok",
		"low put tasks": "ok", "low take tasks": "ok", "low put cases": "forbidden by a label", "low take cases": "forbidden by a label",
		"low recv released": "ok",
		// high can tell nobody below
		"high post inbox": "forbidden by a label", "high post secrets": "ok", "high post tasks": "forbidden by a label",
		"high put tasks": "forbidden by a label", "high take tasks": "forbidden by a label", "high put cases": "ok", "high take cases": "ok",
		// alice could, but says so only for one mailbox
		"alice post inbox": "forbidden by a label", "alice post released": "ok",
		"alice put tasks": "forbidden by a label", "alice take tasks": "forbidden by a label",
		"clerk recv inbox": "ok", "clerk recv large": "ok", "clerk recv secrets": "forbidden by a label",
		"clerk take tasks": "ok", "clerk take cases": "forbidden by a label",
	}
	for _, service := range []string{"low", "high", "alice", "clerk", "stranger"} {
		for _, op := range []wire.Op{wire.OpPost, wire.OpPut, wire.OpRecv, wire.OpTake} {
			for _, name := range []string{"inbox", "secrets", "released", "tasks", "cases", "large", "absent"} {
				for _, b := range l.m.policy.Load().mailboxes { // one message in each
					b.mu.Lock()
					b.queue = []message{{from: wire.Identity{Service: "low"}, data: []byte("x")}}
					b.held = 0
					b.readers = nil
					b.mu.Unlock()
				}
				e, p := l.fresh(service)
				l.decisions()
				row := fmt.Sprint(service, " ", op, " ", name)
				code, told := p.do(op, wire.Ask{Name: name})
				wanted := want[row]
				if wanted == "" {
					wanted = "denied"
					if len(told.Data) > 0 {
						t.Errorf("%s: denied, and says %q", row, told.Data)
					}
				}
				if code.String() != wanted {
					t.Errorf("%s: %v %s, want %s", row, code, told.Data, wanted)
				}
				records := l.decisions()
				if len(records) != 1 || records[0].Op != op.String() || records[0].Object != name || (records[0].Verdict == audit.Allow) != (code == wire.OK) {
					t.Errorf("%s: recorded as %+v", row, records)
				} else if r := records[0]; r.Labels == nil && r.Rule != noGrant && (service != "low" && service != "clerk") {
					t.Errorf("%s: recorded without labels: %+v", row, r)
				}
				l.m.Remove(e)
			}
		}
	}
}

// A message comes with its data, its sender as the monitor knows it, and its
// handles, in the order of sending, and once.
func TestMessages(t *testing.T) {
	l := newLab(t, office(t))
	sender, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	v := low.does(wire.OpSeal, wire.Ask{Label: label.MustParse("alice %% True"), Data: []byte("sealed")})
	low.does(wire.OpPost, post("inbox", "one"))
	low.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: []uint64{v.Handles[0], v.Handles[0]}, Data: []byte("two")})
	low.does(wire.OpPost, post("inbox", ""))
	for i, want := range []struct {
		data    string
		handles int
	}{{"one", 0}, {"two", 2}, {"", 0}} {
		told := clerk.does(wire.OpRecv, named("inbox"))
		if told.Label != label.Public || string(told.Data) != want.data || len(told.Handles) != want.handles || told.Caller == nil || told.Caller.Service != "low" || told.Caller.Instance != sender.id.Instance {
			t.Errorf("message %d: %+v, caller %+v", i, told, told.Caller)
		}
		for _, h := range told.Handles {
			if text := clerk.refused(wire.OpUnseal, wire.Ask{Handles: []uint64{h}}, wire.Label); !strings.Contains(text, "alice") {
				t.Errorf("unseal says %q", text)
			}
		}
		if want.handles == 0 {
			continue
		}
		got := clerk.does(wire.OpUnseal, wire.Ask{Handles: told.Handles[:1], Mode: wire.ModeRaise})
		if string(got.Data) != "sealed" {
			t.Errorf("the value is %q", got.Data)
		}
	}
	clerk.refused(wire.OpRecv, named("inbox"), wire.Empty)
}

// Post never tells what became of a message: full, nobody there, too late.
func TestPostTellsNothing(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	for i := range 10 { // nobody is there, and room is for 4
		low.does(wire.OpPost, post("inbox", fmt.Sprint(i)))
	}
	dropped := 0
	for _, r := range l.decisions() {
		if r.Verdict == audit.Allow && r.Op == "post" && r.Object == "inbox" && strings.Contains(r.Detail, "full") {
			dropped++
		}
	}
	if dropped != 6 {
		t.Errorf("%d messages are recorded as dropped, want 6", dropped)
	}
	_, clerk := l.fresh("clerk")
	for i := range 4 {
		if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != fmt.Sprint(i) {
			t.Errorf("message %d is %q", i, told.Data)
		}
	}
	clerk.refused(wire.OpRecv, named("inbox"), wire.Empty)

	// The same for a mailbox that is gone with its owner, whose handle stays.
	owner, p := l.fresh("clerk")
	box := p.does(wire.OpMailbox, wire.Ask{})
	_, taker := l.fresh("low")
	p.does(wire.OpSeal, wire.Ask{}) // another number than the taker's
	h := l.hand(owner, taker, box.Handles[0])
	taker.does(wire.OpPost, wire.Ask{Handles: []uint64{h}, Data: []byte("x")})
	l.m.Remove(owner)
	for range DefaultMessages + 1 {
		taker.does(wire.OpPost, wire.Ask{Handles: []uint64{h}, Data: []byte("x")})
	}
	taker.refused(wire.OpRecv, wire.Ask{Handles: []uint64{h}}, wire.Label)
}

// hand gives whoever is at p a handle of what h stands for, as a message would.
func (l *lab) hand(from *Env, p *peer, h uint64) uint64 {
	l.t.Helper()
	objects, err := from.objects([]uint64{h})
	if err != nil {
		l.t.Fatal(err)
	}
	hello := p.ask(wire.OpHello, "", 0, nil)
	f := p.next()
	if f.ID != hello {
		l.t.Fatal(f)
	}
	id, err := wire.ParseIdentity(f.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	l.m.mu.Lock()
	to := l.m.envs[id.Instance]
	l.m.mu.Unlock()
	got, err := to.holdObject(objects[0])
	if err != nil {
		l.t.Fatal(err)
	}
	return got
}

// What does not fit is refused with the reason, which depends on nothing but the
// message and what is fixed.
func TestTooLarge(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	low.does(wire.OpPost, post("inbox", strings.Repeat("x", 1000)))
	if text := low.refused(wire.OpPost, post("inbox", strings.Repeat("x", 1001)), wire.TooLarge); !strings.Contains(text, "1000") {
		t.Errorf("it says %q", text)
	}
	for range 10 { // also if it is full
		low.does(wire.OpPost, post("inbox", "x"))
	}
	low.refused(wire.OpPost, post("inbox", strings.Repeat("x", 1001)), wire.TooLarge)

	// The largest, with all that a message can carry, comes out in one frame.
	most := wire.Ask{Name: "large", Data: bytes.Repeat([]byte("x"), wire.MaxBody-maxEnvelope-len(label.Public.String()))}
	v := low.does(wire.OpSeal, wire.Ask{Data: []byte("v")})
	for range wire.MaxHandles {
		most.Handles = append(most.Handles, v.Handles[0])
	}
	low.does(wire.OpPost, most)
	if told := clerk.does(wire.OpRecv, named("large")); len(told.Data) != len(most.Data) || len(told.Handles) != wire.MaxHandles {
		t.Errorf("got %d bytes and %d handles", len(told.Data), len(told.Handles))
	}
	most.Data = append(most.Data, 'x')
	low.refused(wire.OpPost, most, wire.TooLarge)

	// So does the largest value.
	big := low.does(wire.OpSeal, wire.Ask{Data: make([]byte, wire.MaxBody-100)})
	low.does(wire.OpPost, wire.Ask{Name: "secrets", Handles: big.Handles})
	three := slices.Repeat(big.Handles, 3)
	low.does(wire.OpPost, wire.Ask{Name: "secrets", Handles: three}) // 3 of the 4 MiB that it keeps
	low.refused(wire.OpPost, wire.Ask{Name: "inbox", Handles: three}, wire.TooLarge)
}

// The largest message of a sender whose name is as long as it can be fits, too.
func TestEnvelope(t *testing.T) {
	id := wire.Identity{
		Service: strings.Repeat("s", wire.MaxService), Instance: strings.Repeat("i", wire.MaxInstance),
		Principal: strings.Repeat("p", wire.MaxPrincipal), Bound: make([]byte, wire.MaxBound),
	}
	l := label.MustParse(strings.Repeat("a", label.MaxName) + " %% " + strings.Repeat("b", label.MaxName) + "& c")
	told := wire.Told{Label: l, Caller: &id, Data: make([]byte, newMailbox(Mailbox{Label: l, MessageBytes: MaxMessageBytes}).messageBytes)}
	for range wire.MaxHandles {
		told.Handles = append(told.Handles, 1<<63)
	}
	if code, _ := answerOf(&told, nil); code != wire.OK {
		t.Errorf("such a message is %v to its receiver", code)
	}
}

// Nobody can use what he has no handle of, whoever else has, and however he
// guesses.
func TestForgedHandles(t *testing.T) {
	l := newLab(t, office(t))
	owner, p := l.fresh("clerk")
	box := p.does(wire.OpMailbox, wire.Ask{})
	_, other := l.fresh("low")
	denied := wire.Ask{Handles: []uint64{box.Handles[0]}}
	guesses := []uint64{0, 1, 2, 3, 1 << 32, 1<<64 - 1}
	for _, op := range []wire.Op{wire.OpPost, wire.OpPut, wire.OpRecv, wire.OpTake} {
		other.refused(op, denied, wire.Denied)
		for _, h := range guesses {
			other.refused(op, wire.Ask{Handles: []uint64{h}}, wire.Denied)
		}
	}
	for _, h := range guesses { // nor send what he has not
		other.refused(wire.OpPost, wire.Ask{Name: "inbox", Handles: []uint64{h}}, wire.Denied)
	}
	// A handle of something else is no mailbox.
	v := other.does(wire.OpSeal, wire.Ask{})
	other.refused(wire.OpPost, wire.Ask{Handles: v.Handles}, wire.Denied)
	// Who has been given one can send, and nothing else.
	h := l.hand(owner, other, box.Handles[0])
	other.does(wire.OpPost, wire.Ask{Handles: []uint64{h}, Data: []byte("x")})
	for _, op := range []wire.Op{wire.OpPut, wire.OpRecv, wire.OpTake} {
		other.refused(op, wire.Ask{Handles: []uint64{h}}, wire.Label)
	}
	if told := p.does(wire.OpRecv, wire.Ask{Handles: box.Handles}); string(told.Data) != "x" {
		t.Errorf("the owner got %q", told.Data)
	}
	// Once dropped it is gone.
	other.does(wire.OpDrop, wire.Ask{Handles: []uint64{h}})
	other.refused(wire.OpPost, wire.Ask{Handles: []uint64{h}}, wire.Denied)
}

// An owner's handle in a message is one to send to it, even for the owner.
func TestOwnersHandleTravelsAsAnothers(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	reply := low.does(wire.OpMailbox, wire.Ask{})
	low.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: reply.Handles})
	got := clerk.does(wire.OpRecv, named("inbox"))
	clerk.refused(wire.OpRecv, wire.Ask{Handles: got.Handles}, wire.Label)
	clerk.does(wire.OpPost, wire.Ask{Handles: got.Handles, Data: []byte("answer")})
	if told := low.does(wire.OpRecv, wire.Ask{Handles: reply.Handles}); string(told.Data) != "answer" || told.Caller.Service != "clerk" {
		t.Errorf("got %q of %v", told.Data, told.Caller)
	}
	low.does(wire.OpPost, wire.Ask{Handles: []uint64{reply.Handles[0], reply.Handles[0]}})
	self := low.does(wire.OpRecv, wire.Ask{Handles: reply.Handles})
	low.refused(wire.OpRecv, wire.Ask{Handles: self.Handles}, wire.Label)
	// It ends with the handle of its owner, whoever has another.
	low.does(wire.OpDrop, wire.Ask{Handles: reply.Handles})
	low.does(wire.OpPost, wire.Ask{Handles: self.Handles})
	clerk.does(wire.OpPost, wire.Ask{Handles: got.Handles})
	low.refused(wire.OpRecv, wire.Ask{Handles: reply.Handles}, wire.Denied)
}

// Mailboxes are made where their maker began, and at what it may write.
func TestMakeMailbox(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	secret := wire.Ask{Label: label.MustParse("alice %% True")}
	low.refused(wire.OpMailbox, wire.Ask{Label: label.MustParse("bob %% True")}, wire.Label)
	low.refused(wire.OpMailbox, wire.Ask{Label: label.MustParse("True %% alice")}, wire.Label)
	low.does(wire.OpMailbox, wire.Ask{})
	up := low.does(wire.OpMailbox, secret)
	low.refused(wire.OpRecv, wire.Ask{Handles: up.Handles}, wire.Label) // it cannot read what is sent to it
	low.does(wire.OpRaise, secret)
	low.refused(wire.OpMailbox, secret, wire.Label) // where it began others would see that it made one
	low.refused(wire.OpRecv, wire.Ask{Handles: up.Handles}, wire.Empty)
	_, high := l.fresh("high")
	high.does(wire.OpMailbox, secret)
	high.refused(wire.OpMailbox, wire.Ask{}, wire.Label)
	_, alice := l.fresh("alice")
	alice.refused(wire.OpMailbox, wire.Ask{}, wire.Label)
	alice.does(wire.OpMailbox, wire.Ask{Out: label.MustParseFormula("alice")})
	_, stranger := l.fresh("stranger")
	stranger.refused(wire.OpMailbox, wire.Ask{Out: label.MustParseFormula("alice")}, wire.Label)
}

// Thousands of mailboxes are refused when they are too many, lose nothing, and are
// there again when they are dropped.
func TestThousandsOfMailboxes(t *testing.T) {
	l := newLab(t, office(t))
	e := l.admit("low", "low-1")
	e.records = ration{spent: -1 << 20, since: time.Now().Add(time.Hour)} // this is not about waiting
	low := l.connect(e)
	var boxes []uint64
	for range 3000 {
		code, told := low.do(wire.OpMailbox, wire.Ask{})
		if code == wire.OK {
			boxes = append(boxes, told.Handles...)
			continue
		}
		if code != wire.Busy {
			t.Fatalf("%v %s", code, told.Data)
		}
	}
	if len(boxes) != MaxMailboxes {
		t.Errorf("%d mailboxes, want %d", len(boxes), MaxMailboxes)
	}
	for i, h := range boxes {
		low.does(wire.OpPost, wire.Ask{Handles: []uint64{h}, Data: []byte(fmt.Sprint(i))})
	}
	for i, h := range boxes {
		if told := low.does(wire.OpRecv, wire.Ask{Handles: []uint64{h}}); string(told.Data) != fmt.Sprint(i) {
			t.Errorf("mailbox %d has %q", i, told.Data)
		}
	}
	low.does(wire.OpDrop, wire.Ask{Handles: boxes[:1]})
	low.does(wire.OpMailbox, wire.Ask{})
	low.refused(wire.OpMailbox, wire.Ask{}, wire.Busy)
}

// Recv waits for what comes, within its time, and a put for room.
func TestWaiting(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	id := clerk.start(wire.OpRecv, patience, named("inbox"))
	clerk.quiet()
	low.does(wire.OpPost, post("inbox", "late"))
	if code, told := clerk.came(id); code != wire.OK || string(told.Data) != "late" {
		t.Errorf("%v %q", code, told.Data)
	}
	if code, _ := clerk.came(clerk.start(wire.OpRecv, time.Millisecond, named("inbox"))); code != wire.Empty {
		t.Errorf("nothing came, and the answer is %v", code)
	}

	for i := range 2 {
		low.does(wire.OpPut, post("tasks", fmt.Sprint(i)))
	}
	low.refused(wire.OpPut, post("tasks", "2"), wire.Busy)
	if code, _ := low.came(low.start(wire.OpPut, time.Millisecond, post("tasks", "2"))); code != wire.Busy {
		t.Errorf("it stays full, and the answer is %v", code)
	}
	second, third := low.start(wire.OpPut, patience, post("tasks", "2")), low.start(wire.OpPut, patience, post("tasks", "3"))
	low.quiet()
	low.unblocked(t, clerk, "0", second)
	low.unblocked(t, clerk, "1", third)
	for _, want := range []string{"2", "3"} {
		if told := clerk.does(wire.OpTake, named("tasks")); string(told.Data) != want {
			t.Errorf("got %q, want %q", told.Data, want)
		}
	}
	l.nobodyWaits()
}

// unblocked takes a message of tasks as clerk, so that the put of p with that id ends.
func (p *peer) unblocked(t *testing.T, clerk *peer, want string, id uint64) {
	t.Helper()
	if told := clerk.does(wire.OpTake, named("tasks")); string(told.Data) != want {
		t.Errorf("got %q, want %q", told.Data, want)
	}
	if code, _ := p.came(id); code != wire.OK {
		t.Errorf("put %d: %v", id, code)
	}
}

// nobodyWaits checks that no books are left of those who waited.
func (l *lab) nobodyWaits() {
	l.t.Helper()
	eventually(l.t, "nobody waits", func() bool {
		for _, b := range l.m.policy.Load().mailboxes {
			b.mu.Lock()
			n := b.takers.count + b.putting() + len(b.entered)
			b.mu.Unlock()
			if n > 0 {
				return false
			}
		}
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		for _, e := range l.m.envs {
			e.flow.mu.Lock()
			n := len(e.flow.lasting)
			e.flow.mu.Unlock()
			if n > 0 || e.held.bytes.Load() != 0 || e.inFlight.Load() != 0 {
				return false
			}
		}
		n, _ := l.m.due()
		return n == 0
	})
}

// Who waits can be withdrawn, or end, and takes nothing with him.
func TestWaitersEnd(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	clerkEnv, clerk := l.fresh("clerk")

	id := clerk.start(wire.OpRecv, patience, named("inbox"))
	clerk.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
	if code, _ := clerk.came(id); code != wire.Canceled {
		t.Errorf("a recv that was withdrawn: %v", code)
	}
	low.does(wire.OpPost, post("inbox", "for the next"))
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "for the next" {
		t.Errorf("got %q", told.Data)
	}

	clerk.start(wire.OpRecv, patience, named("inbox"))
	clerk.start(wire.OpTake, patience, named("tasks"))
	clerk.nc.Close() // the connection ends, then the instance
	l.nobodyWaits()
	clerk = l.connect(clerkEnv)
	clerk.start(wire.OpRecv, patience, named("inbox"))
	clerk.start(wire.OpTake, patience, named("tasks"))
	l.m.Remove(clerkEnv)
	l.nobodyWaits()
	low.does(wire.OpPost, post("inbox", "survives"))
	_, clerk = l.fresh("clerk")
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "survives" {
		t.Errorf("got %q", told.Data)
	}

	// A put that was withdrawn is not in the queue, and those after it come in.
	low.does(wire.OpPut, post("tasks", "0"))
	low.does(wire.OpPut, post("tasks", "1"))
	gone := low.start(wire.OpPut, patience, post("tasks", "withdrawn"))
	last := low.start(wire.OpPut, patience, post("tasks", "2"))
	putters := func(n int) func() bool {
		b := l.m.policy.Load().mailboxes["tasks"]
		return func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.putting() == n
		}
	}
	eventually(t, "both wait", putters(2))
	low.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: gone}})
	eventually(t, "one is withdrawn", putters(1))
	if code, _ := low.came(gone); code != wire.Canceled {
		t.Errorf("a put that was withdrawn: %v", code)
	}
	low.unblocked(t, clerk, "0", last)
	for _, want := range []string{"1", "2"} {
		if told := clerk.does(wire.OpTake, named("tasks")); string(told.Data) != want {
			t.Errorf("got %q, want %q", told.Data, want)
		}
	}
	// The owner of a mailbox drops it while it waits.
	box := clerk.does(wire.OpMailbox, wire.Ask{})
	id = clerk.start(wire.OpRecv, patience, wire.Ask{Handles: box.Handles})
	drop := clerk.start(wire.OpDrop, 0, wire.Ask{Handles: box.Handles})
	if code, _ := clerk.came(id); code != wire.Denied {
		t.Errorf("recv of a mailbox that is gone: %v", code)
	}
	if code, _ := clerk.came(drop); code != wire.OK {
		t.Errorf("drop: %v", code)
	}
	l.nobodyWaits()
}

// What waits to be put counts against who waits, and not without a bound.
func TestPutsThatWaitAreBounded(t *testing.T) {
	l := newLab(t, office(t))
	e, low := l.fresh("low")
	low.does(wire.OpPut, post("tasks", "0"))
	low.does(wire.OpPut, post("tasks", "1"))
	data := strings.Repeat("x", DefaultMessageBytes)
	waiting := 0
	for {
		id := low.start(wire.OpPut, patience, post("tasks", data))
		low.ask(wire.OpHello, "", 0, nil) // its answer comes after that of the put, if that has one
		f := low.next()
		if f.ID == id {
			if f.Code != wire.Busy {
				t.Fatal(f)
			}
			low.next()
			break
		}
		waiting++
	}
	if held := e.held.bytes.Load(); held > maxHeldBytes {
		t.Errorf("%d bytes are held", held)
	}
	if most := maxHeldBytes / DefaultMessageBytes; waiting > most || waiting < most-10 {
		t.Errorf("%d wait, want about %d", waiting, most)
	}
	low.nc.Close()
	l.nobodyWaits()
}

// A raise does not end what reads, and is refused for what writes; with force it is
// cut before. A lower label ends what reads what is above.
func TestWaitsAndLabels(t *testing.T) {
	l := newLab(t, office(t))
	secret := wire.Ask{Label: label.MustParse("alice %% True")}
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")

	id := clerk.start(wire.OpRecv, patience, named("inbox"))
	clerk.does(wire.OpRaise, secret)
	low.does(wire.OpPost, post("inbox", "still"))
	if code, told := clerk.came(id); code != wire.OK || string(told.Data) != "still" {
		t.Errorf("%v %q", code, told.Data)
	}

	for _, op := range []wire.Op{wire.OpTake, wire.OpPut} {
		_, low := l.fresh("low") // one frame after the other, so that the wait comes first
		if op == wire.OpPut {
			low.does(wire.OpPut, post("tasks", "0"))
			low.does(wire.OpPut, post("tasks", "1"))
		}
		id := low.start(op, patience, named("tasks"))
		if text := low.refused(wire.OpRaise, secret, wire.Label); !strings.Contains(text, op.String()+" tasks") {
			t.Errorf("the raise is refused with %q", text)
		}
		force := secret
		force.Mode = wire.ModeForce
		raise := low.start(wire.OpRaise, 0, force)
		if code, _ := low.came(id); code != wire.Canceled {
			t.Errorf("a %v that was cut: %v", op, code)
		}
		if code, _ := low.came(raise); code != wire.OK {
			t.Errorf("the raise: %v", code)
		}
	}

	e, alice := l.fresh("alice")
	box := alice.does(wire.OpMailbox, secret)
	id = alice.start(wire.OpRecv, patience, wire.Ask{Handles: box.Handles})
	lower := wire.Ask{Out: label.MustParseFormula("alice")}
	if text := alice.refused(wire.OpLower, lower, wire.Label); !strings.Contains(text, "recv "+e.id.Instance+"/1") {
		t.Errorf("lowering is refused with %q", text)
	}
	lower.Mode = wire.ModeForce
	done := alice.start(wire.OpLower, 0, lower)
	if code, _ := alice.came(id); code != wire.Canceled {
		t.Errorf("a recv that was cut: %v", code)
	}
	if code, _ := alice.came(done); code != wire.OK {
		t.Errorf("the lowering: %v", code)
	}
	alice.does(wire.OpPost, wire.Ask{Handles: box.Handles, Data: []byte("up")})
	alice.refused(wire.OpRecv, wire.Ask{Handles: box.Handles}, wire.Label)
	alice.does(wire.OpRecv, wire.Ask{Handles: box.Handles, Mode: wire.ModeRaise})
}

// Recv with a raise raises first, as far as the label of the mailbox says, and
// stays there whether anything was found or not.
func TestRecvRaises(t *testing.T) {
	l := newLab(t, office(t))
	_, clerk := l.fresh("clerk")
	clerk.refused(wire.OpRecv, named("secrets"), wire.Label)
	l.decisions()
	clerk.refused(wire.OpRecv, wire.Ask{Name: "secrets", Mode: wire.ModeRaise}, wire.Empty)
	if r := l.decisions(); len(r) != 2 || r[0].Op != "raise" || r[0].Labels == nil || r[0].Labels.Subject != "True %% True" || r[0].Labels.Object != `"alice" %% True` {
		t.Errorf("the raise is recorded as %+v", r)
	}
	clerk.refused(wire.OpRecv, wire.Ask{Name: "secrets", Mode: wire.ModeRaise}, wire.Empty)
	if r := l.decisions(); len(r) != 1 || r[0].Op != "recv" {
		t.Errorf("what raises no more is recorded as %+v", r)
	}
	_, sender := l.fresh("high")
	sender.does(wire.OpPost, post("secrets", "x"))
	if told := clerk.does(wire.OpRecv, named("secrets")); told.Label != label.MustParse("alice %% True") {
		t.Errorf("it came from a mailbox at %v", told.Label)
	}
	if told := clerk.does(wire.OpLabels, wire.Ask{}); told.Label != label.MustParse("alice %% True") {
		t.Errorf("after an empty recv with a raise it is at %v", told.Label)
	}
	_, low := l.fresh("low")
	low.refused(wire.OpTake, wire.Ask{Name: "cases", Mode: wire.ModeRaise}, wire.Empty)
	if told := low.does(wire.OpLabels, wire.Ask{}); told.Label != label.MustParse("alice %% True") {
		t.Errorf("after an empty take with a raise it is at %v", told.Label)
	}
	// A raise that something stands in the way of is none.
	_, clerk2 := l.fresh("clerk")
	clerk2.start(wire.OpTake, patience, named("tasks"))
	clerk2.refused(wire.OpTake, wire.Ask{Name: "cases", Mode: wire.ModeRaise}, wire.Label)
	if told := clerk2.does(wire.OpLabels, wire.Ask{}); told.Label != label.Public {
		t.Errorf("after a refused raise it is at %v", told.Label)
	}
}

// The leak of consuming reads: who is above a mailbox takes a number of messages that
// depends on what he knows, and who is at its label sees how many are left.
func TestTakingTellsNobodyBelow(t *testing.T) {
	secret := wire.Ask{Label: label.MustParse("alice %% True")}
	observe := func(bit bool) (seen []string) {
		l := newLab(t, office(t))
		_, low := l.fresh("low")
		for i := range 2 {
			low.does(wire.OpPut, post("tasks", fmt.Sprint(i)))
			low.does(wire.OpPost, post("inbox", fmt.Sprint(i)))
		}
		takes := 0
		if bit {
			takes = 1
		}
		_, high := l.fresh("high")
		owner, clerk := l.fresh("clerk")
		younger, watcher := l.fresh("clerk")
		clerk.does(wire.OpRaise, secret)
		for range takes {
			high.do(wire.OpTake, named("tasks"))
			if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "0" {
				t.Errorf("the raised owner gets %q", told.Data)
			}
		}
		see := func(p *peer, op wire.Op, a wire.Ask) {
			code, told := p.do(op, a)
			seen = append(seen, fmt.Sprint(code, string(told.Data)))
		}
		see(watcher, wire.OpRecv, named("inbox")) // another instance of the owner
		see(low, wire.OpPost, post("inbox", "2"))
		see(low, wire.OpTake, named("tasks"))
		l.m.Remove(owner)
		for range 3 {
			see(watcher, wire.OpRecv, named("inbox")) // its successor
		}
		_ = younger
		return seen
	}
	no, yes := observe(false), observe(true)
	// An owner that ends above its mailbox leaves nothing, whether it has received
	// anything there or not. What its successor sees of that is that it ended.
	if !slices.Equal(no, yes) {
		t.Errorf("those below see %q or %q", no, yes)
	}
	if want := []string{"empty", "empty", "empty"}; !slices.Equal(yes[3:], want) {
		t.Errorf("what is left by who ended at a higher label is %q", yes[3:])
	}
}

// What an instance that was never above its mailbox leaves is its successor's, in order.
func TestMailSurvivesAnInstance(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	owner, clerk := l.fresh("clerk")
	_, next := l.fresh("clerk")
	for i := range 3 {
		low.does(wire.OpPost, post("inbox", fmt.Sprint(i)))
	}
	clerk.does(wire.OpRecv, named("inbox"))
	id := next.start(wire.OpRecv, patience, named("inbox"))
	next.quiet() // it is not its turn
	l.m.Remove(owner)
	if code, told := next.came(id); code != wire.OK || string(told.Data) != "1" {
		t.Errorf("%v %q", code, told.Data)
	}
	if told := next.does(wire.OpRecv, named("inbox")); string(told.Data) != "2" {
		t.Errorf("%q", told.Data)
	}
}

// A message whose handles its receiver cannot hold stays, and nothing is lost.
func TestReceiverIsFull(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	v := low.does(wire.OpSeal, wire.Ask{Data: []byte("v")})
	low.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: []uint64{v.Handles[0], v.Handles[0]}, Data: []byte("m")})
	for range MaxHandles - 1 {
		clerk.does(wire.OpSeal, wire.Ask{})
	}
	clerk.refused(wire.OpRecv, named("inbox"), wire.Busy)
	clerk.refused(wire.OpRecv, named("inbox"), wire.Busy)
	clerk.does(wire.OpDrop, wire.Ask{Handles: []uint64{1}})
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "m" || len(told.Handles) != 2 {
		t.Errorf("%q %v", told.Data, told.Handles)
	}
}

// Who posts too much is told so, and that depends on nobody else.
func TestPostsAreBounded(t *testing.T) {
	l := newLab(t, office(t))
	e := l.admit("low", "low-slow")
	e.flow.posts = newLimit(perSecond(10), "posts", "")
	low := l.connect(e)
	var codes []wire.Code
	for range 12 {
		code, _ := low.do(wire.OpPost, post("inbox", "x"))
		codes = append(codes, code)
	}
	if !slices.Contains(codes, wire.Limited) || codes[0] != wire.OK {
		t.Errorf("%v", codes)
	}
	_, clerk := l.fresh("clerk")
	clerk.does(wire.OpRecv, named("inbox"))
	low.refused(wire.OpPost, post("inbox", "x"), wire.Limited) // that one was received gives nothing back
	_, other := l.fresh("low")
	other.does(wire.OpPost, post("inbox", "x"))
	limits := 0
	for _, r := range l.decisions() {
		if r.Kind == audit.KindLimit && strings.Contains(r.Detail, "10/s") || strings.Contains(r.Detail, fmt.Sprint(postsEach)) {
			limits++
		}
	}
	if limits != 1 {
		t.Errorf("that the limit fired is recorded %d times", limits)
	}
}

// Who has privileges uses those that he names, and those that his grant names.
func TestMailWithPrivileges(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	_, alice := l.fresh("alice")
	alice.refused(wire.OpPost, post("inbox", "x"), wire.Label)
	alice.does(wire.OpPost, wire.Ask{Name: "inbox", Data: []byte("named"), Out: label.MustParseFormula("alice")})
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "named" {
		t.Errorf("%q", told.Data)
	}
	l.decisions()
	alice.does(wire.OpPost, post("released", "granted"))
	if r := l.decisions(); len(r) != 1 || r[0].Labels == nil || r[0].Labels.Out != label.MustParseFormula("alice").String() {
		t.Errorf("recorded as %+v", r)
	}
	if told := low.does(wire.OpRecv, named("released")); string(told.Data) != "granted" {
		t.Errorf("%q", told.Data)
	}
	text := low.refused(wire.OpPost, wire.Ask{Name: "inbox", Out: label.MustParseFormula("alice")}, wire.Label)
	if !strings.Contains(text, "you own") {
		t.Errorf("it says %q", text)
	}
	// A grant's privilege is of use to who owns it, and nobody else.
	e, err := l.m.AdmitAt(wire.Identity{Service: "alice", Instance: "poor"}, Flow{State: guard.State{Label: label.MustParse("alice %% True"), Clearance: label.MustParse("alice %% True")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.m.Remove(e) })
	l.connect(e).refused(wire.OpPost, post("released", "x"), wire.Label)
}

// What needs no grant does not fill the log, and is in it.
func TestPostsByHandleAreRecordedOnce(t *testing.T) {
	l := newLab(t, office(t))
	owner, p := l.fresh("clerk")
	box := p.does(wire.OpMailbox, wire.Ask{})
	e, low := l.fresh("low")
	h := l.hand(owner, low, box.Handles[0])
	l.decisions()
	count := func(kind audit.Kind) (n int) {
		for _, r := range l.decisions() {
			if r.Kind == kind && r.Instance == e.id.Instance && r.Object == owner.id.Instance+"/1" {
				n++
			}
		}
		return n
	}
	for range DefaultMessages {
		low.does(wire.OpPost, wire.Ask{Handles: []uint64{h}})
	}
	if n := count(audit.KindDecision); n != 1 {
		t.Errorf("%d records of the same", n)
	}
	for range 10 {
		low.does(wire.OpPost, wire.Ask{Handles: []uint64{h}})
	}
	eventually(t, "that messages are dropped is recorded", func() bool { return count(audit.KindLimit) == 1 })
	low.refused(wire.OpMailbox, wire.Ask{Label: label.MustParse("bob %% True")}, wire.Label)
}

// Many send to many, and each message arrives once, those of one sender in
// their order, whoever ends meanwhile.
func TestMailRace(t *testing.T) {
	l := newLab(t, office(t))
	const senders, each = 4, 200
	var wg sync.WaitGroup
	for s := range senders {
		_, low := l.fresh("low")
		wg.Go(func() {
			for i := range each {
				id := low.start(wire.OpPut, patience, post("tasks", fmt.Sprint(s, " ", i)))
				if f, err := low.read(); err != nil || f.ID != id || f.Code != wire.OK {
					t.Errorf("put: %v %v", f.Code, err)
					return
				}
			}
		})
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	for range 3 {
		_, clerk := l.fresh("clerk")
		wg.Go(func() {
			last := make(map[string]int)
			for {
				id := clerk.start(wire.OpTake, 300*time.Millisecond, named("tasks"))
				f, err := clerk.read()
				if err != nil || f.ID != id {
					t.Errorf("take: %v %v", f, err)
					return
				}
				if f.Code == wire.Empty {
					mu.Lock()
					n := len(seen)
					mu.Unlock()
					if n == senders*each {
						return
					}
					continue
				}
				told, err := wire.ParseTold(f.Body)
				if err != nil {
					t.Error(err)
					return
				}
				var i int
				var from string
				fmt.Sscan(string(told.Data), &from, &i)
				if before, ok := last[from]; ok && i <= before {
					t.Errorf("sender %s: %d comes after %d", from, i, before)
				}
				last[from] = i
				mu.Lock()
				seen[string(told.Data)]++
				mu.Unlock()
			}
		})
	}
	// Meanwhile others come and go, wait, and are cut.
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for range 2 {
		churn.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				l.mu.Lock()
				e, p := l.fresh("clerk")
				l.mu.Unlock()
				p.start(wire.OpRecv, patience, named("inbox"))
				p.start(wire.OpRecv, time.Millisecond, named("large"))
				switch i % 3 {
				case 0:
					p.nc.Close()
				case 1:
					p.start(wire.OpRaise, 0, wire.Ask{Label: label.MustParse("alice %% True"), Mode: wire.ModeForce})
				}
				l.m.Remove(e)
				p.nc.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	churn.Wait()
	for m, n := range seen {
		if n != 1 {
			t.Errorf("message %q was taken %d times", m, n)
		}
	}
	l.nobodyWaits()
}

func TestMailPolicyRefuses(t *testing.T) {
	for want, change := range map[string]func(*Policy){
		`policy: mailbox "Inbox": not a name`:          func(p *Policy) { p.Mailboxes[0].Name = "Inbox" },
		`policy: mailbox "inbox" stands twice`:         func(p *Policy) { p.Mailboxes[1].Name = "inbox" },
		`policy: mailbox "inbox": no service "nobody"`: func(p *Policy) { p.Mailboxes[0].Owner = "nobody" },
		`policy: mailbox "inbox": "clerk" has instances for some`: func(p *Policy) {
			p.Services[3].Instances = PerLabel
		},
		`policy: mailbox "inbox": 4097 messages`:       func(p *Policy) { p.Mailboxes[0].Messages = MaxMessages + 1 },
		`policy: mailbox "inbox": -1 messages`:         func(p *Policy) { p.Mailboxes[0].Messages = -1 },
		`policy: mailbox "inbox": messages of 1048577`: func(p *Policy) { p.Mailboxes[0].MessageBytes = MaxMessageBytes + 1 },
		`policy x:1: no mailbox "absent"`: func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "low", Kind: KindPost, To: "absent", Rule: "x:1"})
		},
		`policy x:2: take "inbox": it has an owner`: func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "low", Kind: KindTake, To: "inbox", Rule: "x:2"})
		},
		`policy x:3: put "secrets": it has an owner`: func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "low", Kind: KindPut, To: "secrets", Rule: "x:3"})
		},
		`policy office.yaml:1: post "inbox" is granted to`: func(p *Policy) { p.Grants = append(p.Grants, p.Grants[0]) },
	} {
		p := office(t)
		change(&p)
		if _, err := New(nil, p, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("New = %v, want %s…", err, want)
		}
	}
	v, err := office(t).Decide("low", "put", "tasks", false)
	if err != nil || v != (Verdict{Allowed: true, Rule: "office.yaml:1"}) {
		t.Errorf("Decide = %v, %v", v, err)
	}
	if v, err := office(t).Decide("stranger", "post", "inbox", false); err != nil || v.Allowed {
		t.Errorf("Decide = %v, %v", v, err)
	}
}

// A recv that is withdrawn just when a message comes has it, or leaves it.
func TestWithdrawnRecvLosesNothing(t *testing.T) {
	l := newLab(t, office(t))
	_, low := l.fresh("low")
	_, clerk := l.fresh("clerk")
	for i := range 500 {
		want := fmt.Sprint(i)
		id := clerk.start(wire.OpRecv, patience, named("inbox"))
		sent := low.start(wire.OpPost, 0, post("inbox", want))
		clerk.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
		if code, _ := low.came(sent); code != wire.OK {
			t.Fatal(code)
		}
		// Whoever withdraws is told whether that came too late.
		code, told := clerk.came(id)
		if code == wire.Canceled {
			told = clerk.does(wire.OpRecv, named("inbox"))
		} else if code != wire.OK {
			t.Fatalf("%d: %v", i, code)
		}
		if string(told.Data) != want {
			t.Fatalf("%d: got %q", i, told.Data)
		}
	}
	l.nobodyWaits()
}

// Who sends privileges that are too much for their receiver does not keep it from
// its other messages.
func TestPrivilegesDoNotBlockAMailbox(t *testing.T) {
	l := newLab(t, office(t))
	owns := func(prefix string) label.Formula {
		var clauses [][]string
		for i := range label.MaxClauses {
			clauses = append(clauses, []string{fmt.Sprint(prefix, i)})
		}
		f, err := label.NewFormula(clauses...)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	admit := func(service string, owns label.Formula) *peer {
		e, err := l.m.AdmitAt(wire.Identity{Service: service, Instance: service + "-rich"}, Flow{Owns: owns})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.m.Remove(e) })
		return l.connect(e)
	}
	low, clerk := admit("low", owns("l")), admit("clerk", owns("c"))
	p := low.does(wire.OpDelegate, wire.Ask{Privilege: owns("l")})
	low.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: p.Handles, Data: []byte("too much")})
	low.does(wire.OpPost, post("inbox", "next"))
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "too much" || !slices.Equal(told.Handles, []uint64{0}) {
		t.Errorf("got %q with %d", told.Data, told.Handles)
	}
	if told := clerk.does(wire.OpRecv, named("inbox")); string(told.Data) != "next" {
		t.Errorf("got %q", told.Data)
	}
}

// A privilege arrives with a message, and what waits with it is cut when it is
// taken back.
func TestMailAndRevocation(t *testing.T) {
	l := newLab(t, office(t))
	_, alice := l.fresh("alice")
	_, clerk := l.fresh("clerk")
	p := alice.does(wire.OpDelegate, wire.Ask{Privilege: label.MustParseFormula("alice"), Out: label.MustParseFormula("alice")})
	alice.does(wire.OpPost, wire.Ask{Name: "inbox", Handles: p.Handles, Out: label.MustParseFormula("alice")})
	clerk.does(wire.OpRecv, named("inbox"))
	released := wire.Ask{Name: "secrets", Out: label.MustParseFormula("alice")}
	id := clerk.start(wire.OpRecv, patience, released)
	clerk.does(wire.OpLabels, wire.Ask{})
	alice.does(wire.OpRevoke, wire.Ask{Handles: p.Handles})
	if code, told := clerk.came(id); code != wire.Canceled || len(told.Data) > 0 {
		t.Errorf("a recv with a privilege that was taken back: %v %s", code, told.Data)
	}
	clerk.refused(wire.OpRecv, released, wire.Label)
	l.nobodyWaits()
}

// Senders that do their worst fill what they send to and nothing else: what is kept
// is bounded, the owner has all that was accepted, in order, and others notice nothing.
func TestHostileSenders(t *testing.T) {
	p := office(t)
	p.Services = append(p.Services, bank().Services[:2]...)
	p.Grants = append(p.Grants, Grant{From: "front", Kind: KindCall, To: "bank.look", Rule: "m.yaml:1"})
	l := newLab(t, p)
	pp := l.politePair()
	_, clerk := l.fresh("clerk")
	id := clerk.start(wire.OpTake, patience, named("tasks"))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		e, low := l.fresh("low")
		big := low.does(wire.OpSeal, wire.Ask{Data: make([]byte, wire.MaxBody-100)}).Handles[0]
		wg.Go(func() {
			defer l.m.Remove(e)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				for _, a := range []wire.Ask{
					{Name: "large", Data: make([]byte, 900<<10)},
					{Name: "large", Handles: []uint64{big}},
					{Name: "secrets", Handles: slices.Repeat([]uint64{big}, 3)},
					{Name: "inbox", Data: []byte(fmt.Sprint(i))},
					{Name: "absent"}, {Name: "inbox", Handles: []uint64{1 << 40}}, {Handles: []uint64{big}},
				} {
					id := low.start(wire.OpPost, 0, a)
					if f, err := low.read(); err != nil || f.ID != id || f.Code != wire.OK && f.Code != wire.Denied && f.Code != wire.Busy {
						t.Errorf("post: %v %v", f.Code, err)
						return
					}
				}
			}
		})
	}
	for range 5 {
		pp.check("hostile senders")
		for name, b := range l.m.policy.Load().mailboxes {
			b.mu.Lock()
			sum := 0
			for _, m := range b.queue {
				sum += m.bytes
			}
			if b.held != sum || b.held > b.allBytes || len(b.queue) > b.allMessages || b.allBytes > 2*maxMailboxBytes {
				t.Errorf("mailbox %s has %d messages of %d bytes, says %d, and takes %d", name, len(b.queue), sum, b.held, b.bytes)
			}
			b.mu.Unlock()
		}
	}
	close(stop)
	wg.Wait()
	for range 4 {
		clerk.start(wire.OpRecv, 0, named("inbox"))
		if f := clerk.next(); f.Code != wire.OK {
			t.Errorf("what was accepted: %v", f.Code)
		}
	}
	clerk.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
	if code, _ := clerk.came(id); code != wire.Canceled {
		t.Errorf("the take of a queue that nobody put into: %v", code)
	}
}

// Who sends hands out what is there, but does not go on for as long as others send: all
// that wait are served, by whomever.
func TestManyAreServed(t *testing.T) {
	l := newLab(t, office(t))
	_, clerk := l.fresh("clerk")
	const n = 10 * maxServed
	for range n {
		clerk.start(wire.OpRecv, patience, named("large"))
	}
	clerk.does(wire.OpLabels, wire.Ask{}) // all of them wait
	b := l.m.policy.Load().mailboxes["large"]
	b.mu.Lock()
	for i := range n { // as if as many posted at once
		b.push(message{from: wire.Identity{Service: "low"}, data: fmt.Append(nil, i)})
	}
	b.mu.Unlock()
	b.serve()
	for i := range n {
		f := clerk.next()
		told, err := wire.ParseTold(f.Body)
		if err != nil || string(told.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %v %q, %v", i, f.Code, told.Data, err)
		}
	}
	l.nobodyWaits()
}
