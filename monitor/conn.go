package monitor

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"cofferdam/wire"
)

// conn is one wire connection of an environment, which asks and answers on it
// at the same time.
type conn struct {
	env *Env
	out *outbox

	mu        sync.Mutex
	closed    bool
	asked     map[uint64]request // unanswered requests of env, by the id it chose
	answering map[uint64]task    // what was sent to env to be answered, by the id we chose
	sent      uint64             // the last of those ids
	serves    []*serving         // no method twice; only the reader adds to it
	handed    map[uint64]*handed // by the id that they were asked for with; nil for none

	misses map[*method]misses // see overdue; nil as long as there are none
	watch  watch

	turn turn
	over chan struct{} // closed with it

	number uint64 // among those of env, in the order in which they were made; guarded by Env.mu
}

// task is something that an instance is to answer: a call, or a check. Once it is out of
// the books of the connection that it was sent to, one of these is called, or neither.
type task interface {
	answer(r *reader, by *Env, code wire.Code, body []byte, gives []object)
	interrupted(by *Env)
}

// request is something that env asked for and that can be withdrawn.
type request interface{ cancel() }

// newConn takes nc over and counts it against MaxConns and MaxConnsInAll until
// it is closed.
func newConn(e *Env, nc *net.UnixConn) (*conn, error) {
	c := &conn{
		env:       e,
		asked:     make(map[uint64]request),
		answering: make(map[uint64]task),
		over:      make(chan struct{}),
	}
	var err error
	if c.out, err = newOutbox(nc, &e.held, c.awaitRoom); err != nil {
		return nil, err
	}
	c.watch.c, c.watch.due = c, due{slot: -1, what: &c.watch}
	c.turn.in = wire.NewReader((*inlet)(c))
	c.turn.in.Share(&e.m.buffers)
	if !e.hold(c) {
		c.out.close()
		return nil, fmt.Errorf("more than %d connections, %d in all, or the environment has ended", MaxConns, MaxConnsInAll)
	}
	return c, nil
}

// begin has what comes on c be handled until it ends, by either side. A frame that breaks the
// format ends it: there is no telling where the next one starts.
func (c *conn) begin() {
	if c.env.m.readFrom(c) != nil {
		c.close()
	} else if c.isClosed() {
		c.env.m.leave(c) // whoever closed it, since its environment ended, may have done so before it was there
	}
}

// handle reports whether the connection may go on. f is valid until it returns.
func (c *conn) handle(f *wire.Frame) bool {
	if f.Op == wire.OpReply {
		return c.answered(f)
	}
	// What an environment sends names no caller, no call and no code: those
	// are the monitor's to say.
	if len(f.CallerBytes) != 0 || f.Call != 0 || f.Code != wire.OK {
		return false
	}
	switch f.Op {
	case wire.OpHello:
		return c.reply(f.ID, wire.OK, c.env.caller)
	case wire.OpTurns:
		told := c.env.tellTurns()
		ok := c.reply(f.ID, wire.OK, wire.AppendTurns(nil, told))
		time.Sleep(c.env.calmly(int64(len(told)))) // each was counted out under a lock that others need
		return ok
	case wire.OpServe:
		methods, err := c.serve(f.Body)
		code, text := answerOf(&wire.Told{}, err)
		if !c.reply(f.ID, code, text) {
			return false
		}
		c.env.self.register(c, methods) // after the reply, so that no call overtakes it
		return true
	case wire.OpCall:
		return c.call(f)
	case wire.OpSpawn:
		return c.spawn(f)
	case wire.OpWait:
		return c.wait(f)
	case wire.OpMount, wire.OpUnmount:
		return c.mount(f)
	case wire.OpEnd:
		return c.end(f)
	case wire.OpPost, wire.OpPut, wire.OpRecv, wire.OpTake:
		return c.mail(f)
	case wire.OpCancel:
		if r := c.take(f.ID); r != nil {
			r.cancel()
		} else if h := c.takeHanded(f.ID); h != nil {
			go h.letGo(f.Flags&wire.FlagUnanswered != 0)
		}
		return true
	case wire.OpDial:
		return c.dial(f)
	}
	return c.labelled(f)
}

// ask books a request of env under its id, unless there are too many or the id
// is in use.
func (c *conn) ask(id uint64, r request) wire.Code {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch _, used := c.asked[id]; {
	case c.closed:
		return wire.Unavailable
	case used:
		return wire.Malformed
	case c.env.inFlight.Add(1) > MaxInFlight:
		c.env.inFlight.Add(-1)
		c.env.self.counts.hit(limitInFlight)
		return wire.Busy
	}
	c.asked[id] = r
	return wire.OK
}

