package monitor

import (
	"bytes"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// value is a labeled value: bytes that are read only by who is at their label.
// Its label is known to all who have a handle of it. It never changes.
type value struct {
	label label.Label
	data  []byte
}

func (*value) kind() string { return "value" }
func (v *value) size() int  { return len(v.data) }
func (*value) gone(*Env)    {}

// seal makes a labeled value.
func (e *Env) seal(a *wire.Ask) (wire.Told, error) {
	err := e.mayName(a.Privileges())
	if err == nil {
		err = e.at().Alloc(a.Privileges(), a.Label)
	}
	return e.made(opSeal, a, a.Label, &value{a.Label, bytes.Clone(a.Data)}, err)
}

// unseal gives the bytes of a value to who is at its label, or, if that is
// wanted, raised to it.
func (e *Env) unseal(a *wire.Ask) (wire.Told, error) {
	v, err := held[*value](e, a.Handles[0])
	if err != nil {
		return wire.Told{}, e.decided(opUnseal, "value", nil, err)
	}
	if err = e.mayName(a.Privileges()); err == nil {
		err = e.read(a, v.label)
	}
	if err = e.quietly(opUnseal, v.kind(), a, v.label, err); err != nil {
		return wire.Told{}, err
	}
	return wire.Told{Label: v.label, Data: v.data}, nil
}

// relabel makes a value of the same bytes with another label, which the
// privileges that are named must make equivalent.
func (e *Env) relabel(a *wire.Ask) (wire.Told, error) {
	v, err := held[*value](e, a.Handles[0])
	if err != nil {
		return wire.Told{}, e.decided(opRelabel, "value", nil, err)
	}
	if err = e.mayName(a.Privileges()); err == nil {
		err = e.at().Relabel(a.Privileges(), v.label, a.Label)
	}
	return e.made(opRelabel, a, a.Label, &value{a.Label, v.data}, err)
}

// taint makes a value of the same bytes with a higher label.
func (e *Env) taint(a *wire.Ask) (wire.Told, error) {
	v, err := held[*value](e, a.Handles[0])
	if err != nil {
		return wire.Told{}, e.decided(opTaint, "value", nil, err)
	}
	var to label.Label
	if err = e.mayName(a.Privileges()); err == nil {
		to, err = e.at().TaintObject(a.Privileges(), v.label, a.Label)
	}
	return e.made(opTaint, a, to, &value{to, v.data}, err)
}

// made gives e a handle of what was made, if err, the decision on it, is nil.
func (e *Env) made(o op, a *wire.Ask, l label.Label, made object, err error) (wire.Told, error) {
	if err = e.quietly(o, made.kind(), a, l, err); err != nil {
		return wire.Told{}, err
	}
	h, err := e.holdObject(made)
	if err != nil {
		return wire.Told{}, err
	}
	return wire.Told{Label: l, Handles: []uint64{h}}, nil
}

// quietly is decided for what stays within e: it is recorded if it is refused,
// or done with a privilege.
func (e *Env) quietly(o op, object string, a *wire.Ask, l label.Label, err error) error {
	if err == nil && a.Privileges() == (label.Privileges{}) {
		return nil
	}
	return e.decided(o, object, e.labels(a, l), err)
}

// labels is what a record says of labels: nothing where all is public, and nobody
// has used a privilege.
func (e *Env) labels(a *wire.Ask, object label.Label) *audit.Labels {
	s := e.at()
	if s == (guard.State{}) && object == label.Public && a.Privileges() == (label.Privileges{}) {
		return nil
	}
	l := &audit.Labels{Subject: s.Label.String(), Clearance: s.Clearance.String(), Object: object.String()}
	if a.Out != label.True {
		l.Out = a.Out.String()
	}
	if a.In != label.True {
		l.In = a.In.String()
	}
	return l
}
