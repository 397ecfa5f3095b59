package sdk

import (
	"context"

	"cofferdam/wire"
)

// Privilege is a privilege to be given away: whoever gets a handle of it owns what
// it says, until that is revoked.
type Privilege struct{ Handle }

// Delegate makes a privilege of what we own, which must imply it. Nobody has it yet:
// it goes to others with a message, a call or a spawn.
func (c *Client) Delegate(ctx context.Context, f Formula) (Privilege, error) {
	h, err := c.make(ctx, wire.OpDelegate, f.String(), &wire.Ask{Privilege: f})
	return Privilege{h}, err
}

// Formula is what p says.
func (p Privilege) Formula(ctx context.Context) (Formula, error) {
	t, err := p.described(ctx)
	return t.Owns, err
}

// Revoke ends p: nobody owns any more what they owned by it, and neither do those
// to whom they delegated of that. What was open because of it is cut.
func (p Privilege) Revoke(ctx context.Context) error {
	var o Options
	_, err := p.c.ask(ctx, wire.OpRevoke, "privilege", o.ask(p.Handle))
	return err
}
