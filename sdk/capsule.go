package sdk

import (
	"context"

	"cofferdam/wire"
)

// Seal is a new seal in its three parts, each of which can be given away by itself.
type Seal struct {
	Sealer   Sealer
	Unsealer Unsealer
	Tester   Tester
}

// Sealer is the part of a seal that makes capsules.
type Sealer struct{ Handle }

// Unsealer is the part of a seal that opens the capsules that bear it.
type Unsealer struct{ Handle }

// Tester is the part of a seal that recognises the capsules that bear it.
type Tester struct{ Handle }

// Capsule is bytes under a seal: of no use to who does not have its unsealer, and
// certain to be from somebody who had its sealer. It has a label besides, as a Value.
type Capsule struct{ Handle }

// NewSeal makes a seal that no other one equals.
func (c *Client) NewSeal(ctx context.Context) (Seal, error) {
	t, err := c.ask(ctx, wire.OpNewSeal, "", &wire.Ask{})
	if err == nil && len(t.Handles) != 3 {
		err = &CallError{Op: wire.OpNewSeal.String(), Err: noHandle}
	}
	if err != nil {
		return Seal{}, err
	}
	h := c.handles(t.Handles)
	return Seal{Sealer{h[0]}, Unsealer{h[1]}, Tester{h[2]}}, nil
}

// Seal makes a capsule of data at label l, which is as for [Client.Seal].
func (s Sealer) Seal(ctx context.Context, l Label, data []byte, o Options) (Capsule, error) {
	a := o.ask(s.Handle)
	a.Label, a.Data = l, data
	h, err := s.c.make(ctx, wire.OpEnclose, "at "+l.String(), a)
	return Capsule{h}, err
}

// Unseal returns the bytes in a capsule that bears our seal; any other is ErrDenied.
// Its label is treated as by [Value.Unseal].
func (u Unsealer) Unseal(ctx context.Context, capsule Capsule, o Options) ([]byte, error) {
	t, err := u.c.ask(ctx, wire.OpDisclose, "capsule", o.ask(u.Handle, capsule.Handle))
	return t.Data, err
}

// Authenticate tells whether a capsule bears our seal.
func (u Unsealer) Authenticate(ctx context.Context, capsule Capsule) (bool, error) {
	return authenticate(ctx, u.Handle, capsule)
}

// Authenticate tells whether a capsule bears our seal.
func (t Tester) Authenticate(ctx context.Context, capsule Capsule) (bool, error) {
	return authenticate(ctx, t.Handle, capsule)
}

func authenticate(ctx context.Context, by Handle, capsule Capsule) (bool, error) {
	var o Options
	t, err := by.c.ask(ctx, wire.OpAuthenticate, "capsule", o.ask(by, capsule.Handle))
	return len(t.Data) > 0, err
}