// take takes the request with this id out of the books.
func (c *conn) take(id uint64) request {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.asked[id]
	if r != nil {
		delete(c.asked, id)
		c.env.inFlight.Add(-1)
	}
	return r
}

// settle answers the request with this id if it has not been withdrawn.
func (c *conn) settle(id uint64, r request, code wire.Code, body []byte) {
	c.settleWith(nil, id, r, code, 0, body)
}

// settleWith is settle by a reader, or nil, with flags of the answer.
func (c *conn) settleWith(by *reader, id uint64, r request, code wire.Code, flags uint16, body []byte) {
	if c.claim(id, r) {
		c.send(by, &wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: code, ID: id, Flags: flags}, Body: body})
	}
}

// claim takes the request with this id out of the books if it has not been
// withdrawn. From then on its answer is owed.
func (c *conn) claim(id uint64, r request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[id] != r {
		return false
	}
	delete(c.asked, id)
	c.env.inFlight.Add(-1)
	return true
}

// reply reports whether the connection may go on: one whose owner does not
// read its answers is closed.
func (c *conn) reply(id uint64, code wire.Code, body []byte) bool {
	return c.send(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: code, ID: id}, Body: body})
}

func (c *conn) send(by *reader, f *wire.Frame) bool {
	if c.out.send(by, f) == nil {
		return true
	}
	go c.close() // not here: the books of whoever calls this may be half done
	return false
}

// refuse answers a request that was refused.
func (c *conn) refuse(id uint64, err error) bool {
	much, ok := err.(*tooMuch)
	if !ok {
		code, text := answerOf(nil, err)
		return c.reply(id, code, text)
	}
	ok = c.send(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: wire.Limited, ID: id, Timeout: much.wait}, Body: much.limit.text})
	c.turn.pause += c.env.calmly(1)
	return ok
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// close ends the connection and everything in flight on it. It may be called
// more than once.
func (c *conn) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	asked, answering, serves, handed := c.asked, c.answering, c.serves, c.handed
	c.asked, c.answering, c.serves, c.handed = nil, nil, nil, nil
	if c.watch.debt.method != nil {
		c.watch.debt = debt{}
		c.env.deadlines().remove(&c.watch.due)
	}
	c.mu.Unlock()

	c.env.m.leave(c)
	c.out.close()
	close(c.over)
	c.env.drop(c)
	c.env.inFlight.Add(-int64(len(asked)))
	c.env.self.unregister(c)
	c.endServing(serves)
	for _, id := range slices.Sorted(maps.Keys(asked)) {
		asked[id].cancel()
	}
	for _, id := range slices.Sorted(maps.Keys(answering)) {
		answering[id].interrupted(c.env)
	}
	for _, h := range handed {
		h.letGo(false)
	}
}

