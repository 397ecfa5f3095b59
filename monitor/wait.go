package monitor

import (
	"errors"
	"time"

	"cofferdam/guard"
	"cofferdam/wire"
)

// wait is a request to receive from a mailbox, or to put into a shared one, which
// has been decided on and is done as soon as it can be.
//
// While it waits it is one of the things that last: it holds at the label and with
// the privileges with which it was decided, and a change of label at which it would
// not is refused, or cuts it before. So what comes later never decides whether it
// may, and a refusal never tells that something came.
type wait struct {
	errand

	done    bool // nobody but who has set it answers; guarded by box.mu
	claimed bool // it cannot be withdrawn any more; guarded by box.mu until it is done

	place   place // among those who wait
	lasting       // once it is in line
	due
	conn *conn
	id   uint64
}

// What try says that is no answer.
var (
	errWait = errors.New("not yet")
	errOver = errors.New("answered by another, or withdrawn")
)

// holds is the check of the operation.
func (w *wait) holds(s guard.State) error {
	if w.op == opRecv {
		return s.Read(w.errand.with, w.box.label)
	}
	return s.Write(w.errand.with, w.box.label)
}

// try does what w is for, if that can be done now. Otherwise it is errWait,
// and w is in line if line says so. Any other answer is the caller's to give.
//
// The check is made anew, under the lock that a change of label takes.
func (w *wait) try(line bool) (told wire.Told, err error) {
	f, b := &w.env.flow, w.box
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.done {
		return told, errOver
	}
	s := *f.state.Load()
	if err = f.mayName(w.errand.with); err == nil {
		err = w.holds(s)
	}
	switch {
	case f.ended:
		err = wire.ErrUnavailable
	case err != nil && w.lined():
		// It is about to be cut. Until then it waits, but for nothing: to end now
		// would tell that something came.
		w.unline()
		return told, errWait
	case err != nil:
	case w.op == opPut:
		err = w.put()
	default:
		told, err = w.receive(s)
	}
	if err != errWait {
		w.over()
		f.strike(&w.lasting)
		return told, err
	}
	if line && !w.lined() {
		w.lasting = lasting{name: w.op.name + " " + b.name, with: w.errand.with, holds: w.holds, cut: w.cut}
		f.book(&w.lasting)
		if w.op == opPut {
			b.lineUp(w)
		} else {
			b.takers.add(w)
		}
	}
	return told, err
}

// lined tells whether w is one of those that wait. The caller holds the lock of
// the flow.
func (w *wait) lined() bool { return w.lasting.holds != nil }

// put adds the message, if nobody is to come before. The caller holds both locks.
func (w *wait) put() error {
	b := w.box
	if !b.mayEnter(w) {
		return errWait
	}
	if !w.claim() {
		return wire.ErrCanceled
	}
	b.push(w.message)
	return nil
}

// claim makes sure that w is still wanted, so that no message goes to nobody,
// and none comes from who has withdrawn it.
func (w *wait) claim() bool {
	w.claimed = w.conn == nil || w.conn.claim(w.id, w)
	return w.claimed
}

// receive takes the next message, with handles of what came with it. A message
// whose handles are too many for its receiver stays, until it drops some; of
// privileges that are too much for it, which nothing that it could do might change,
// the handle is 0, so that nobody can block it with them. A message that was taken is
// lost only if the connection that it goes to ends. The caller holds both locks.
func (w *wait) receive(s guard.State) (wire.Told, error) {
	b := w.box
	switch {
	case b.ended:
		return wire.Told{}, wire.ErrDenied
	case len(b.queue) == 0, !b.shared && !b.reads(w.env):
		return wire.Told{}, errWait
	case !w.claim():
		return wire.Told{}, wire.ErrCanceled
	}
	handles, err := w.env.flow.holdAll(b.queue[0].objects, errOwnsEnough)
	if err != nil {
		return wire.Told{}, err
	}
	if !b.shared && !s.Label.FlowsUnder(w.errand.with, b.label) {
		b.above = true
	}
	m := b.pop()
	return wire.Told{Label: b.label, Handles: handles, Caller: &m.from, Data: m.data}, nil
}

// over marks w as done, and takes it out of the line. The caller holds the
// lock of the mailbox.
func (w *wait) over() {
	w.done = true
	w.unline()
}

func (w *wait) unline() {
	b := w.box
	if w.op == opPut {
		b.leaveLine(w)
		b.enter() // the next one may be smaller
		return
	}
	b.takers.remove(w)
}

// end is over for whoever withdraws w. It reports whether this did it.
func (w *wait) end() bool {
	w.box.mu.Lock()
	defer w.box.mu.Unlock()
	if w.done {
		return false
	}
	w.over()
	return true
}

// answer tells the asker what became of w, once it is over: also one who has
// withdrawn it, because a message may have been on its way to him.
func (w *wait) answer(told wire.Told, err error) {
	w.leave()
	if !w.claimed && !w.conn.claim(w.id, w) {
		told, err = wire.Told{}, wire.ErrCanceled
	}
	code, body := answerOf(&told, err)
	w.conn.reply(w.id, code, body)
}

// leave gives back what it took to wait.
func (w *wait) leave() {
	w.env.flow.release(&w.lasting)
	w.env.deadlines().remove(&w.due)
	w.env.held.give(w.bytes)
}

// none is what it is to have waited for nothing.
func (w *wait) none() error {
	if w.op == opPut {
		return wire.ErrBusy
	}
	return wire.ErrEmpty
}

// expired is for when its time is up.
func (w *wait) expired() {
	if w.end() {
		w.answer(wire.Told{}, w.none())
		w.box.serve()
	}
}

// cancel is for when nobody wants it any more.
func (w *wait) cancel() {
	if w.end() {
		w.answer(wire.Told{}, wire.ErrCanceled)
		w.box.serve()
	}
}

// cut ends w because of a change of label, or of what its asker owns.
func (w *wait) cut() {
	if w.end() {
		w.answer(wire.Told{}, wire.ErrCanceled)
		w.box.serve()
	}
}

// await lets w wait as long as f says.
func (c *conn) await(f *wire.Frame, w *wait) bool {
	e := c.env
	w.conn, w.id = c, f.ID
	w.due = due{time.Now().Add(f.Timeout), -1, w}
	if !e.held.take(w.bytes) {
		return c.reply(f.ID, wire.Busy, nil)
	}
	if code := c.ask(f.ID, w); code != wire.OK {
		e.held.give(w.bytes)
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	e.deadlines().add(&w.due)
	told, err := w.try(true)
	if !e.still(w.use) {
		w.cut()
	}
	switch err {
	case errWait:
	case errOver:
		e.deadlines().remove(&w.due) // it was over before it was there
	default:
		w.answer(told, err)
	}
	w.box.serve()
	return true
}
