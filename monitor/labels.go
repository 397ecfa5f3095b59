package monitor

import (
	"cofferdam/guard"
	"cofferdam/wire"
)

// labelOps are the operations on labels that are answered at once.
var labelOps = map[wire.Op]func(*Env, *wire.Ask) (wire.Told, error){
	wire.OpLabels:    (*Env).tellLabels,
	wire.OpRaise:     (*Env).raise,
	wire.OpLower:     (*Env).lower,
	wire.OpClearance: (*Env).setClearance,
	wire.OpSeal:      (*Env).seal,
	wire.OpUnseal:    (*Env).unseal,
	wire.OpRelabel:   (*Env).relabel,
	wire.OpTaint:     (*Env).taint,
	wire.OpDrop:      (*Env).dropHandles,
	wire.OpDelegate:  (*Env).delegate,
	wire.OpRevoke:    (*Env).revoke,
	wire.OpKill:      (*Env).killChild,
	wire.OpMailbox:   (*Env).newMailbox,

	wire.OpNewSeal:      (*Env).newSeal,
	wire.OpEnclose:      (*Env).enclose,
	wire.OpDisclose:     (*Env).disclose,
	wire.OpAuthenticate: (*Env).authenticate,
}

// labelled answers an operation on labels.
func (c *conn) labelled(f *wire.Frame) bool {
	do := labelOps[f.Op]
	if do == nil {
		return false
	}
	a, err := wire.ParseAsk(f.Op, f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	told, err := do(c.env, &a)
	code, body := answerOf(&told, err)
	return c.reply(f.ID, code, body)
}

// tellLabels says what e is, or what something is of which e has a handle. That is
// its own, or known to all who have one, and recorded nowhere.
func (e *Env) tellLabels(a *wire.Ask) (wire.Told, error) {
	if len(a.Handles) > 1 {
		return wire.Told{}, wire.ErrMalformed
	}
	if len(a.Handles) == 1 {
		o, err := held[described](e, a.Handles[0])
		if err != nil {
			return wire.Told{}, err
		}
		return o.described(), nil
	}
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	s := e.flow.state.Load()
	return wire.Told{Label: s.Label, Clearance: s.Clearance, Owns: e.flow.authority(), Handles: e.flow.first}, nil
}

func (e *Env) raise(a *wire.Ask) (wire.Told, error) {
	return e.become(opRaise, a, func(s guard.State) (guard.State, error) { return s.Raise(a.Label) })
}

// lower declassifies all that e holds.
func (e *Env) lower(a *wire.Ask) (wire.Told, error) {
	return e.become(opLower, a, func(s guard.State) (guard.State, error) { return s.Lower(a.Privileges(), a.Label) })
}

func (e *Env) setClearance(a *wire.Ask) (wire.Told, error) {
	return e.become(opClearance, a, func(s guard.State) (guard.State, error) { return s.SetClearance(a.Privileges(), a.Label) })
}

// become changes what e is, to what next makes of it.
func (e *Env) become(o op, a *wire.Ask, next func(guard.State) (guard.State, error)) (wire.Told, error) {
	labels := e.labels(a, a.Label)
	err := e.mayName(a.Privileges())
	var to guard.State
	if err == nil {
		to, err = e.change(a.Mode&wire.ModeForce != 0, next)
	}
	if err := e.decided(o, "", labels, err); err != nil {
		return wire.Told{}, err
	}
	return wire.Told{Label: to.Label, Clearance: to.Clearance}, nil
}

// described is an object that has something to say of itself which never changes,
// to all who have a handle of it. A capsule is none: it is closed.
type described interface {
	object
	described() wire.Told
}

func (v *value) described() wire.Told     { return wire.Told{Label: v.label} }
func (b *mailbox) described() wire.Told   { return wire.Told{Label: b.label} }
func (r *result) described() wire.Told    { return wire.Told{Label: r.label} }
func (p *privilege) described() wire.Told { return wire.Told{Owns: p.what} }
