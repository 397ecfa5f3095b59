package monitor

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/wire"
)

// putting is how many wait for room. The caller holds mu.
func (b *mailbox) putting() (n int) {
	for _, l := range b.lines {
		n += l.count
	}
	return n
}

// books tells what of the mailbox does not add up.
func (b *mailbox) books() error {
	parts, held := make(map[party]part), 0
	for _, m := range b.queue {
		has := parts[m.party()]
		parts[m.party()] = part{has.messages + 1, has.bytes + m.bytes}
		held += m.bytes
	}
	if fmt.Sprint(parts) != fmt.Sprint(b.parts) || held != b.held {
		return fmt.Errorf("it has %v, %d bytes, and says %v, %d", parts, held, b.parts, b.held)
	}
	if len(b.queue) > b.allMessages || b.held > b.allBytes {
		return fmt.Errorf("%d messages of %d bytes, at most %d and %d", len(b.queue), b.held, b.allMessages, b.allBytes)
	}
	return nil
}

// from is a message that counts for so many bytes, of a service.
func from(service string, bytes int) message {
	return message{from: wire.Identity{Service: service, Instance: service + "-1"}, bytes: bytes}
}

// offer adds m if there is room.
func (b *mailbox) offer(m message) bool {
	ok := b.room(&m)
	if ok {
		b.push(m)
	}
	return ok
}

