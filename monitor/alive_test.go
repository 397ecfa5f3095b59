package monitor

import (
	"fmt"
	"testing"
	"time"

	"cofferdam/wire"
)

// What becomes of an instance after it has risen is not for the callers to see whose
// calls it was at: whatever it does, their deadline passes.
func TestWhatBecomesOfACalleeAboveIsNotSeen(t *testing.T) {
	const wait = 200 * time.Millisecond
	seen := make(map[string]string)
	for name, does := range map[string]func(l *lab, e *Env, p *peer, calls []wire.Frame){
		"nothing": func(*lab, *Env, *peer, []wire.Frame) {},
		"answers": func(_ *lab, _ *Env, p *peer, calls []wire.Frame) {
			for _, f := range calls {
				p.reply(f.ID, wire.OK, "secret")
			}
		},
		"fails": func(_ *lab, _ *Env, p *peer, calls []wire.Frame) {
			for _, f := range calls {
				p.reply(f.ID, wire.Failed, "secret")
			}
		},
		"hangs up": func(_ *lab, _ *Env, p *peer, _ []wire.Frame) { p.nc.Close() },
		"forges":   func(_ *lab, _ *Env, p *peer, _ []wire.Frame) { p.sendBytes(make([]byte, wire.HeaderSize)) },
		"ends":     func(l *lab, e *Env, _ *peer, _ []wire.Frame) { l.m.Remove(e) },
		"ends, and the service is broken": func(l *lab, e *Env, _ *peer, _ []wire.Frame) {
			l.m.Remove(e)
			l.m.SetState("back", Broken)
		},
	} {
		l := newLab(t, meeting{back: "True %% True < alice %% True"}.policy(t))
		e, server := l.server("back", "back-1", "m", "look")
		caller := l.connect(l.admit("front", "front-1"))
		start := time.Now()
		ids := []uint64{caller.ask(wire.OpCall, "back.m", wait, nil), caller.ask(wire.OpCall, "back.look", wait, nil)}
		calls := []wire.Frame{server.called("m"), server.called("look")}
		server.does(wire.OpRaise, up(t))
		ids = append(ids, caller.ask(wire.OpCall, "back.m", wait, nil)) // for whom nobody is there
		does(l, e, server, calls)
		late := make(map[uint64]string)
		for range ids {
			f := caller.next()
			if time.Since(start) < wait {
				t.Errorf("%s: %v after %v", name, f.Code, time.Since(start))
			}
			late[f.ID] = fmt.Sprintf("%v %q", f.Code, f.Body)
		}
		for _, id := range ids {
			seen[name] += late[id] + " "
		}
	}
	for name, got := range seen {
		if got != seen["nothing"] {
			t.Errorf("%s: %s, want what nothing gives: %s", name, got, seen["nothing"])
		}
	}
}

// Whoever has risen may withdraw a call, or end, and its callee does not hear of it
// before the deadline.
func TestAWithdrawalFromAboveIsNotSeen(t *testing.T) {
	for name, does := range map[string]func(l *lab, e *Env, p *peer, id uint64){
		"nothing": func(*lab, *Env, *peer, uint64) {},
		"withdraws": func(_ *lab, _ *Env, p *peer, id uint64) {
			p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
		},
		"hangs up": func(_ *lab, _ *Env, p *peer, _ uint64) { p.nc.Close() },
		"ends":     func(l *lab, e *Env, _ *peer, _ uint64) { l.m.Remove(e) },
	} {
		for _, raises := range []bool{false, true} {
			unseen := raises || name == "nothing"
			wait := patience
			if unseen {
				wait = 200 * time.Millisecond
			}
			l := newLab(t, meeting{front: "True %% True < alice %% True"}.policy(t))
			_, server := l.server("back", "back-1", "m")
			e := l.admit("front", "front-1")
			p := l.connect(e)
			start := time.Now()
			id := p.ask(wire.OpCall, "back.m", wait, nil)
			f := server.called("m")
			if raises {
				p.does(wire.OpRaise, wire.Ask{Label: aLabel(t, "alice %% True")}) // a call in flight is nothing that it cuts
			}
			does(l, e, p, id)
			c := server.next()
			if c.Op != wire.OpCancel || c.ID != f.ID {
				t.Fatalf("got %v %d", c.Op, c.ID)
			}
			if took := time.Since(start); (took < wait) == unseen {
				t.Errorf("%s, raised %v: the callee hears of it after %v", name, raises, took)
			}
			eventually(t, "nothing is in flight", func() bool { return e.inFlight.Load() == 0 })
		}
	}
}

// An answer is read by who may, when it comes.
func TestALoweredCallerHearsNothingAbove(t *testing.T) {
	l := newLab(t, meeting{front: "alice %% True", frontOwns: "alice", back: "alice %% True"}.policy(t))
	_, server := l.server("back", "back-1", "m")
	p := l.connect(l.admit("front", "front-1"))
	start := time.Now()
	id := p.ask(wire.OpCall, "back.m", 100*time.Millisecond, nil)
	f := server.called("m")
	p.does(wire.OpLower, wire.Ask{Label: aLabel(t, "True %% True"), Out: aFormula(t, "alice")})
	server.reply(f.ID, wire.OK, "secret")
	p.want(id, wire.Deadline, "")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("after %v", took)
	}
}
