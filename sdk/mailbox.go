package sdk

import (
	"context"

	"cofferdam/wire"
)

// Mailbox is a queue of messages, with one fixed label for whatever is in it. It
// has either one owner, who alone receives, or is shared by those who take.
type Mailbox struct {
	Handle // of one made at run time; one of the manifest has none
	name   string
}

// Message is what was in a mailbox.
type Message struct {
	Data    []byte
	Handles []Handle // that came with it, ours to drop; of a privilege that would have been too much for us, one of nothing
	From    Identity // who sent it, as the monitor knows
	Label   Label    // of the mailbox
}

// Mailbox is the mailbox of the manifest with this name. Nothing is asked yet: whether
// we may use it, whether it is there, is answered when we do.
func (c *Client) Mailbox(name string) Mailbox { return Mailbox{Handle{c: c}, name} }

// NewMailbox makes a mailbox at label l, which we own: only we receive from it.
// Others send to it with the handle that we give them.
func (c *Client) NewMailbox(ctx context.Context, l Label, o Options) (Mailbox, error) {
	a := o.ask()
	a.Label = l
	h, err := c.make(ctx, wire.OpMailbox, "at "+l.String(), a)
	return Mailbox{Handle: h}, err
}

// Post sends a message to m blindly: that it is not refused says nothing about
// whether there was room for it, or whether anybody reads it. It may go to a mailbox
// with a higher label than ours. It is ErrLabel if our label does not flow there.
func (m Mailbox) Post(ctx context.Context, data []byte, o Options) error {
	a := m.asked(o)
	a.Data = data
	_, err := m.c.ask(ctx, wire.OpPost, m.String(), a)
	return err
}

// Put sends a message as soon as there is room, which takes being at the label of
// m. It is ErrBusy if there was none within the deadline of ctx.
func (m Mailbox) Put(ctx context.Context, data []byte, o Options) error {
	a := m.asked(o)
	a.Data = data
	_, err := m.c.askUntil(ctx, wire.OpPut, m.String(), a, o.Now)
	return err
}

// Recv returns the next message of a mailbox that we own, as soon as there is one.
// It is ErrEmpty if there was none within the deadline of ctx, and ErrLabel if we
// are not at its label; with Raise we are raised first, and stay so, also if nothing
// comes. With Now it does not wait.
//
// When ctx is canceled while a message is on its way to us, Recv returns that.
func (m Mailbox) Recv(ctx context.Context, o Options) (Message, error) {
	return m.next(ctx, wire.OpRecv, o)
}

// Take is Recv of a shared mailbox. That a message is gone is seen by others, so it
// takes being at the label of m, neither higher nor lower.
func (m Mailbox) Take(ctx context.Context, o Options) (Message, error) {
	return m.next(ctx, wire.OpTake, o)
}

func (m Mailbox) next(ctx context.Context, op wire.Op, o Options) (Message, error) {
	t, err := m.c.askUntil(ctx, op, m.String(), m.asked(o), o.Now)
	if err != nil {
		return Message{}, err
	}
	msg := Message{Data: t.Data, Handles: m.c.handles(t.Handles), Label: t.Label}
	if t.Caller != nil {
		msg.From = *t.Caller
	}
	return msg, nil
}

// asked is what m is asked with.
func (m Mailbox) asked(o Options) *wire.Ask {
	if m.name != "" {
		a := o.ask()
		a.Name = m.name
		return a
	}
	return o.ask(m.Handle)
}

// String is the name of m, or "mailbox" for one that was made at run time.
func (m Mailbox) String() string {
	if m.name != "" {
		return m.name
	}
	return "mailbox"
}
