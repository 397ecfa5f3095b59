package sdk

import (
	"context"

	"cofferdam/wire"
)

// Labels is what the monitor has written down about us.
type Labels struct {
	Label     Label    // what we may have read, and who vouches for us
	Clearance Label    // how far Label may rise
	Owns      Formula  // the privileges that we have
	Handles   []Handle // those that we were started with, in the order of who started us, and those of the privileges that it gave
}

// Labels tells what we are.
func (c *Client) Labels(ctx context.Context) (Labels, error) {
	t, err := c.ask(ctx, wire.OpLabels, "", &wire.Ask{})
	if err != nil {
		return Labels{}, err
	}
	return Labels{t.Label, t.Clearance, t.Owns, c.handles(t.Handles)}, nil
}

// Raise sets our label to a higher one, for good: what we may then read we may
// no longer tell those below. It is all of us that rises, every process and
// connection: consider to start another environment at that label ([Client.Start]).
//
// It is ErrLabel if our clearance forbids it, or a connection that could then no longer be;
// with Force that is cut.
func (c *Client) Raise(ctx context.Context, to Label, o Options) error {
	return c.become(ctx, wire.OpRaise, to, o)
}

// Lower sets our label to a lower one, which takes a privilege in o: all that we
// know is thereby released.
func (c *Client) Lower(ctx context.Context, to Label, o Options) error {
	return c.become(ctx, wire.OpLower, to, o)
}

// SetClearance sets our clearance: lower freely, as far as our label; higher with a
// privilege in o.
func (c *Client) SetClearance(ctx context.Context, to Label, o Options) error {
	return c.become(ctx, wire.OpClearance, to, o)
}

func (c *Client) become(ctx context.Context, op wire.Op, to Label, o Options) error {
	a := o.ask()
	a.Label = to
	_, err := c.ask(ctx, op, "to "+to.String(), a)
	return err
}
