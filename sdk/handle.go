package sdk

import (
	"context"

	"cofferdam/wire"
)

// Handle stands for something that the monitor keeps for us: a [Value], a
// [Mailbox], a [Result], a [Privilege], a [Sealer], [Unsealer] or [Tester], a [Capsule].
// It can be sent to others, who get one of their own. It is a number in the table of
// our environment, and of no use to anybody else.
//
// What it stands for the receiver has to know, as of any message: to use it as
// what it is not is ErrDenied.
type Handle struct {
	c      *Client
	number uint64
}

// Value is the labeled value that h stands for.
func (h Handle) Value() Value { return Value{h} }

// Mailbox is the mailbox that h stands for.
func (h Handle) Mailbox() Mailbox { return Mailbox{Handle: h} }

// Result is the end of a child that h stands for.
func (h Handle) Result() Result { return Result{h} }

// Privilege is the privilege that h stands for.
func (h Handle) Privilege() Privilege { return Privilege{h} }

// Sealer is the half of a seal that h stands for, which seals.
func (h Handle) Sealer() Sealer { return Sealer{h} }

// Unsealer is the half of a seal that h stands for, which unseals.
func (h Handle) Unsealer() Unsealer { return Unsealer{h} }

// Tester is the half of a seal that h stands for, which recognises capsules.
func (h Handle) Tester() Tester { return Tester{h} }

// Capsule is the capsule that h stands for.
func (h Handle) Capsule() Capsule { return Capsule{h} }

// Label is that of the value, mailbox or result that h stands for, for which it need
// not be possible to read it. Of anything else it is ErrDenied, or Public for a privilege.
func (h Handle) Label(ctx context.Context) (Label, error) {
	t, err := h.described(ctx)
	return t.Label, err
}

func (h Handle) described(ctx context.Context) (wire.Told, error) {
	var o Options
	return h.c.ask(ctx, wire.OpLabels, "of a handle", o.ask(h))
}

// Drop gives h up. Others who have one of the same keep theirs. To drop one twice
// is no error.
func (h Handle) Drop(ctx context.Context) error {
	if h.c == nil {
		return nil
	}
	return h.c.Drop(ctx, h)
}

// Drop gives handles up, all at once.
func (c *Client) Drop(ctx context.Context, handles ...Handle) error {
	for len(handles) > 0 {
		n := min(len(handles), wire.MaxHandles)
		o := Options{Handles: handles[:n]}
		if _, err := c.ask(ctx, wire.OpDrop, "handles", o.ask()); err != nil {
			return err
		}
		handles = handles[n:]
	}
	return nil
}

// handles are ours with these numbers.
func (c *Client) handles(numbers []uint64) []Handle {
	var all []Handle
	for _, n := range numbers {
		all = append(all, Handle{c, n})
	}
	return all
}

func numbers(handles []Handle) []uint64 {
	var all []uint64
	for _, h := range handles {
		all = append(all, h.number)
	}
	return all
}
