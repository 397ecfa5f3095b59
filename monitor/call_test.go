package monitor

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"cofferdam/wire"
)

func TestCallCarriesBodies(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "balance")
	p := l.connect(l.admit("front", "front-1"))
	for _, n := range []int{0, 64, 64 << 10, wire.MaxBody} {
		t.Run(fmt.Sprintf("bytes=%d", n), func(t *testing.T) {
			p, server := &peer{t, p.nc, p.r, uint64(n)}, &peer{t, server.nc, server.r, 0}
			request := bytes.Repeat([]byte{'q', byte(n)}, n/2)
			reply := bytes.Repeat([]byte{byte(n), 'r'}, n/2)
			got := make(chan wire.Frame, 1)
			go func() {
				f := server.next()
				server.reply(f.ID, wire.OK, string(reply))
				got <- f
			}()
			p.want(p.call("bank.balance", string(request)), wire.OK, string(reply))
			if f := <-got; f.Op != wire.OpCall || !bytes.Equal(f.Body, request) {
				t.Errorf("server got %v with %d bytes, want call with %d", f.Op, len(f.Body), len(request))
			}
		})
	}
}

func TestServerSeesTheCaller(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "give")
	id := wire.Identity{Service: "sandbox", Instance: "sandbox-7", Principal: "alice", Bound: []byte("alice's")}
	e, err := l.m.Admit(id)
	if err != nil {
		t.Fatal(err)
	}
	defer l.m.Remove(e)
	p := l.connect(e)
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(id.Append(nil)))
	forged := wire.Identity{Service: "front", Principal: "mallory"}
	ask := p.call("bank.give", string(forged.Append(nil)))
	f := server.called("give")
	got, err := wire.ParseIdentity(f.CallerBytes)
	if err != nil || !reflect.DeepEqual(got, id) {
		t.Errorf("the server sees %+v, %v, want %+v", got, err, id)
	}
	if f.Call == 0 || f.Timeout <= 0 || f.Timeout > DefaultDeadline {
		t.Errorf("call %d, timeout %v, want a number and at most %v", f.Call, f.Timeout, DefaultDeadline)
	}
	var recorded uint64
	for _, r := range l.decisions() {
		if r.Op == "call" {
			recorded = r.Call
		}
	}
	if recorded != f.Call {
		t.Errorf("the log says call %d, the server %d", recorded, f.Call)
	}
	server.reply(f.ID, wire.OK, "")
	p.want(ask, wire.OK, "")
}

// What only the monitor may say ends the connection of who says it, and nobody
// is called.
func TestForgedFramesEndTheConnection(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "balance")
	e := l.admit("front", "front-1")
	polite := l.connect(e)
	call := wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("bank.balance")}
	withCaller, withNumber := call, call
	forged := wire.Identity{Service: "front", Principal: "mallory"}
	withCaller.CallerBytes = forged.Append(nil)
	withNumber.Call = 7
	header := func(change func(b []byte)) []byte {
		b := wire.AppendFrame(nil, &call)
		change(b)
		return b
	}
	for name, b := range map[string][]byte{
		"caller":            wire.AppendFrame(nil, &withCaller),
		"call number":       wire.AppendFrame(nil, &withNumber),
		"code":              header(func(b []byte) { b[5] = byte(wire.Failed) }),
		"flags":             header(func(b []byte) { b[22] = 2 }),
		"unknown operation": header(func(b []byte) { b[4] = 99 }),
		"id in use":         append(wire.AppendFrame(nil, &call), wire.AppendFrame(nil, &call)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := l.connect(e)
			p.sendBytes(b)
			p.closed()
			if name == "id in use" {
				f := server.called("balance")
				if c := server.next(); c.Op != wire.OpCancel || c.ID != f.ID {
					t.Errorf("got %v %d, want cancel %d", c.Op, c.ID, f.ID)
				}
			}
			id := polite.call("bank.balance", "")
			f := server.called("balance")
			server.reply(f.ID, wire.OK, name)
			polite.want(id, wire.OK, name)
		})
	}
}

