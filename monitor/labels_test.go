package monitor

import (
	"testing"

	"cofferdam/label"
	"cofferdam/wire"
)

// What an object says of itself it says to whoever has a handle of it, also if he
// may not read it, and to nobody else. A capsule says nothing.
func TestLabelsOfHandles(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admitAt("front", "front-1", "True %% True", "alice %% True", "alice"))
	secret := label.MustParse("alice %% True")
	alice := label.MustParseFormula("alice")
	seal := p.does(wire.OpNewSeal, wire.Ask{}).Handles
	made := func(op wire.Op, a wire.Ask) uint64 { return p.does(op, a).Handles[0] }
	of := func(handles ...uint64) wire.Ask { return wire.Ask{Handles: handles} }
	value := made(wire.OpSeal, wire.Ask{Label: secret})
	for h, want := range map[uint64]wire.Told{
		value:                         {Label: secret},
		made(wire.OpSeal, wire.Ask{}): {},
		made(wire.OpMailbox, wire.Ask{Label: secret}):     {Label: secret},
		made(wire.OpDelegate, wire.Ask{Privilege: alice}): {Owns: alice},
	} {
		if got := p.does(wire.OpLabels, of(h)); got.Label != want.Label || got.Owns != want.Owns {
			t.Errorf("%d: %+v, want %+v", h, got, want)
		}
	}
	capsule := made(wire.OpEnclose, wire.Ask{Handles: seal[:1], Label: secret})
	for _, h := range append(seal, capsule, 0, 1<<40) {
		p.fails(wire.OpLabels, of(h), wire.Denied, "")
	}
	p.fails(wire.OpLabels, of(value, value), wire.Malformed, "")
	p.does(wire.OpDrop, of(value))
	p.fails(wire.OpLabels, of(value), wire.Denied, "")

	other := l.connect(l.admit("bank", "bank-1"))
	other.fails(wire.OpLabels, of(value), wire.Denied, "")
}

// Who asks for nonsense is told what is wrong with it, and the code but once.
func TestNonsenseIsNamed(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	id := p.ask(wire.OpSeal, "", 0, wire.AppendField(nil, wire.KeyShown, "alice"))
	p.want(id, wire.Malformed, "seal: unknown key 29")
}
