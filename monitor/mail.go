package monitor

import (
	"bytes"
	"fmt"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// mailOps are the operations on a mailbox, but for making one.
var mailOps = map[wire.Op]op{wire.OpPost: opPost, wire.OpPut: opPut, wire.OpRecv: opRecv, wire.OpTake: opTake}

// mail answers an operation on a mailbox: at once if that is possible, and otherwise
// if it may wait, when it is.
func (c *conn) mail(f *wire.Frame) bool {
	e := c.env
	a, err := wire.ParseAsk(f.Op, f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	if f.Op == wire.OpPost {
		return c.post(f.ID, &a)
	}
	w, err := e.mail(mailOps[f.Op], &a)
	var told wire.Told
	if err == nil {
		if told, err = w.try(false); err == errWait {
			if f.Timeout > 0 {
				return c.await(f, w)
			}
			err = w.none()
		}
	}
	code, body := answerOf(&told, err)
	ok := c.reply(f.ID, code, body)
	if w != nil {
		w.box.serve()
	}
	return ok
}

// post sends a message blindly: whoever may is told that it was accepted,
// whatever becomes of it, and before anything does that takes a time which
// depends on that.
func (c *conn) post(id uint64, a *wire.Ask) bool {
	e := c.env
	w, err := e.mail(opPost, a)
	if err == nil && !e.flow.posts.try(time.Now()) {
		e.postedTooMuch()
		err = wire.ErrBusy
	}
	var dropped string
	if err == nil {
		dropped = w.box.post(w.message)
	}
	code, body := answerOf(&wire.Told{}, err)
	ok := c.reply(id, code, body)
	if err != nil {
		return ok
	}
	if dropped != "" {
		e.dropped(w.box, dropped)
	}
	w.box.serve()
	return ok
}

// mail decides on an operation on a mailbox and records it. What it returns is
// still to be done.
func (e *Env) mail(o op, a *wire.Ask) (*wait, error) {
	b, rule, err := e.mailbox(o, a)
	if err != nil {
		name := a.Name
		if name == "" {
			name = "mailbox"
		}
		return nil, e.judged(o, name, rule, nil, err)
	}
	w := &wait{env: e, box: b, op: o, lasting: lasting{with: a.Privileges()}}
	before := e.at()
	if err = e.mayName(w.with); err == nil {
		err = e.mayUse(o, a, b.label)
	}
	if err == nil && (o == opPost || o == opPut) {
		if w.message, err = e.message(a); err == nil {
			err = b.fits(&w.message)
		}
	}
	if err == nil && !b.declared && e.at() == before && e.quiet(o, b, w.with) {
		return w, nil
	}
	if err := e.judged(o, b.name, rule, e.labels(a, b.label), err); err != nil {
		return nil, err
	}
	return w, nil
}

// mailbox finds the mailbox that a is about, and why e may use it. It leaves in
// a the privileges that are used and the handles that are sent.
//
// The name of one that is not there and of one that is not granted are the same, and
// so are a handle of nothing and of something else.
func (e *Env) mailbox(o op, a *wire.Ask) (b *mailbox, rule string, err error) {
	if a.Name != "" {
		b = e.m.mailboxes[a.Name]
		if o == opRecv {
			if b == nil || b.owner != e.id.Service {
				return nil, noGrant, ErrDenied
			}
			return b, "mailboxes." + a.Name + ".owner", nil
		}
		v := e.grants.decide(o, a.Name, len(e.id.Bound) > 0)
		if !v.Allowed {
			return nil, v.Rule, ErrDenied
		}
		g := e.grants[o.kind][a.Name]
		a.Out, a.In = a.Out.And(g.Out), a.In.And(g.In)
		return b, v.Rule, nil
	}
	first, err := held[object](e, a.Handles[0])
	a.Handles = a.Handles[1:]
	if err != nil {
		return nil, "handle", err
	}
	switch to := first.(type) {
	case owned:
		b = to.mailbox
		if o == opPost || o == opRecv {
			return b, "handle", nil
		}
	case *mailbox:
		b = to
		if o == opPost {
			return b, "handle", nil
		}
	default:
		return nil, "handle", wire.ErrDenied
	}
	return nil, "handle", refused("a handle of a mailbox is there to post to it, and its owner's to receive")
}

// mayUse decides whether the labels let e do o to a mailbox with the label m, and raises
// e first if that is what it wants. The raise stays, whatever is found then.
func (e *Env) mayUse(o op, a *wire.Ask, m label.Label) error {
	p := a.Privileges()
	switch o {
	case opPost:
		return e.at().Alloc(p, m)
	case opRecv:
		return e.read(a, m)
	}
	if a.Mode&wire.ModeRaise == 0 {
		return e.at().Write(p, m)
	}
	if err := e.at().Alloc(p, m); err != nil {
		return err
	}
	return e.read(a, m)
}

// message is what a says to send.
func (e *Env) message(a *wire.Ask) (message, error) {
	m := message{from: e.id, data: bytes.Clone(a.Data), bytes: len(a.Data) + envelopeBytes}
	if len(a.Handles) == 0 {
		return m, nil
	}
	var err error
	if m.objects, err = e.objects(a.Handles); err != nil {
		return m, err
	}
	for _, o := range m.objects {
		m.bytes += o.size() + handleBytes
	}
	return m, nil
}

// newMailbox makes a mailbox of which e is the owner. That it is there is known
// where e was when it started: there must e still be able to write.
func (e *Env) newMailbox(a *wire.Ask) (wire.Told, error) {
	p := a.Privileges()
	err := e.mayName(p)
	if err == nil {
		err = e.at().Write(p, e.flow.container)
	}
	if err == nil {
		err = e.at().Alloc(p, a.Label)
	}
	if long := tellable(a.Label); err == nil && long != nil {
		err = refused("%v", long)
	}
	b := newMailbox(Mailbox{Label: a.Label})
	b.declared, b.shared, b.bytes = false, false, minMailboxBytes
	b.readers = []*Env{e}
	f := &e.flow
	f.mu.Lock()
	f.made++
	b.name = fmt.Sprintf("%s/%d", e.id.Instance, f.made)
	f.mu.Unlock()
	if err := e.judged(opMailbox, b.name, "labels", e.labels(a, a.Label), err); err != nil {
		return wire.Told{}, err
	}
	time.Sleep(e.records.take(time.Now())) // it takes no grant
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mailboxes >= MaxMailboxes {
		return wire.Told{}, wire.ErrBusy
	}
	h, err := f.hold(owned{b})
	if err != nil {
		return wire.Told{}, err
	}
	f.mailboxes++
	return wire.Told{Label: a.Label, Handles: []uint64{h}}, nil
}

// judged records the decision on something of a mailbox, and returns it.
func (e *Env) judged(o op, object, rule string, labels *audit.Labels, err error) error {
	v := Verdict{Allowed: err == nil, Rule: rule}
	if err != nil && err != ErrDenied {
		v.Rule += ": " + err.Error()
	}
	return e.concluded(o, object, v, labels, err)
}

// posting is what e has done to a mailbox that it has a handle of, without a
// privilege, at a label. It is recorded when it begins.
type posting struct {
	box *mailbox
	at  guard.State
}

// quiet tells whether an operation that needed no grant is recorded already, or need
// not be: what anybody can do who has made a mailbox, as often as he likes, would
// fill the log. What a privilege was used for always is.
func (e *Env) quiet(o op, b *mailbox, with label.Privileges) bool {
	if with == (label.Privileges{}) {
		if o == opRecv {
			return true // of what was posted, by who made it
		}
		f := &e.flow
		now := posting{b, e.at()}
		f.mu.Lock()
		_, known := f.postings[now]
		if !known {
			if f.postings == nil || len(f.postings) >= maxPostings {
				f.postings = make(map[posting]struct{})
			}
			f.postings[now] = struct{}{}
		}
		f.mu.Unlock()
		if known {
			return true
		}
	}
	time.Sleep(e.records.take(time.Now()))
	return false
}

// dropped records that a message of e was dropped, which e is not told. For a
// mailbox without a grant it is not recorded each time.
func (e *Env) dropped(b *mailbox, why string) {
	if !b.declared {
		b.mu.Lock()
		now := time.Now()
		news := now.Sub(b.said) >= sayEvery
		if news {
			b.said = now
		}
		b.mu.Unlock()
		if !news {
			return
		}
	}
	e.limited(opPost, b.name, "dropped: "+why)
}

// postedTooMuch records that e has used its posts up.
func (e *Env) postedTooMuch() {
	if e.flow.posts.news(time.Now()) {
		e.limited(opPost, "", fmt.Sprintf("%d/s reached; said at most once in %v", postsEach, sayEvery))
	}
}

// limited records that a limit fired.
func (e *Env) limited(o op, object, detail string) {
	e.m.log.Append(audit.Record{
		Kind: audit.KindLimit, Subject: e.id.Service, Instance: e.id.Instance, Op: o.name, Object: object, Detail: detail,
	})
}