func TestRepliesOfTheServer(t *testing.T) {
	l := newLab(t, bank())
	_, server := l.server("bank", "bank-1", "balance")
	p := l.connect(l.admit("front", "front-1"))
	for code := wire.OK; code.Known(); code++ {
		t.Run(code.String(), func(t *testing.T) {
			p.t, server.t = t, t
			id := p.call("bank.balance", "")
			f := server.called("balance")
			server.reply(f.ID+1, wire.OK, "to what was never asked")
			server.reply(f.ID, code, "words")
			server.reply(f.ID, wire.OK, "twice")
			switch code {
			case wire.OK, wire.Failed, wire.Busy, wire.TooLarge, wire.Malformed, wire.Denied:
				p.want(id, code, "words")
			case wire.Canceled: // it does not work on it any more
				p.want(id, wire.Deadline, "")
			default: // only the monitor can know
				p.want(id, wire.Failed, "")
			}
			p.quiet()
		})
	}
}

func TestDeadline(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	p.want(p.ask(wire.OpCall, "bank.balance", 20*time.Millisecond, nil), wire.Unavailable, "") // nobody was there

	_, server := l.server("bank", "bank-1", "balance", "brief")
	for name, timeout := range map[string]time.Duration{"bank.balance": 20 * time.Millisecond, "bank.brief": time.Hour} {
		id := p.ask(wire.OpCall, name, timeout, nil)
		f := server.next()
		if f.Timeout > 50*time.Millisecond {
			t.Errorf("%s: the server is told %v", name, f.Timeout)
		}
		p.want(id, wire.Deadline, "")
		if c := server.next(); c.Op != wire.OpCancel || c.ID != f.ID {
			t.Errorf("%s: the server gets %v %d, want cancel %d", name, c.Op, c.ID, f.ID)
		}
		server.reply(f.ID, wire.OK, "too late")
		p.quiet()
	}
	l.booksAreEmpty()
}

func TestCancel(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	cancel := func(id uint64) { p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}}) }

	cancel(p.call("bank.balance", "queued"))
	cancel(99)                                                                         // never asked
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(p.identity(l, "front-1"))) // all have been handled
	_, server := l.server("bank", "bank-1", "balance")
	server.quiet()

	id := p.call("bank.balance", "")
	f := server.called("balance")
	cancel(id)
	if c := server.next(); c.Op != wire.OpCancel || c.ID != f.ID {
		t.Errorf("the server gets %v %d, want cancel %d", c.Op, c.ID, f.ID)
	}
	server.reply(f.ID, wire.OK, "too late")
	p.quiet()
	l.booksAreEmpty()

	p.call("bank.balance", "")
	f = server.called("balance")
	p.nc.Close()
	if c := server.next(); c.Op != wire.OpCancel || c.ID != f.ID {
		t.Errorf("after its caller is gone the server gets %v %d, want cancel %d", c.Op, c.ID, f.ID)
	}
}

// booksAreEmpty waits until nothing is in flight or kept for anybody.
func (l *lab) booksAreEmpty() {
	l.t.Helper()
	l.m.mu.Lock()
	envs := make([]*Env, 0, len(l.m.envs))
	for _, e := range l.m.envs {
		envs = append(envs, e)
	}
	l.m.mu.Unlock()
	for _, e := range envs {
		eventually(l.t, e.id.Instance+" has nothing in flight", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			for c := range e.conns {
				c.mu.Lock()
				n := len(c.asked) + len(c.answering)
				c.mu.Unlock()
				if n != 0 {
					return false
				}
			}
			return e.inFlight.Load() == 0 && e.held.bytes.Load() == 0 && e.spawns == 0
		})
	}
}

func TestQueueUntilServed(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	first, second := p.call("bank.balance", "first"), p.call("bank.look", "second")
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(p.identity(l, "front-1"))) // both have been handled
	if l.serving("bank") {
		t.Error("bank is serving with nobody there")
	}
	_, server := l.server("bank", "bank-1", "balance")
	f := server.called("balance")
	if string(f.Body) != "first" {
		t.Errorf("the server gets %q, want first", f.Body)
	}
	server.quiet() // the other method is not its
	server.reply(f.ID, wire.OK, "a")
	p.want(first, wire.OK, "a")
	_, other := l.server("bank", "bank-2", "look")
	f = other.called("look")
	other.reply(f.ID, wire.OK, "b")
	p.want(second, wire.OK, "b")
	l.booksAreEmpty()
}

func (p *peer) identity(l *lab, instance string) []byte {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.envs[instance].caller
}