// Alone, a sender has what was declared, to the last message and the last byte; and then there is as
// much for the next, and half of that for the one after it.
func TestRoomIsHalved(t *testing.T) {
	for _, declared := range []Mailbox{{Name: "box"}, {Name: "box", Messages: 1}, {Name: "box", Messages: MaxMessages, MessageBytes: 64}, {Name: "box", Messages: 40, MessageBytes: MaxMessageBytes}} {
		b := newMailbox(declared)
		want := b.allMessages / 2
		for i, name := range []string{"a", "b", "c"} {
			n, bytes := 0, min(b.messageBytes+envelopeBytes, b.bytes/(b.allMessages/2))
			for b.offer(from(name, bytes)) {
				n++
			}
			if least := max(want, min(1, b.allMessages-len(b.queue)+n)); i == 0 && n != want || n < least {
				t.Errorf("%+v: sender %d has room for %d messages of %d bytes, want %d", declared, i, n, bytes, least)
			}
			want /= 2
		}
		if err := b.books(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever others do, in whatever order: who has nothing there finds room as long as there is any, nobody
// gets to more than he leaves, and the books are right.
func TestRoomForAll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		b := newMailbox(Mailbox{Name: "box", Messages: 1 + r.IntN(20), MessageBytes: 100})
		b.bytes = 1 + r.IntN(4000)
		b.allBytes = 2 * b.bytes
		parties := 1 + r.IntN(6)
		for range 400 {
			m := from(fmt.Sprint(r.IntN(parties)), 1+r.IntN(b.bytes))
			if r.IntN(3) == 0 {
				m.from.Principal = fmt.Sprint("p", r.IntN(2)) // whatever the service
			}
			if len(b.queue) > 0 && r.IntN(3) == 0 {
				b.pop()
				continue
			}
			had, fits := b.parts[m.party()], len(b.queue) < b.allMessages && b.held+m.bytes <= b.allBytes
			ok := b.offer(m)
			has := b.parts[m.party()]
			switch {
			case ok && !fits, !ok && fits && had == (part{}):
				t.Fatalf("one of %d bytes by %v, who has %+v, of %d in %d: %t", m.bytes, m.party(), had, b.held, b.allBytes, ok)
			case ok && has.messages > 1 && (has.messages > b.allMessages-len(b.queue) || has.bytes > b.allBytes-b.held):
				t.Fatalf("%v has %+v and leaves %d, %d", m.party(), has, b.allMessages-len(b.queue), b.allBytes-b.held)
			}
			if err := b.books(); err != nil {
				t.Fatal(err)
			}
		}
		for len(b.queue) > 0 {
			b.pop()
		}
		if err := b.books(); err != nil || len(b.parts) > 0 {
			t.Fatalf("empty: %v, %v", err, b.parts)
		}
	}
}

// Who posts all that he can does not keep out who posts one; the log says whose messages were
// dropped and why, and nobody else is told.
func TestFloodAndOne(t *testing.T) {
	for _, own := range []bool{false, true} { // a mailbox that a program has made
		l := newLab(t, office(t))
		owner, clerk := l.fresh("clerk")
		flood, polite := l.connect(l.admitFor("low", "low-flood", "mallory")), l.connect(l.admitFor("low", "low-one", "bob"))
		ours := func(p *peer, text string) wire.Ask { return post("inbox", text) }
		declared, recv := 4, named("inbox")
		if own {
			box := clerk.does(wire.OpMailbox, wire.Ask{}).Handles[0]
			handles := map[*peer]uint64{flood: l.hand(owner, flood, box), polite: l.hand(owner, polite, box)}
			ours = func(p *peer, text string) wire.Ask {
				return wire.Ask{Handles: []uint64{handles[p]}, Data: []byte(text)}
			}
			declared, recv = DefaultMessages, wire.Ask{Handles: []uint64{box}}
		}
		for range 10 * declared {
			flood.does(wire.OpPost, ours(flood, "junk"))
		}
		for i := range declared / 2 {
			polite.does(wire.OpPost, ours(polite, fmt.Sprint(i)))
		}
		var dropped []string
		for _, r := range l.decisions() {
			if strings.Contains(r.Detail, "dropped") {
				dropped = append(dropped, r.Principal+" "+r.Detail)
			}
		}
		want := slices.Repeat([]string{"mallory dropped: it is full for who has sent it: he has as much there as he leaves for others"}, 9*declared)
		if own {
			want = []string{want[0] + "; said at most once in 1m0s"}
		}
		if !slices.Equal(dropped, want) {
			t.Errorf("on record are %d: %q", len(dropped), dropped[:min(3, len(dropped))])
		}
		junk, others := 0, 0
		for {
			code, told := clerk.do(wire.OpRecv, recv)
			if code == wire.Empty {
				break
			}
			if told.Caller.Principal == "mallory" {
				junk++
			} else if string(told.Data) != fmt.Sprint(others) {
				t.Errorf("message %d is %q", others, told.Data)
			} else {
				others++
			}
		}
		if junk != declared || others != declared/2 {
			t.Errorf("received %d of who floods and %d of the other, want %d and %d", junk, others, declared, declared/2)
		}
	}
}

// In a shared mailbox each who waits for room has his turn, whatever the others have in line.
func TestPutsTakeTurns(t *testing.T) {
	l := newLab(t, office(t))
	flood, one, two := l.connect(l.admitFor("low", "low-1", "mallory")), l.connect(l.admitFor("low", "low-2", "alice")), l.connect(l.admitFor("low", "low-3", "bob"))
	_, clerk := l.fresh("clerk")
	b := l.m.policy.Load().mailboxes["tasks"] // with 2 messages of one sender, 4 in all
	waits := func(n int) {
		t.Helper()
		eventually(t, "they wait", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.putting() == n
		})
	}
	flood.does(wire.OpPut, post("tasks", "m0"))
	flood.does(wire.OpPut, post("tasks", "m1"))
	flood.refused(wire.OpPut, post("tasks", "x"), wire.Busy)
	const flooded = 200
	for i := range flooded {
		flood.start(wire.OpPut, patience, post("tasks", fmt.Sprint("m", 2+i)))
	}
	waits(flooded)
	one.does(wire.OpPut, post("tasks", "a0")) // at once: what waits there is somebody's who has his share
	one.start(wire.OpPut, patience, post("tasks", "a1"))
	two.does(wire.OpPut, post("tasks", "b0"))
	waits(flooded + 1)
	two.start(wire.OpPut, patience, post("tasks", "b1"))
	waits(flooded + 2)
	var got []string
	for range 12 {
		got = append(got, string(clerk.does(wire.OpTake, named("tasks")).Data))
		b.mu.Lock()
		if err := b.books(); err != nil {
			t.Error(err)
		}
		b.mu.Unlock()
	}
	mine := func(of string) (all []string) {
		for _, m := range got {
			if strings.HasPrefix(m, of) {
				all = append(all, m)
			}
		}
		return all
	}
	if as, bs, ms := mine("a"), mine("b"), mine("m"); !slices.Equal(as, []string{"a0", "a1"}) || !slices.Equal(bs, []string{"b0", "b1"}) || len(ms) != 8 {
		t.Errorf("taken were %q", got)
	} else {
		for i, m := range ms {
			if m != fmt.Sprint("m", i) {
				t.Errorf("those of one sender come as %q", ms)
			}
		}
	}
	for _, p := range []*peer{flood, one, two} {
		p.nc.Close()
	}
	l.nobodyWaits()
}