// call decides on a call and hands it to the service.
func (c *conn) call(f *wire.Frame) bool {
	e := c.env
	has := e.rights.Load()
	name := has.grants.named(KindCall, f.NameBytes)
	service, methodName, _ := bytes.Cut(f.NameBytes, []byte("."))
	k := &call{from: c, fromID: f.ID, has: has}
	if to := k.has.policy.services[string(service)]; to != nil {
		k.method = to.methods[string(methodName)]
	}
	body, err := k.decide(name, f)
	if err != nil {
		if e.m.traces != nil {
			k.traceDenied(f, err)
		}
		return c.refuse(f.ID, err)
	}
	if e.m.traces != nil || k.terms != nil && !k.terms.trace.IsZero() {
		k.trace()
	}
	k.within(f.Timeout) // its method is there: a grant of what is not would be void
	if code := c.ask(f.ID, k); code != wire.OK {
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	k.start()
	if e.rights.Load() != k.has {
		e.cutUngranted()
	}
	md := k.method
	md.counts.in.Add(uint64(len(body)))
	if md.of.Lines {
		k.runLines(bytes.Clone(body))
		return true
	}
	if md.of.Instances != Shared {
		k.seek(body)
		return true
	}
	md.dispatch(c.turn.by, k, body)
	return true
}

// answered handles the reply of env to a call.
func (c *conn) answered(f *wire.Frame) bool {
	if len(f.NameBytes) != 0 || len(f.CallerBytes) != 0 || f.Flags&wire.FlagSocket != 0 {
		return false
	}
	c.mu.Lock()
	k := c.answering[f.ID]
	delete(c.answering, f.ID)
	if c.misses != nil || c.watch.debt.method != nil {
		c.paid(f.ID, k)
	}
	c.mu.Unlock()
	if k == nil {
		return true // withdrawn meanwhile
	}
	var gives []object
	if f.Flags != 0 {
		fields, rest, err := wire.CutFields(f.Body)
		var a wire.Ask
		if err == nil {
			a, err = wire.ParseAsk(wire.OpReply, fields)
		}
		if err == nil {
			gives, err = c.env.objects(a.Handles)
		}
		if f.Body = rest; err != nil {
			f.Code, f.Body = wire.Failed, nil // an answer, though one that makes no sense
		}
	}
	code, body := f.Code, f.Body
	switch code {
	case wire.OK, wire.Failed, wire.Busy, wire.TooLarge, wire.Malformed, wire.Denied:
	case givenUp: // a moment before we did
		code, body = wire.Deadline, nil
	default: // the rest is the monitor's to say
		code, body = wire.Failed, nil
	}
	k.answer(c.turn.by, c.env, code, body, gives)
	return true
}

// delivery is how an attempt to send a call to a connection went.
type delivery int

const (
	taken delivery = iota // the call is in other hands now
	full                  // this connection takes no more
	gone                  // and this one will never take one again
	unfit                 // and this one may not at its label
)

// deliver sends k to env. Unless the call was taken, it is not in c's books and
// nothing of it was sent.
func (c *conn) deliver(by *reader, k *call, body []byte) delivery {
	if c.env.standsIn(c.env.at(), k.endpoint()) != nil {
		return unfit
	}
	c.mu.Lock()
	switch {
	case c.closed, c.env.retired.Load(): // which it may be since it was chosen: see Env.Busy
		c.mu.Unlock()
		return gone
	case len(c.answering) >= maxAnswering:
		c.mu.Unlock()
		return full
	}
	c.sent++
	id := c.sent
	c.answering[id] = k
	now := time.Now()
	k.place(c, id, now)
	c.mu.Unlock()
	// From here on whoever ends the call takes it to have been sent.
	if k.done.Load() {
		c.forget(k, id)
		return taken
	}
	f := wire.Frame{
		Header: wire.Header{
			Op:      wire.OpCall,
			ID:      id,
			Call:    k.num,
			Timeout: max(k.deadline.Sub(now), time.Millisecond),
		},
		NameBytes:   k.method.nameBytes,
		CallerBytes: k.from.env.caller,
		Body:        body,
	}
	handles, err := c.tell(k, &f)
	if err == nil {
		err = c.out.send(by, &f)
	}
	if err != nil {
		c.env.unhold(handles)
		if !c.forget(k, id) {
			return taken // close, or whoever ended the call, was faster
		}
		k.place(nil, 0, now)
		if err == errGone {
			go c.close() // not here: see reply
			return gone
		}
		return full
	}
	if owed, ended := k.delivered(); ended {
		c.withdraw(id)
		c.owes(owed)
	}
	return taken
}

// tell puts what labels say of k, and what is given with it, before the body of f.
// The handles are new ones of env.
func (c *conn) tell(k *call, f *wire.Frame) (handles []uint64, err error) {
	if k.terms == nil && k.traced == nil {
		return nil, nil
	}
	var fields []byte
	if k.terms != nil {
		if handles, err = c.env.holdObjects(k.terms.gives); err != nil {
			return nil, errFull
		}
		fields = k.terms.told(handles)
	}
	if k.traced != nil {
		told := wire.Told{Trace: k.traced.at}
		if all := told.Append(fields); len(wire.AppendFields(nil, all))+len(f.Body) <= wire.MaxBody {
			fields = all // and otherwise the body goes first
		}
	}
	if len(fields) > 0 {
		f.Flags = wire.FlagFields
		f.Body = append(wire.AppendFields(nil, fields), f.Body...)
	}
	return handles, nil
}

// forget takes k out of the books and reports whether it was there; its answer,
// should it come, is dropped.
func (c *conn) forget(k task, id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answering[id] != k {
		return false
	}
	delete(c.answering, id)
	return true
}

// withdraw tells env that the call with this id is no longer wanted. One that does
// not read is not told; it has no time for it anyhow.
func (c *conn) withdraw(id uint64) {
	c.out.send(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
}
