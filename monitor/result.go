package monitor

import (
	"context"
	"errors"
	"sync"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// maxOutput is the longest output that an answer holds, next to what else it says.
const maxOutput = wire.MaxBody - 4<<10

// result is what becomes of a child, an environment that another one has spawned:
// how it ended and what it printed. It has one label, which was agreed on before
// the child began, and is told to those alone who are at it.
//
// Nothing of a child is told that had a label above that. The moment it rises there
// its result is withheld, and this is said before it rises: from then on its end
// and when that comes are nobody's to see. So to wait for a result is a read of
// the result alone, whatever the child does, and raises nobody to the child's label.
//
// A child lasts as long as its spawner has a handle of the result, and with it what
// was given to the child. Then it is killed, as blindly as by whoever asks for that:
// if its spawner may write to where it is by then, and otherwise it goes on to the
// limit of its own time.
type result struct {
	tie    leash
	by     *Env
	use    use
	label  label.Label
	start  Flow             // of the child
	with   label.Privileges // that its spawner named
	output int              // bytes that it prints at most
	gives  []*privilege
	given  []object // that the child starts with; nil once it has them
	weight int      // of those, in bytes
	stop   context.CancelFunc
	told   func(wire.Code, []byte) // is called once it is known; nil for none

	mu      sync.Mutex // taken last, and alone
	child   *Env       // nil until it is a subject
	known   bool       // code and body are
	code    wire.Code
	body    []byte
	waiters map[*waiter]struct{}
	left    bool // by its spawner
	charged bool // its spawner for the weight, as it has no handle
}

func (*result) kind() string { return "result" }

// size is what it may come to be, and what it keeps for the child. What it is may not
// show in what its holders have room for.
func (r *result) size() int     { return r.output + r.weight }
func (r *result) leash() *leash { return &r.tie }
func (r *result) gone(by *Env) {
	if by == r.by && r.tie.slack() {
		r.leave()
	}
}

// admit makes child the one that r is of, before its program runs.
func (r *result) admit(child *Env) {
	first := r.give()
	for _, p := range r.gives {
		first = append(first, p)
	}
	if err := child.begin(first); err != nil {
		r.settle(wire.Unavailable, nil) // together they are too much
		r.stop()
		return
	}
	r.mu.Lock()
	r.child = child
	r.mu.Unlock()
	err := child.flow.lasts(&lasting{
		name:  "what you print and how you end",
		holds: func(s guard.State) error { return s.Tell(r.label) },
		cut:   func() { r.settle(wire.Withheld, nil) },
		soft:  true,
	})
	if err != nil {
		r.settle(wire.Withheld, nil)
	}
}

// give hands out what the child starts with, once.
func (r *result) give() []object {
	r.mu.Lock()
	defer r.mu.Unlock()
	given := r.given
	r.given = nil
	return given
}

// settle makes the result known, once.
func (r *result) settle(code wire.Code, body []byte) {
	r.mu.Lock()
	if r.known {
		r.mu.Unlock()
		return
	}
	r.known, r.code, r.body = true, code, body
	waiters := r.waiters
	r.waiters = nil
	r.mu.Unlock()
	for w := range waiters {
		w.answer(code, body)
	}
	if r.told != nil {
		r.told(code, body)
	}
}

// is is what r is if that is known. Otherwise w, if there is one, will be told.
func (r *result) is(w *waiter) (code wire.Code, body []byte, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known && w != nil {
		if r.waiters == nil {
			r.waiters = make(map[*waiter]struct{})
		}
		r.waiters[w] = struct{}{}
	}
	return r.code, r.body, r.known
}

func (r *result) forget(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiters, w)
}

// run runs the child to its end.
func (r *result) run(ctx context.Context, template string, req wire.Spawn) {
	ctx, done := r.by.turn(ctx, template, req.Principal)
	defer done()
	exit, err := r.by.m.spawner.Spawn(ctx, r.by.id, template, req, r.start, r.admit)
	r.give() // to nobody, if it did not begin
	if r.told == nil && exit.Cause != "" {
		err = nil // how it was made to end is how it ended
	}
	r.settle(outcome(exit, err))
	r.mu.Lock()
	left, end := r.left, r.start.Label
	if r.child != nil {
		end = r.child.at().Label
	}
	r.mu.Unlock()
	if left && end.FlowsTo(r.by.at().Label) {
		r.by.endChild(r)
	}
}

// kill ends the child if s, which uses p, may write to where it is.
func (r *result) kill(s guard.State, p label.Privileges) error {
	r.mu.Lock()
	at := r.start.Label
	if r.child != nil {
		at = r.child.at().Label
	}
	r.mu.Unlock()
	err := s.Kill(p, at)
	if err == nil {
		r.stop()
	}
	return err
}