// Whatever is put, withdrawn and taken: nobody waits for whom there is room, but behind one who has nothing
// there; those of one party come in their order, each once; and nobody is left in line.
func TestLinesOfPuts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		b := newMailbox(Mailbox{Name: "box", Messages: 1 + r.IntN(6), MessageBytes: 100})
		b.bytes = 10 + r.IntN(200)
		b.allBytes = 2 * b.bytes
		waiting := make(map[*wait]bool)
		next, came := make(map[string]int), make(map[string]int) // by party
		settle := func() {
			for _, w := range b.entered {
				delete(waiting, w)
			}
			b.entered = nil
			owed := false
			for _, l := range b.lines {
				if l.count == 0 || l.first.message.party() != l.of {
					t.Fatalf("a line of %v with %d, the first of %v", l.of, l.count, l.first.message.party())
				}
				none := b.parts[l.of].messages == 0
				if fits := b.room(&l.first.message); fits && !owed {
					t.Fatalf("one of %d bytes waits, and there is room beside %d of %d", l.first.bytes, b.held, b.allBytes)
				}
				owed = owed || none
			}
			if b.putting() != len(waiting) {
				t.Fatalf("%d wait, %d are in line", len(waiting), b.putting())
			}
			if err := b.books(); err != nil {
				t.Fatal(err)
			}
		}
		take := func() {
			m := b.pop()
			var n int
			fmt.Sscan(string(m.data), &n)
			if of := m.from.Service; n < came[of] {
				t.Fatalf("of %s number %d comes after %d", of, n, came[of]-1)
			} else {
				came[of] = n + 1
			}
			settle()
		}
		for range 300 {
			switch of := fmt.Sprint(r.IntN(4)); {
			case r.IntN(3) == 0 && len(b.queue) > 0:
				take()
			case r.IntN(6) == 0 && len(waiting) > 0:
				w := b.lines[r.IntN(len(b.lines))].first
				delete(waiting, w)
				b.leaveLine(w)
				b.enter()
				settle()
			default:
				m := from(of, 1+r.IntN(b.bytes))
				m.data = fmt.Append(nil, next[of])
				next[of]++
				w := &wait{errand: errand{op: opPut, box: b, message: m}}
				if b.mayEnter(w) {
					b.push(m)
				} else {
					waiting[w] = true
					b.lineUp(w)
				}
				settle()
			}
		}
		for len(b.queue) > 0 {
			take()
		}
		if len(waiting) > 0 || len(b.lines) > 0 {
			t.Fatalf("it is empty, and %d wait", len(waiting))
		}
	}
}

