package monitor

import (
	"bytes"
	"testing"
	"time"

	"cofferdam/label"
	"cofferdam/wire"
)

// Handles go with a call and come back with its answer: the server has its own of the
// same object, and so has the caller.
func TestHandlesTravel(t *testing.T) {
	l := newLab(t, meeting{}.policy(t))
	_, server := l.server("back", "back-1", "m")
	caller := l.connect(l.admit("front", "front-1"))
	caller.does(wire.OpSeal, wire.Ask{Data: []byte("another")})
	mine := caller.does(wire.OpSeal, wire.Ask{Data: []byte("payload")}).Handles[0]
	id := caller.callWith("back.m", wire.Ask{Handles: []uint64{mine, mine}}, "look")
	f := server.called("m")
	got, body := told(t, f)
	if len(got.Handles) != 2 || body != "look" {
		t.Fatalf("the server gets %v and %q", got.Handles, body)
	}
	if v := server.does(wire.OpUnseal, wire.Ask{Handles: got.Handles[1:]}); string(v.Data) != "payload" {
		t.Errorf("the server reads %q", v.Data)
	}
	made := server.does(wire.OpSeal, wire.Ask{Data: []byte("made for you")}).Handles[0]
	server.replyWith(f.ID, wire.OK, "here", made)
	r := caller.next()
	back, body := told(t, r)
	if r.ID != id || r.Code != wire.OK || body != "here" || len(back.Handles) != 1 {
		t.Fatalf("%v %q with %v", r.Code, body, back.Handles)
	}
	if v := caller.does(wire.OpUnseal, wire.Ask{Handles: back.Handles}); string(v.Data) != "made for you" {
		t.Errorf("the caller reads %q", v.Data)
	}
}

// Handles that somebody does not have are refused to a caller as what is not there,
// and of a server are an answer that has failed.
func TestForgedHandlesInCalls(t *testing.T) {
	l := newLab(t, meeting{}.policy(t))
	other := l.connect(l.admit("front", "front-2"))
	theirs := other.does(wire.OpSeal, wire.Ask{Data: []byte("not yours")}).Handles[0]
	_, server := l.server("back", "back-1", "m")
	caller := l.connect(l.admit("front", "front-1"))
	for _, h := range []uint64{theirs, 0, 1 << 63} {
		caller.want(caller.callWith("back.m", wire.Ask{Handles: []uint64{h}}, ""), wire.Denied, "")
	}
	id := caller.call("back.m", "")
	f := server.called("m")
	server.replyWith(f.ID, wire.OK, "secret", 99)
	caller.want(id, wire.Failed, "")

	// Fields that make no sense are the caller's mistake, and of a server too.
	caller.last++
	caller.send(wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: caller.last, Flags: wire.FlagFields}, NameBytes: []byte("back.m"), Body: []byte{9, 0, 0, 0}})
	if f := caller.next(); f.Code != wire.Malformed {
		t.Errorf("%v %q", f.Code, f.Body)
	}
	id = caller.call("back.m", "")
	f = server.called("m")
	server.send(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID, Flags: wire.FlagFields}, Body: []byte{9}})
	caller.want(id, wire.Failed, "")
}

// A server whose table is full gets no more handles, and its callers hear that it is
// busy; if they may not know that, that nobody answers.
func TestFullTables(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		x := meeting{}
		if quiet {
			x = meeting{front: "True %% True < alice %% True", back: "alice %% True", backOwns: "alice", request: "alice %% True", answer: "True %% True"}
		}
		l := newLab(t, x.policy(t))
		e, server := l.server("back", "back-1", "m")
		caller := l.connect(l.admit("front", "front-1"))
		for range MaxHandles - 1 {
			if _, err := e.holdObject(&value{}); err != nil {
				t.Fatal(err)
			}
		}
		var two []uint64
		for range 2 {
			two = append(two, caller.does(wire.OpSeal, wire.Ask{}).Handles...)
		}
		a := wire.Ask{Handles: two}
		caller.last++
		caller.send(wire.Frame{
			Header:    wire.Header{Op: wire.OpCall, ID: caller.last, Flags: wire.FlagFields, Timeout: 50 * time.Millisecond},
			NameBytes: []byte("back.m"), Body: wire.AppendFields(nil, a.Append(nil, wire.OpCall)),
		})
		want := wire.Busy
		if quiet {
			want = wire.Deadline
		}
		caller.want(caller.last, want, "")
		server.quiet()
		if n := e.holds(); n != MaxHandles-1 {
			t.Errorf("%d handles are left, want those of before", n)
		}
		// One has room still.
		caller.callWith("back.m", wire.Ask{Handles: two[:1]}, "")
		f := server.called("m")
		// And a caller without room gets a refusal of its own.
		front := caller.envOf(l)
		for {
			if _, err := front.holdObject(&value{}); err != nil {
				break
			}
		}
		got, _ := told(t, f)
		server.replyWith(f.ID, wire.OK, "", got.Handles...)
		caller.want(caller.last, wire.Busy, "")
	}
}

