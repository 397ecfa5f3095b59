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

// errand is an operation of an environment on a mailbox.
type errand struct {
	env     *Env
	op      op
	box     *mailbox
	with    label.Privileges
	message // that is to be sent

	// For the record.
	object string
	rule   string
	labels *audit.Labels
	use    use   // zero for one by a handle
	quiet  bool  // it is recorded already, or need not be
	toll   *toll // of the grant
}

// mail answers an operation on a mailbox: at once if that is possible, and otherwise
// if it may wait, when it is.
func (c *conn) mail(f *wire.Frame) bool {
	a, err := wire.ParseAsk(f.Op, f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	w := &wait{errand: errand{env: c.env, op: mailOps[f.Op]}}
	if w.op == opPost {
		return c.post(f.ID, &w.errand, &a)
	}
	err = w.decide(&a)
	if much, ok := err.(*tooMuch); ok {
		return c.refuse(f.ID, much)
	}
	var told wire.Told
	if err = w.recorded(err); err == nil {
		if told, err = w.try(false); err == errWait {
			if f.Timeout > 0 {
				return c.await(f, w)
			}
			err = w.none()
		}
	}
	code, body := answerOf(&told, err)
	ok := c.reply(f.ID, code, body)
	if w.box != nil {
		w.box.serve()
	}
	return ok
}

// post sends a message blindly: whoever may is told that it was accepted,
// whatever becomes of it. Until then nothing is done that takes a time which
// depends on that.
func (c *conn) post(id uint64, r *errand, a *wire.Ask) bool {
	err := r.decide(a)
	if much, ok := err.(*tooMuch); ok {
		return c.refuse(id, much)
	}
	if err == nil {
		if much := r.env.mayPost(); much != nil {
			return c.refuse(id, much)
		}
	}
	var dropped string
	if err == nil {
		dropped, err = r.post()
	} else {
		err = r.recorded(err)
	}
	code, body := answerOf(&wire.Told{}, err)
	ok := c.reply(id, code, body)
	if err != nil {
		return ok
	}
	if dropped != "" && r.quiet {
		r.dropped(dropped)
	}
	r.box.serve()
	return ok
}

// post records the errand, with what becomes of its message, and does it: it adds
// the message if there is room, and otherwise drops it.
func (r *errand) post() (dropped string, err error) {
	b := r.box
	b.mu.Lock()
	switch {
	case b.ended:
		dropped = "dropped: its owner has ended"
	case !b.room(&r.message):
		dropped = b.full(&r.message)
		r.env.self.counts.hit(limitMailbox)
	}
	if !r.quiet {
		err = r.env.m.noteLabels(r.env, r.op, r.object, 0, Verdict{Allowed: true, Rule: r.rule}, dropped, r.labels)
	}
	if err == nil && dropped == "" {
		b.push(r.message)
	}
	if err == nil && dropped != "" {
		b.dropped++
	}
	b.mu.Unlock()
	if err != nil {
		time.Sleep(r.env.records.take(time.Now()))
	}
	return dropped, err
}

// decide decides on an errand that is asked for by a, up to what is to be
// recorded of it.
func (r *errand) decide(a *wire.Ask) (err error) {
	e := r.env
	r.object = a.Name
	if r.object == "" {
		r.object = "mailbox"
	}
	b, err := r.find(a)
	if err != nil {
		return err
	}
	if err := e.within(r.op, b.name, r.toll, len(a.Data)); err != nil {
		return err
	}
	r.box, r.object, r.with = b, b.name, a.Privileges()
	if err = e.mayName(r.with); err == nil {
		err = e.mayUse(r.op, a, b.label)
	}
	if err == nil && (r.op == opPost || r.op == opPut) {
		if r.message, err = e.message(a); err == nil {
			err = b.fits(&r.message)
		}
	}
	if err == nil && !b.declared && r.known() {
		r.quiet = true
		return nil
	}
	r.labels = e.labels(a, b.label)
	return err
}

// recorded records the decision on an errand, and returns it.
func (r *errand) recorded(err error) error {
	if r.quiet {
		return err
	}
	v := Verdict{Allowed: err == nil, Rule: r.rule}
	if err != nil && err != ErrDenied {
		v.Rule += ": " + err.Error()
	}
	return r.env.concluded(r.op, r.object, v, r.labels, err)
}

// find finds the mailbox that a is about, and by what rule it may be used. It
// leaves in a the privileges that are used and the handles that are sent.
//
// The name of one that is not there and of one that is not granted are the same, and
// so are a handle of nothing and of something else.
func (r *errand) find(a *wire.Ask) (*mailbox, error) {
	e, o := r.env, r.op
	has := e.rights.Load()
	if a.Name != "" {
		r.use = use{o, a.Name, has}
		b := has.policy.mailboxes[a.Name]
		if o == opRecv {
			if b == nil || b.owner != e.id.Service {
				r.rule = noGrant
				return nil, ErrDenied
			}
			r.rule = "mailboxes." + a.Name + ".owner"
			return b, nil
		}
		v := has.grants.decide(o, a.Name, len(e.id.Bound) > 0)
		r.rule = v.Rule
		if !v.Allowed {
			return nil, ErrDenied
		}
		r.toll = v.toll
		g := has.grants[o.kind][a.Name]
		a.Out, a.In = a.Out.And(g.Out), a.In.And(g.In)
		return b, nil
	}
	r.rule = "handle"
	first, err := held[object](e, a.Handles[0])
	a.Handles = a.Handles[1:]
	if err != nil {
		return nil, err
	}
	switch to := first.(type) {
	case owned:
		if o == opPost || o == opRecv {
			return to.mailbox, nil
		}
	case *mailbox:
		if o == opPost {
			return to, nil
		}
	default:
		return nil, wire.ErrDenied
	}
	return nil, refused("a handle of a mailbox is there to post to it, and its owner's to receive")
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
	b.declared, b.shared, b.bytes, b.allBytes = false, false, minMailboxBytes, minMailboxBytes
	b.readers = []*Env{e}
	f := &e.flow
	f.mu.Lock()
	f.made++
	b.name = fmt.Sprintf("%s/%d", e.id.Instance, f.made)
	f.mu.Unlock()
	if err := e.decided(opMailbox, b.name, e.labels(a, a.Label), err); err != nil {
		return wire.Told{}, err
	}
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

// posting is what e has done to a mailbox that it has a handle of, without a
// privilege, at a label. It is recorded when it begins.
type posting struct {
	box *mailbox
	at  guard.State
}

// known tells whether an errand that needed no grant is recorded already, or need
// not be: what anybody can do who has made a mailbox, as often as he likes, would
// fill the log. What a privilege was used for always is recorded.
func (r *errand) known() bool {
	e := r.env
	if r.with == (label.Privileges{}) {
		if r.op == opRecv {
			return true // of what was posted, by who made it
		}
		f := &e.flow
		now := posting{r.box, e.at()}
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

// mayPost counts a post of e, however it came to the mailbox.
func (e *Env) mayPost() *tooMuch {
	l := e.flow.posts
	if l == nil {
		return nil
	}
	wait, ok := l.of(payer{}).try(1, time.Now())
	if ok {
		return nil
	}
	l.fired(e, payer{}, opPost, "", "more is refused")
	return &tooMuch{l, wait}
}

// dropped records that the message of a quiet errand was dropped, but not each
// time.
func (r *errand) dropped(why string) {
	b := r.box
	now := time.Now()
	b.mu.Lock()
	news := now.Sub(b.said) >= sayEvery
	if news {
		b.said = now
	}
	b.mu.Unlock()
	if news {
		r.env.limited(opPost, b.name, fmt.Sprintf("%s; said at most once in %v", why, sayEvery))
	}
}

// limited records that a limit fired.
func (e *Env) limited(o op, object, detail string) {
	e.m.log.Append(audit.Record{
		Kind: audit.KindLimit, Subject: e.id.Service, Instance: e.id.Instance, Principal: e.id.Principal, Op: o.name, Object: object, Detail: detail,
	})
}