// A large message of who has nothing there is let in before small ones that come after it.
func TestLargePutIsNotStarved(t *testing.T) {
	b := newMailbox(Mailbox{Name: "box", Messages: 100, MessageBytes: 100})
	b.bytes, b.allBytes = 50, 100
	for _, name := range []string{"a", "b", "c", "d"} {
		b.offer(from(name, 20))
	}
	stand := func(name string, bytes int) *wait {
		w := &wait{errand: errand{op: opPut, box: b, message: from(name, bytes)}}
		if b.mayEnter(w) {
			t.Fatalf("there is room for %d bytes of %s beside %d, and for who waits", bytes, name, b.held)
		}
		b.lineUp(w)
		return w
	}
	large := stand("e", 50)
	small := stand("f", 1)
	b.pop()
	if large.done || small.done {
		t.Error("somebody is let in while there is no room for who is first")
	}
	b.pop()
	if !large.done || !small.done || b.putting() != 0 {
		t.Errorf("with room for it: large %t, small %t", large.done, small.done)
	}
	if err := b.books(); err != nil {
		t.Error(err)
	}
}

// mailed gives a mailbox rates.
func (p *Policy) mailed(name string, r Rates) {
	r.Rule = "m.yaml:70"
	p.Mailboxes = slices.Clone(p.Mailboxes)
	for i := range p.Mailboxes {
		if p.Mailboxes[i].Name == name {
			p.Mailboxes[i].Rates = r
		}
	}
}

// A mailbox's rate counts each service that sends, by post and by put together, or each
// principal; who takes is not counted.
func TestMailboxRates(t *testing.T) {
	for _, each := range []bool{false, true} {
		l := newLab(t, with(func(p *Policy) {
			rate := scarce(2)
			rate.Each = each
			p.mailed("jobs", Rates{Messages: rate})
			p.mailed("letters", Rates{Bytes: scarce(10)})
			p.Grants = append(p.Grants, Grant{From: "stranger", Kind: KindPut, To: "jobs", Rule: "m.yaml:9"})
		}))
		connect := func(service, principal string) *peer {
			return l.connect(l.admitFor(service, service+"-of-"+principal, principal))
		}
		alice, bob, stranger := connect("front", "alice"), connect("front", "bob"), connect("stranger", "alice")
		alice.does(wire.OpPut, post("jobs", "x"))
		alice.does(wire.OpPost, post("jobs", "x"))
		for range 2 {
			alice.does(wire.OpTake, named("jobs"))
		}
		want := "rate.messages: 1/h burst 2"
		if each {
			want += " per principal"
		}
		if got := alice.limited(wire.OpPut, "", putAsk("jobs", "x")); got != want {
			t.Errorf("who is refused reads %q, want %q", got, want)
		}
		alice.limited(wire.OpPost, "", putAsk("jobs", "x"))
		alice.fails(wire.OpTake, named("jobs"), wire.Empty, "")
		if each {
			stranger.limited(wire.OpPut, "", putAsk("jobs", "x"))
			bob.does(wire.OpPut, post("jobs", "x"))
		} else {
			stranger.does(wire.OpPut, post("jobs", "x"))
			bob.limited(wire.OpPut, "", putAsk("jobs", "x"))
		}
		for _, r := range l.decisions() {
			if r.Kind == audit.KindLimit && (r.Rule != "m.yaml:70" || r.Object != "jobs" || !strings.HasPrefix(r.Detail, want)) {
				t.Errorf("on record is %+v", r)
			}
		}
		alice.does(wire.OpPost, post("letters", "a message of more than ten"))
		if got := bob.limited(wire.OpPost, "", putAsk("letters", "x")); got != "rate.bytes: 1/h burst 10" {
			t.Errorf("who is refused reads %q", got)
		}
	}
}

// Beside the rate of a grant that of the mailbox counts too, and what one refuses is not taken from the other.
func TestMailboxAndGrantRates(t *testing.T) {
	l := newLab(t, with(func(p *Policy) {
		p.mailed("jobs", Rates{Messages: scarce(3)})
		p.rated("jobs", KindPut, Rates{Messages: scarce(1)})
	}))
	p := l.connect(l.admit("front", "front-1"))
	p.does(wire.OpPut, post("jobs", "x"))
	for range 5 {
		p.limited(wire.OpPut, "", putAsk("jobs", "x"))
	}
	p.does(wire.OpPost, post("jobs", "x"))
	p.does(wire.OpPost, post("jobs", "x"))
	p.limited(wire.OpPost, "", putAsk("jobs", "x"))
}

