package monitor

import (
	"bytes"

	"cofferdam/label"
	"cofferdam/wire"
)

// MaxCapsule is the most that a capsule takes. Each counts for that against each of
// its holders, whatever is in it: what is left to a holder would tell him its length
// otherwise.
const MaxCapsule = 64 << 10

// seal is what the three parts of one and its capsules have in common: that
// they are of this one. Nothing is left of it when the last of them is gone.
type seal struct{ _ byte } // of some size, so that no two are at one address

// The parts of a seal, each of which can be given away by itself. What may be done
// with a capsule is a matter of which of them one has a handle of, and of nothing
// that one knows: there is no key.
type (
	sealer   struct{ of *seal } // makes capsules
	unsealer struct{ of *seal } // opens them
	tester   struct{ of *seal } // recognises them
)

func (sealer) kind() string   { return "sealer" }
func (unsealer) kind() string { return "unsealer" }
func (tester) kind() string   { return "tester" }

func (sealer) size() int   { return 0 }
func (unsealer) size() int { return 0 }
func (tester) size() int   { return 0 }

func (sealer) gone(*Env)   {}
func (unsealer) gone(*Env) {}
func (tester) gone(*Env)   {}

func (u unsealer) seal() *seal { return u.of }
func (t tester) seal() *seal   { return t.of }

// capsule is bytes under a seal (Morris, "Protection in Programming Languages", 1973;
// Rees, "A Security Kernel Based on the Lambda-Calculus", 1996). Who holds it
// learns nothing of it, be it its label, its length, or whether another is the same,
// unless he has the unsealer: to him it is a labeled value. It never changes.
type capsule struct {
	seal  *seal
	label label.Label
	data  []byte
}

func (*capsule) kind() string { return "capsule" }
func (*capsule) size() int    { return MaxCapsule }
func (*capsule) gone(*Env)    {}

// newSeal makes a seal that is like no other.
func (e *Env) newSeal(*wire.Ask) (wire.Told, error) {
	s := new(seal)
	handles, err := e.holdObjects([]object{sealer{s}, unsealer{s}, tester{s}})
	return wire.Told{Handles: handles}, err
}

// enclose makes a capsule.
func (e *Env) enclose(a *wire.Ask) (wire.Told, error) {
	s, err := held[sealer](e, a.Handles[0])
	if err != nil {
		return wire.Told{}, e.decided(opEnclose, "capsule", nil, err)
	}
	if err = e.mayName(a.Privileges()); err == nil {
		err = e.at().Alloc(a.Privileges(), a.Label)
	}
	if err == nil && len(a.Data) > MaxCapsule {
		err = tooLarge("%d bytes: a capsule takes %d", len(a.Data), MaxCapsule)
	}
	return e.made(opEnclose, a, a.Label, &capsule{s.of, a.Label, bytes.Clone(a.Data)}, err)
}

// disclose gives what is in a capsule to who has the unsealer of its seal and is at
// its label. Another seal, a handle of something else and one that was never
// given are one error, which says nothing of the capsule; its label is told to whoever
// could open it.
func (e *Env) disclose(a *wire.Ask) (wire.Told, error) {
	u, err := held[unsealer](e, a.Handles[0])
	c, capsuleErr := held[*capsule](e, a.Handles[1])
	if err != nil || capsuleErr != nil || c.seal != u.of {
		return wire.Told{}, e.decided(opDisclose, "capsule", nil, wire.ErrDenied)
	}
	if err = e.mayName(a.Privileges()); err == nil {
		err = e.read(a, c.label)
	}
	if err = e.quietly(opDisclose, c.kind(), a, c.label, err); err != nil {
		return wire.Told{}, err
	}
	return wire.Told{Label: c.label, Data: c.data}, nil
}

// authenticate tells whether a capsule bears a seal, to who has its unsealer or its
// tester: with a byte if it does, and with nothing if not, for whatever reason.
// That depends on what he holds alone, and is recorded nowhere.
func (e *Env) authenticate(a *wire.Ask) (wire.Told, error) {
	by, err := held[interface {
		object
		seal() *seal
	}](e, a.Handles[0])
	c, capsuleErr := held[*capsule](e, a.Handles[1])
	if err != nil || capsuleErr != nil || c.seal != by.seal() {
		return wire.Told{}, nil
	}
	return wire.Told{Data: []byte{1}}, nil
}