// envOf is whose connection p is, in a test with one front.
func (p *peer) envOf(l *lab) *Env {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.envs["front-1"]
}

// What the monitor puts before a body counts as part of it, for calls and answers.
func TestFieldsCountAsBody(t *testing.T) {
	at := "alice %% True"
	l := newLab(t, meeting{front: at, back: at}.policy(t))
	_, server := l.server("back", "back-1", "m")
	caller := l.connect(l.admit("front", "front-1"))
	large := string(bytes.Repeat([]byte("x"), wire.MaxBody))
	caller.want(caller.call("back.m", large), wire.TooLarge, "")
	fields := wire.AppendFields(nil, (&wire.Told{Label: label.MustParse(at)}).Append(nil))
	id := caller.call("back.m", large[len(fields):])
	f := server.called("m")
	if len(f.Body) != wire.MaxBody {
		t.Errorf("a body of %d bytes", len(f.Body))
	}
	server.reply(f.ID, wire.OK, large)
	caller.want(id, wire.TooLarge, "")
}

// The channel of Asbestos (Krohn and Tromer, 2009): somebody with a secret calls those
// who are to be told a one, whose labels rise by it; and then all of them say
// whether they still can. Here nobody's label rises by being called, and whoever
// has risen is not called by those below, so all of them still can, whatever
// the secret is.
func TestAttackOfAsbestos(t *testing.T) {
	const bits = 8
	for _, secret := range []uint{0, 0xff, 0xa5} {
		p := meeting{front: "True %% True < alice %% True", back: "True %% True < alice %% True"}.policy(t)
		p.Services = append(p.Services, Service{
			Name:    "collector",
			Methods: []Method{{Name: "m"}},
		})
		p.Grants = append(p.Grants, Grant{From: "back", Kind: KindCall, To: "collector.m", Rule: "m.yaml:1"})
		p.Services[1].Instances = PerPrincipal
		p.Services[1].For = func(string) (Service, error) { return p.Services[1], nil }
		p.Services[1].Granted = func(string) ([]Grant, error) { return p.Grants[len(p.Grants)-1:], nil }
		l := newLab(t, p)
		d := instancesOf(l)
		_, collector := l.server("collector", "collector-1", "m")
		go collector.echo()
		// High knows the secret, and asks one instance for each bit, as far as it may.
		for i := range bits {
			e, err := l.m.AdmitAt(wire.Identity{Service: "front", Instance: "front-" + string(rune('a'+i)), Principal: string(rune('a' + i))}, p.Services[0].Flow)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.m.Remove(e) })
			high := l.connect(e)
			if got := high.calls("back.m"); got == wire.Label.String() {
				t.Fatal("before it has read anything, it may call")
			}
			high.does(wire.OpRaise, up(t)) // and reads the secret
			if secret>>i&1 == 1 {
				if got := high.calls("back.m"); got != wire.Label.String() {
					t.Errorf("what has read a secret calls who has not: %s", got)
				}
			}
		}
		view := 0
		for _, e := range d.started {
			if e.at().Label != label.Public {
				t.Errorf("%s has risen to %v by being called", e.id.Instance, e.at().Label)
			}
			if got := l.connect(e).calls("collector.m"); got == " at True %% True" {
				view++
			}
		}
		if view != bits {
			t.Errorf("secret %#x: %d of %d can still say that they are there", secret, view, bits)
		}
		for _, e := range d.started {
			l.m.Remove(e)
		}
	}
}