func TestInterrupted(t *testing.T) {
	l := newLab(t, bank())
	dying, first := l.server("bank", "bank-1", "balance", "look")
	p := l.connect(l.admit("front", "front-1"))
	plain := p.call("bank.balance", "plain")
	first.called("balance")
	idempotent := p.call("bank.look", "again")
	was := first.called("look")
	l.m.Remove(dying)
	p.want(plain, wire.Interrupted, "")

	// It waits for the replacement, and the same happens there.
	dying, second := l.server("bank", "bank-2", "look")
	f := second.called("look")
	if f.Call != was.Call || string(f.Body) != "again" {
		t.Errorf("repeated as call %d %q, want %d %q", f.Call, f.Body, was.Call, "again")
	}
	l.m.Remove(dying)
	p.want(idempotent, wire.Interrupted, "")
	l.booksAreEmpty()
}

// After an instance was lost while at it, nobody can say that nothing was done.
func TestInterruptedIsNotTakenBack(t *testing.T) {
	for name, end := range map[string]func(l *lab){
		"broken":  func(l *lab) { l.m.SetState("bank", Broken) },
		"stopped": func(l *lab) { l.m.SetState("bank", Stopped) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, bank())
			e, server := l.server("bank", "bank-1", "look")
			p := l.connect(l.admit("front", "front-1"))
			id := p.call("bank.look", "")
			server.called("look")
			l.m.Remove(e)
			end(l)
			p.want(id, wire.Interrupted, "")
		})
	}
}

func TestInterruptedThenTooLate(t *testing.T) {
	l := newLab(t, bank())
	e, server := l.server("bank", "bank-1", "look")
	p := l.connect(l.admit("front", "front-1"))
	id := p.ask(wire.OpCall, "bank.look", 100*time.Millisecond, nil)
	server.called("look")
	l.m.Remove(e)
	p.want(id, wire.Deadline, "")
}

func TestAnsweredByTheReplacement(t *testing.T) {
	l := newLab(t, bank())
	e, first := l.server("bank", "bank-1", "look")
	_, second := l.server("bank", "bank-2", "look")
	go second.echo()
	p := l.connect(l.admit("front", "front-1"))
	var ids []uint64
	for range 2 { // one of them reaches the first
		ids = append(ids, p.call("bank.look", "x"))
	}
	first.called("look")
	l.m.Remove(e)
	for range ids {
		if f := p.next(); f.Code != wire.OK || string(f.Body) != "x" {
			t.Errorf("call %d ends with %v %q, want ok x", f.ID, f.Code, f.Body)
		}
	}
}

func TestStates(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	waiting := p.call("bank.balance", "")
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(p.identity(l, "front-1")))
	l.m.SetState("bank", Broken)
	p.want(waiting, wire.Broken, "")
	p.want(p.call("bank.balance", ""), wire.Broken, "")
	l.m.SetState("bank", Stopped)
	p.want(p.call("bank.balance", ""), wire.Unavailable, "")
	l.m.SetState("absent", Broken)
	l.m.SetState("bank", Up)
	again := p.call("bank.balance", "")
	_, server := l.server("bank", "bank-1", "balance")
	server.reply(server.called("balance").ID, wire.OK, "up")
	p.want(again, wire.OK, "up")
}

func TestQueueIsBounded(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	for range maxQueuedEach {
		p.ask(wire.OpCall, "bank.balance", 2*time.Second, nil)
	}
	p.want(p.call("bank.balance", ""), wire.Busy, "")
	for range maxQueuedEach {
		if f := p.next(); f.Code != wire.Unavailable {
			t.Fatalf("call %d ends with %v, want unavailable", f.ID, f.Code)
		}
	}
	// Those that have ended do not take up room.
	id := p.call("bank.balance", "")
	_, server := l.server("bank", "bank-1", "balance")
	server.reply(server.called("balance").ID, wire.OK, "")
	p.want(id, wire.OK, "")
	l.booksAreEmpty()
}

