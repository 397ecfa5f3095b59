package monitor

import (
	"strings"
	"testing"
	"time"

	"cofferdam/wire"
)

// slowBank has methods with a deadline that a test can wait for.
func slowBank() Policy {
	const limit = 400 * time.Millisecond
	return Policy{
		Services: []Service{
			{Name: "bank", Methods: []Method{{Name: "look", Deadline: limit}, {Name: "pay", Deadline: limit}, {Name: "long", Deadline: patience}}},
			{Name: "front"},
			{Name: "inner", Methods: []Method{{Name: "ask", Deadline: patience}}},
		},
		Grants: []Grant{
			{From: "front", Kind: KindCall, To: "bank.look", Rule: "r"},
			{From: "front", Kind: KindCall, To: "bank.pay", Rule: "r"},
			{From: "front", Kind: KindCall, To: "bank.long", Rule: "r"},
			{From: "bank", Kind: KindCall, To: "inner.ask", Rule: "r"},
		},
	}
}

// Who is found not to respond, and who is not.
func TestUnresponsive(t *testing.T) {
	const look, pay, long = "bank.look", "bank.pay", "bank.long"
	type bench struct {
		*lab
		front, server *peer // the server answers on its own
		bank          *Env
	}
	// silent takes a call and says nothing to it.
	silent := func(b *bench, name string) (id, asServer uint64) {
		id = b.front.ask(wire.OpCall, name, 0, nil)
		_, method, _ := strings.Cut(name, ".")
		return id, b.server.called(method).ID
	}
	for _, tt := range []struct {
		name string
		do   func(b *bench)
		want string // of why; "" for nobody
	}{
		{"says nothing", func(b *bench) {
			id, _ := silent(b, look)
			b.front.want(id, wire.Deadline, "")
		}, "call 1 of bank.look, from front-1, was not answered within 400ms, and nothing else came from it"},
		{"says nothing, to a caller that has gone", func(b *bench) {
			silent(b, look)
			b.front.nc.Close()
		}, "call 1 of bank.look"},
		{"says nothing, to a caller with less patience", func(b *bench) {
			id := b.front.ask(wire.OpCall, look, 20*time.Millisecond, nil)
			b.server.called("look")
			b.front.want(id, wire.Deadline, "")
		}, "call 1 of bank.look"},
		{"answers who has lost patience, before its own deadline", func(b *bench) {
			id := b.front.ask(wire.OpCall, look, 20*time.Millisecond, nil)
			f := b.server.called("look")
			b.front.want(id, wire.Deadline, "")
			b.server.reply(f.ID, wire.Canceled, "")
		}, ""},
		{"answers another one meanwhile", func(b *bench) {
			id, _ := silent(b, look)
			other, asServer := silent(b, pay)
			b.server.reply(asServer, wire.OK, "")
			b.front.want(other, wire.OK, "")
			b.front.want(id, wire.Deadline, "")
		}, ""},
		{"has sent something else", func(b *bench) {
			id, _ := silent(b, look)
			hello := b.server.ask(wire.OpHello, "", 0, nil)
			if f := b.server.next(); f.ID != hello {
				b.t.Errorf("got %+v", f)
			}
			b.front.want(id, wire.Deadline, "")
		}, ""},
		{"waits itself", func(b *bench) {
			id, _ := silent(b, look)
			b.server.ask(wire.OpCall, "inner.ask", 0, nil)
			b.front.want(id, wire.Deadline, "")
		}, ""},
		{"answers nothing of one method", func(b *bench) {
			// On a busy host a call may be sent before it is found that the last one is overdue: then
			// both are one.
			for n := 0; n < 10*maxMisses && len(b.spawner.unwell) == 0; n++ {
				id, _ := silent(b, look)
				other, asServer := silent(b, pay)
				b.server.reply(asServer, wire.OK, "")
				b.front.want(other, wire.OK, "")
				b.front.want(id, wire.Deadline, "")
				b.server.next() // it is withdrawn
				if n+1 < maxMisses && len(b.spawner.unwell) > 0 {
					b.t.Errorf("after %d: %s", n+1, <-b.spawner.unwell)
				}
			}
		}, "of bank.look, from front-1, was not answered within 400ms, nor were the 2 before it"},
		{"many at a time are one", func(b *bench) {
			ids := map[uint64]bool{}
			for range 3 * maxMisses {
				id, _ := silent(b, look)
				ids[id] = true
			}
			other, asServer := silent(b, pay)
			b.server.reply(asServer, wire.OK, "")
			b.front.want(other, wire.OK, "")
			for range ids {
				if f := b.front.next(); !ids[f.ID] || f.Code != wire.Deadline {
					b.t.Errorf("got %+v", f)
				}
			}
		}, ""},
		{"answers too late, always", func(b *bench) {
			for range 2 * maxMisses {
				id, asServer := silent(b, look)
				hello := b.server.ask(wire.OpHello, "", 0, nil)
				if f := b.server.next(); f.ID != hello {
					b.t.Errorf("got %+v", f)
				}
				b.front.want(id, wire.Deadline, "")
				b.server.reply(asServer, wire.OK, "late")
				b.server.next()                // it is withdrawn
				id, asServer = silent(b, long) // by whose answer we know that the late one has come
				b.server.reply(asServer, wire.OK, "")
				b.front.want(id, wire.OK, "")
			}
		}, ""},
		{"is at one that may take long", func(b *bench) { silent(b, long) }, ""},
		{"one of its connections is silent", func(b *bench) {
			dead := b.connect(b.bank)
			dead.serve("look", "pay", "long")
			eventually(b.t, "both answer", func() bool { return len(b.bank.answerers(b.bank.self.methods["look"])) == 2 })
			go b.server.echo()
			for missed := 0; missed < 10*maxMisses && len(b.spawner.unwell) == 0; {
				id := b.front.ask(wire.OpCall, look, 0, nil)
				f := b.front.next()
				if f.ID != id || f.Code != wire.OK && f.Code != wire.Deadline {
					b.t.Fatalf("got %+v", f)
				}
				if f.Code == wire.Deadline {
					missed++
				}
			}
		}, "of bank.look, from front-1, was not answered within 400ms"},
		{"a flood that its caller takes back", func(b *bench) {
			id, _ := silent(b, look)
			for range 100 {
				b.front.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
				if f := b.server.next(); f.Op != wire.OpCancel {
					b.t.Errorf("got %+v", f)
				}
				id, _ = silent(b, look)
			}
			_, asServer := silent(b, long)
			b.server.reply(asServer, wire.OK, "") // it lives
			b.front.next()
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func() (why string, took time.Duration) {
				l := newLab(t, slowBank())
				b := &bench{lab: l, front: l.connect(l.admit("front", "front-1"))}
				b.bank, b.server = l.server("bank", "bank-1", "look", "pay", "long")
				began := time.Now()
				tt.do(b)
				if tt.want == "" {
					time.Sleep(600 * time.Millisecond) // all that would be overdue is by now
					select {
					case why = <-l.spawner.unwell:
					default:
					}
					return why, 0
				}
				select {
				case why = <-l.spawner.unwell:
				case <-time.After(patience):
					why = "nobody"
				}
				return why, time.Since(began)
			}
			if tt.want == "" {
				// On a busy host we may be what does not respond: but not each time.
				var why string
				for range 5 {
					if why, _ = run(); why == "" {
						return
					}
				}
				t.Errorf("found: %s", why)
				return
			}
			why, took := run()
			if !strings.HasPrefix(why, "bank-1: unresponsive: ") || !strings.Contains(why, tt.want) {
				t.Errorf("found: %s, want %s", why, tt.want)
			}
			if took < 390*time.Millisecond {
				t.Errorf("found after %v, which is before its deadline", took)
			}
			t.Logf("found after %v", took)
		})
	}
}