// A rate of a mailbox, or of a port, that is another holds at once: messages stay, connections stay, and
// instances are who they were. One that is the same goes on.
func TestEnforceRatesOfWhatIsProvided(t *testing.T) {
	at := func(messages, connections int64) Policy {
		return with(func(p *Policy) {
			p.mailed("jobs", Rates{Messages: scarce(messages)})
			p.ported("bank", 9000, Rates{Connections: scarce(connections)})
		})
	}
	l, in := newLab(t, at(1, 1)), newInside(t)
	front, bank := l.admit("front", "front-1"), l.admit("bank", "bank-1")
	bank.Listening(in.dial)
	p, connect := l.connect(front), relayed(t, front, "bank", 9000)
	p.does(wire.OpPut, post("jobs", "kept"))
	near := connect()
	far := in.accept(t)
	stays := func() {
		t.Helper()
		io.WriteString(near, "x")
		wantBytes(t, far, "x")
	}
	for range 2 {
		p.limited(wire.OpPut, "", putAsk("jobs", "x"))
		wantEnd(t, connect())
		if cut := l.enforce(at(1, 1)); cut.Any() {
			t.Errorf("cut %+v", cut)
		}
		stays()
	}
	if cut := l.enforce(at(2, 2)); cut.Any() {
		t.Errorf("cut %+v", cut)
	}
	stays()
	p.does(wire.OpPut, post("jobs", "x"))
	p.does(wire.OpPut, post("jobs", "x"))
	p.limited(wire.OpPut, "", putAsk("jobs", "x"))
	if told := p.does(wire.OpTake, named("jobs")); string(told.Data) != "kept" {
		t.Errorf("what was there is %q", told.Data)
	}
	for range 2 {
		connect()
		in.accept(t)
	}
	wantEnd(t, connect())
	l.enforce(with(func(*Policy) {}))
	for range 3 {
		p.does(wire.OpPost, post("jobs", "x"))
		connect()
		in.accept(t)
	}
	if bank.retired.Load() {
		t.Error("another rate is another service")
	}
}

// ported gives a port rates.
func (p *Policy) ported(service string, port int, r Rates) {
	r.Rule = "m.yaml:71"
	p.Services = slices.Clone(p.Services)
	for i := range p.Services {
		if p.Services[i].Name == service {
			p.Services[i].PortRates = map[int]Rates{port: r}
		}
	}
}

// A port's rate counts each service that connects, or each principal, whatever its own lines say.
func TestPortRates(t *testing.T) {
	for _, each := range []bool{false, true} {
		l := newLab(t, with(func(p *Policy) {
			rate := scarce(2)
			rate.Each = each
			p.ported("bank", 9000, Rates{Connections: rate})
			p.rated("bank:9000", KindConnect, Rates{Connections: scarce(100)})
			p.Grants = append(p.Grants, Grant{From: "stranger", Kind: KindConnect, To: "bank:9000", Rule: "m.yaml:9"})
		}))
		in := newInside(t)
		l.admit("bank", "bank-1").Listening(in.dial)
		from := func(service, principal string) func(ok bool) {
			connect := relayed(t, l.admitFor(service, service+"-of-"+principal, principal), "bank", 9000)
			return func(ok bool) {
				t.Helper()
				if c := connect(); ok {
					in.accept(t)
				} else {
					wantEnd(t, c)
				}
			}
		}
		alice, bob, stranger := from("front", "alice"), from("front", "bob"), from("stranger", "alice")
		alice(true)
		alice(true)
		alice(false)
		stranger(!each)
		bob(each)
		want := "front connect bank:9000 m.yaml:71 rate.connections: 1/h burst 2"
		if got := l.fired(); len(got) == 0 || !strings.HasPrefix(got[0], want) {
			t.Errorf("on record are %q, want %q first", got, want)
		}
	}
}

