package sdk

import (
	"context"

	"cofferdam/wire"
)

// Value is a labeled value: bytes that only those read who are at its label. Who
// is not can still pass it on. It never changes.
type Value struct{ Handle }

// Seal makes a labeled value of data. Its label is at least ours, or a privilege in
// o makes it so, and within our clearance.
func (c *Client) Seal(ctx context.Context, l Label, data []byte, o Options) (Value, error) {
	a := o.ask()
	a.Label, a.Data = l, data
	h, err := c.make(ctx, wire.OpSeal, "at "+l.String(), a)
	return Value{h}, err
}

// Unseal returns the bytes of v. It is ErrLabel if our label is not as high as
// that of v, unless a privilege in o makes it so; with Raise ours is raised first.
func (v Value) Unseal(ctx context.Context, o Options) ([]byte, error) {
	data, _, err := v.UnsealLabel(ctx, o)
	return data, err
}

// UnsealLabel is Unseal that also returns the label of v.
func (v Value) UnsealLabel(ctx context.Context, o Options) ([]byte, Label, error) {
	t, err := v.c.ask(ctx, wire.OpUnseal, "value", o.ask(v.Handle))
	return t.Data, t.Label, err
}

// Relabel makes a value of the same bytes at another label, between which and the
// old one a privilege in o makes no difference.
func (v Value) Relabel(ctx context.Context, l Label, o Options) (Value, error) {
	return v.copy(ctx, wire.OpRelabel, l, o)
}

// Taint makes a value of the same bytes at the join of its label and l. Nobody
// needs to be able to read it for that.
func (v Value) Taint(ctx context.Context, l Label, o Options) (Value, error) {
	return v.copy(ctx, wire.OpTaint, l, o)
}

func (v Value) copy(ctx context.Context, op wire.Op, l Label, o Options) (Value, error) {
	a := o.ask(v.Handle)
	a.Label = l
	h, err := v.c.make(ctx, op, "to "+l.String(), a)
	return Value{h}, err
}