// endUnseen is how long a child counts against its spawner once that has left it,
// if the spawner may not know when it ended.
const endUnseen = time.Second

// leave is for the spawner when it has no use for r any more.
func (r *result) leave() {
	r.mu.Lock()
	left := r.left
	r.left = true
	r.mu.Unlock()
	if left {
		return
	}
	with := r.with
	if r.by.mayName(with) != nil {
		with = label.Privileges{}
	}
	r.kill(r.by.at(), with)
	r.takeBack()
	r.discharge()
	time.AfterFunc(endUnseen, func() { r.by.endChild(r) })
}

// outcome is what is told of how a child ended. The error is that it did not, or
// that it was made to.
func outcome(exit wire.Exit, err error) (wire.Code, []byte) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Deadline, nil
	case errors.Is(err, context.Canceled):
		return wire.Canceled, nil
	case errors.Is(err, wire.ErrBusy):
		return wire.Busy, nil
	case err != nil:
		return wire.Unavailable, nil // the reason is the operator's to read
	}
	body := exit.Append(nil)
	if len(body) > wire.MaxBody {
		return wire.TooLarge, nil
	}
	return wire.OK, body
}

// waiter is a request for a result that is not known yet.
type waiter struct {
	lasting
	conn   *conn
	id     uint64
	result *result
	timer  *time.Timer
}

// wait answers with a result as soon as it is known.
func (c *conn) wait(f *wire.Frame) bool {
	e := c.env
	a, err := wire.ParseAsk(f.Op, f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	r, err := held[*result](e, a.Handles[0])
	if err != nil {
		err = e.decided(opWait, "result", nil, err)
	} else {
		if err = e.mayName(a.Privileges()); err == nil {
			err = e.read(&a, r.label)
		}
		err = e.quietly(opWait, r.kind(), &a, r.label, err)
	}
	if err != nil {
		code, body := answerOf(nil, err)
		return c.reply(f.ID, code, body)
	}
	if code, body, known := r.is(nil); known {
		code, body = r.answer(code, body)
		return c.reply(f.ID, code, body)
	}
	w := &waiter{conn: c, id: f.ID, result: r}
	// What it waits for is of this label; to have another one meanwhile takes
	// that it is still one to be told at.
	w.lasting = lasting{
		name:  "the wait for a result",
		with:  a.Privileges(),
		holds: func(s guard.State) error { return s.Read(a.Privileges(), r.label) },
		cut:   func() { w.answer(wire.Canceled, nil) },
	}
	w.timer = time.AfterFunc(time.Hour, func() { w.answer(wire.Empty, nil) })
	w.timer.Stop()
	if code := c.ask(f.ID, w); code != wire.OK {
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	if err := e.flow.lasts(&w.lasting); err != nil {
		code, body := answerOf(nil, err)
		c.settle(f.ID, w, code, body)
		return true
	}
	if f.Timeout > 0 {
		w.timer.Reset(f.Timeout)
	}
	if code, body, known := r.is(w); known {
		w.answer(code, body)
	}
	return true
}

// answer ends it, once: whoever comes later finds it answered.
func (w *waiter) answer(code wire.Code, body []byte) {
	w.cancel()
	code, body = w.result.answer(code, body)
	w.conn.settle(w.id, w, code, body)
}

// cancel is for who does not want to know any more.
func (w *waiter) cancel() {
	w.timer.Stop()
	w.result.forget(w)
	w.conn.env.flow.release(&w.lasting)
}

// answer is what somebody who waits is told.
func (r *result) answer(code wire.Code, body []byte) (wire.Code, []byte) {
	if code != wire.OK {
		return code, nil
	}
	return answerOf(&wire.Told{Label: r.label, Data: body}, nil)
}

// killChild ends the child of a result that e has a handle of, if e may write to
// where that is. It is told neither whether it may nor whether there was anything.
func (e *Env) killChild(a *wire.Ask) (wire.Told, error) {
	r, err := held[*result](e, a.Handles[0])
	if err != nil {
		return wire.Told{}, e.decided(opKill, "result", nil, err)
	}
	labels := e.labels(a, r.start.Label)
	if err := e.mayName(a.Privileges()); err != nil {
		return wire.Told{}, e.decided(opKill, r.kind(), labels, err)
	}
	// In the log it is an ordinary permission, too: a refusal takes another time to
	// be written.
	if err := e.decided(opKill, r.kind(), labels, nil); err != nil {
		return wire.Told{}, err
	}
	r.kill(e.at(), a.Privileges())
	return wire.Told{}, nil
}