// Bytes of a port pass no faster than its rate, whoever the connections are of; and a program does not get a
// socket by which nobody counts them.
func TestBytesOfAPort(t *testing.T) {
	p := direct(bank())
	p.ported("bank", 9000, Rates{Bytes: Rate{Amount: 64 << 10, Per: time.Second, Burst: 64 << 10}})
	l, in := newLab(t, p), newInside(t)
	front, bank := l.admit("front", "front-1"), l.admit("bank", "bank-1")
	bank.Hands(in.dial)
	bank.Listening(in.dial)
	peer := l.connect(front)
	if c, f := peer.dialled(peer.dial("bank:9000", wire.Dial{})); c != nil || f.Code != wire.OK {
		t.Errorf("answered %v, a socket is %v, want that it is to be relayed", f.Code, c != nil)
	}
	connect := relayed(t, front, "bank", 9000)
	began := time.Now()
	for range 2 {
		near := connect()
		far := in.accept(t)
		go near.Write(make([]byte, 64<<10))
		if _, err := io.ReadFull(far, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("128K at 64K a second, with a burst of one, took %v", took)
	}
}

// HTTP between services is counted where it begins, and not again where the door passes it on: it
// would count as the door's, all of it together.
func TestPortRatesOfHTTP(t *testing.T) {
	l := newLab(t, with(func(p *Policy) { p.ported("bank", 8081, Rates{Connections: scarce(1)}) }))
	in, atDoor := newInside(t), newInside(t)
	door := l.admit("door", "door-1")
	door.Listening(atDoor.dial)
	l.admit("bank", "bank-1").Listening(in.dial)
	connect := relayed(t, l.admit("front", "front-1"), "bank", 8081)
	connect()
	atDoor.accept(t)
	wantBytes(t, connect(), "HTTP/1.1 429 ")
	passOn := relayed(t, door, "bank", 8081)
	for range 3 {
		passOn()
		in.accept(t)
	}
}

// What people send to a port that is not HTTP is counted there: as the gateway's, where it does not say who they are. HTTP
// is not.
func TestPortRatesOfPeople(t *testing.T) {
	p := people(t)
	p.Services[0].Ports = []int{9000}
	p.ported("front", 9000, Rates{Connections: scarce(2)})
	p.Services[1].PortRates = map[int]Rates{8081: {Connections: scarce(1)}, 9000: {Connections: scarce(2), Rule: "m.yaml:72"}}
	p.Grants = append(p.Grants, Grant{From: "door", Kind: KindConnect, To: "back:9000", Rule: "m.yaml:3"}, Grant{From: "door", Kind: KindConnect, To: "front:9000", Rule: "m.yaml:4"})
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	l.admit("front", "front-1").Listening(d.in.dial)
	door := l.admit("door", "door-1")
	none := relayed(t, door, "front", 9000)()
	io.WriteString(none, "COFFERDAM for - 8\n") // there is no such route
	wantEnd(t, none)                            // and no word of HTTP for it
	for _, of := range []struct {
		to, who string
		port    int
		ok      bool
	}{
		{"front", "", 9000, true}, {"front", "", 9000, true}, {"front", "", 9000, false}, {"front", "", 9000, false},
		{"back", "alice", 9000, true}, {"back", "alice", 9000, true}, {"back", "alice", 9000, false}, {"back", "bob", 9000, true},
		{"back", "alice", 8081, true}, {"back", "alice", 8081, true}, {"back", "alice", 8081, true},
	} {
		c := relayed(t, door, of.to, of.port)()
		io.WriteString(c, "COFFERDAM for "+hexOf(of.who)+" 7\n")
		if of.ok {
			d.in.accept(t)
		} else {
			wantEnd(t, c)
		}
	}
	var got []string
	for _, f := range l.fired() {
		got = append(got, strings.Fields(f)[3])
	}
	if !slices.Equal(got, []string{"m.yaml:71", "m.yaml:72"}) {
		t.Errorf("on record are %q", got)
	}
}