// All callers together, and the bytes of one.
func TestQueueIsBoundedForAll(t *testing.T) {
	l := newLab(t, bank())
	var peers []*peer
	for i := range MaxQueued/maxQueuedEach + 1 {
		p := l.connect(l.admitFor("front", fmt.Sprint("front-", i), fmt.Sprint("p", i)))
		peers = append(peers, p)
		for range maxQueuedEach {
			p.call("bank.balance", "")
		}
		p.until(p.call("bank.balance", ""), wire.Busy) // that is for one, or for all
		md := l.m.policy.Load().services["bank"].methods["balance"]
		md.of.mu.Lock()
		n := len(md.shared.queue)
		md.of.mu.Unlock()
		if n != min(MaxQueued, (i+1)*maxQueuedEach) {
			t.Fatalf("%d calls wait after those of %d callers", n, i+1)
		}
		if i == MaxQueued/maxQueuedEach {
			break
		}
	}
	e := l.admit("front", "large")
	p := l.connect(e)
	large := make([]byte, wire.MaxBody)
	busy := 0
	for range maxHeldBytes/wire.MaxBody + 8 {
		id := p.ask(wire.OpCall, "bank.look", time.Minute, large)
		if e.held.bytes.Load() > maxHeldBytes {
			t.Fatalf("%d bytes are held, at most %d", e.held.bytes.Load(), maxHeldBytes)
		}
		_ = id
	}
	for range 8 {
		if f := p.next(); f.Code == wire.Busy {
			busy++
		}
	}
	if busy != 8 {
		t.Errorf("%d calls are busy, want 8", busy)
	}
	for _, p := range peers {
		p.nc.Close()
	}
	p.nc.Close()
	l.booksAreEmpty()
}

func TestInFlightIsBounded(t *testing.T) {
	l := newLab(t, bank())
	server, s := l.server("bank", "bank-1", "balance")
	go func() { // takes and never answers
		for {
			if _, err := s.r.Next(); err != nil {
				return
			}
		}
	}()
	e := l.admit("front", "front-1")
	peers := []*peer{l.connect(e), l.connect(e)}
	for i := range MaxInFlight {
		peers[i%2].call("bank.balance", "")
	}
	eventually(t, "all are in flight", func() bool { return e.inFlight.Load() == MaxInFlight })
	for _, p := range peers {
		p.want(p.call("bank.balance", ""), wire.Busy, "")
	}
	other := l.connect(l.admit("front", "front-2"))
	other.call("bank.balance", "")
	other.quiet() // its call is with the server, which has room for more than one caller's
	peers[0].nc.Close()
	eventually(t, "half of it is free", func() bool { return e.inFlight.Load() == MaxInFlight/2 })
	l.m.Remove(server)
	for range MaxInFlight / 2 {
		if f := peers[1].next(); f.Code != wire.Interrupted {
			t.Fatalf("call %d ends with %v, want interrupted", f.ID, f.Code)
		}
	}
	l.booksAreEmpty()
}

func TestMaxConns(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	var peers []*peer
	for range MaxConns {
		p := l.connect(e)
		p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(e.caller))
		peers = append(peers, p)
	}
	l.connect(e).closed()
	peers[0].nc.Close()
	eventually(t, "there is room for one", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.conns) < MaxConns
	})
	p := l.connect(e)
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(e.caller))
	l.m.Remove(e)
	p.closed()
	l.connect(e).closed()
}

// Serving the same again and again must not grow anything.
func TestServeTwice(t *testing.T) {
	l := newLab(t, bank())
	e, server := l.server("bank", "bank-1", "balance", "balance")
	for range 50 {
		server.serve("balance", "look", "look")
	}
	server.want(server.ask(wire.OpHello, "", 0, nil), wire.OK, string(e.caller)) // the last one is registered
	for name, want := range map[string]int{"balance": 1, "look": 1, "give": 0} {
		md := e.self.methods[name]
		md.of.mu.Lock()
		if n := len(md.shared.servers); n != want {
			t.Errorf("%s has %d servers, want %d", name, n, want)
		}
		md.of.mu.Unlock()
	}
	var records int
	for _, r := range l.decisions() {
		if r.Op == "serve" {
			records++
		}
	}
	if records != 2 {
		t.Errorf("%d records of serving, want 2", records)
	}
	server.want(server.ask(wire.OpServe, "", 0, nil), wire.Malformed, "")
	server.want(server.ask(wire.OpServe, "", 0, wire.AppendField(nil, wire.KeyArg, "balance")), wire.Malformed, "")
	if l.serving("bank") || l.serving("absent") || !l.serving("sandbox") {
		t.Error("Serving: want bank no (two methods are missing), absent no, sandbox yes (it has none)")
	}
}
