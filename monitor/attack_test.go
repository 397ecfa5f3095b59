package monitor

import (
	"testing"

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
