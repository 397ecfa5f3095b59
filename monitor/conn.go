package monitor

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
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
	answering map[uint64]*call   // calls sent to env, by our number

	serves []*method // no method twice; read and written by the reader alone
}

// request is something that env asked for and that can be withdrawn.
type request interface{ cancel() }

// newConn takes nc over and counts it against MaxConns and MaxConnsInAll until
// it is closed.
func newConn(e *Env, nc *net.UnixConn) (*conn, error) {
	out, err := newOutbox(nc, &e.held)
	if err != nil {
		return nil, err
	}
	c := &conn{
		env:       e,
		out:       out,
		asked:     make(map[uint64]request),
		answering: make(map[uint64]*call),
	}
	if !e.hold(c) {
		out.close()
		return nil, fmt.Errorf("more than %d connections, %d in all, or the environment has ended", MaxConns, MaxConnsInAll)
	}
	return c, nil
}

// read handles frames until the connection ends, by either side. A frame that
// breaks the format ends it: there is no telling where the next one starts.
func (c *conn) read() {
	defer c.close()
	r := wire.NewReader(c.out.socket)
	for {
		f, err := r.Next()
		if err != nil || !c.handle(&f) {
			return
		}
	}
}

// handle reports whether the connection may go on. f is valid until it returns.
func (c *conn) handle(f *wire.Frame) bool {
	if f.Flags != 0 {
		return false // no operation takes fields before its body yet
	}
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
	case wire.OpServe:
		methods, code := c.serve(f.Body)
		if !c.reply(f.ID, code, nil) {
			return false
		}
		c.env.self.register(c, methods) // after the reply, so that no call overtakes it
		return true
	case wire.OpCall:
		return c.call(f)
	case wire.OpSpawn:
		return c.spawn(f)
	case wire.OpMount, wire.OpUnmount:
		return c.mount(f)
	case wire.OpCancel:
		if r := c.take(f.ID); r != nil {
			r.cancel()
		}
		return true
	}
	return c.labelled(f)
}

// serve decides which methods of its own service c is to answer from now on.
// One that it answers already stays as it is.
func (c *conn) serve(body []byte) ([]*method, wire.Code) {
	var names []string
	if err := wire.ParseFields(body, func(key uint8, val []byte) error {
		if key != wire.KeyMethod {
			return wire.ErrMalformed
		}
		names = append(names, string(val))
		return nil
	}); err != nil || len(names) == 0 {
		return nil, wire.Malformed
	}
	e := c.env
	var methods []*method
	for _, name := range names {
		md := e.self.methods[name]
		if md != nil && (slices.Contains(c.serves, md) || slices.Contains(methods, md)) {
			continue
		}
		v := Verdict{Allowed: md != nil, Rule: "services." + e.id.Service + ".provides"}
		err := e.m.record(e, opServe, name, 0, v)
		time.Sleep(e.records.take(time.Now()))
		if err != nil {
			return nil, wire.Denied
		}
		methods = append(methods, md)
	}
	c.serves = append(c.serves, methods...)
	return methods, wire.OK
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
	c.mu.Lock()
	mine := c.asked[id] == r
	if mine {
		delete(c.asked, id)
		c.env.inFlight.Add(-1)
	}
	c.mu.Unlock()
	if mine {
		c.reply(id, code, body)
	}
}

// reply reports whether the connection may go on: one whose owner does not
// read its answers is closed.
func (c *conn) reply(id uint64, code wire.Code, body []byte) bool {
	f := wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: code, ID: id}, Body: body}
	if c.out.send(&f) == nil {
		return true
	}
	go c.close() // not here: the books of whoever calls this may be half done
	return false
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
	asked, answering := c.asked, c.answering
	c.asked, c.answering = nil, nil
	c.mu.Unlock()

	c.out.close()
	c.env.drop(c)
	c.env.inFlight.Add(-int64(len(asked)))
	c.env.self.unregister(c)
	for _, r := range asked {
		r.cancel()
	}
	for _, k := range answering {
		k.interrupted()
	}
}

// call decides on a call and hands it to the service.
func (c *conn) call(f *wire.Frame) bool {
	e := c.env
	num := e.m.calls.Add(1)
	name := string(f.NameBytes)
	if !wire.ValidName(f.NameBytes) {
		name = strings.ToValidUTF8(name, "�")
	}
	if err := e.m.open(e, opCall, name, num); err != nil {
		return c.reply(f.ID, wire.Denied, nil)
	}
	service, methodName, _ := bytes.Cut(f.NameBytes, []byte("."))
	to := e.m.services[string(service)]
	md := to.methods[string(methodName)] // is there: a grant of what is not would be void
	k := newCall(num, c, f.ID, md, f.Timeout)
	if code := c.ask(f.ID, k); code != wire.OK {
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	k.start()
	if to.Lines {
		k.runLines(bytes.Clone(f.Body))
		return true
	}
	md.dispatch(k, f.Body)
	return true
}

// answered handles the reply of env to a call.
func (c *conn) answered(f *wire.Frame) bool {
	if len(f.NameBytes) != 0 || len(f.CallerBytes) != 0 {
		return false
	}
	c.mu.Lock()
	k := c.answering[f.ID]
	delete(c.answering, f.ID)
	c.mu.Unlock()
	if k == nil {
		return true // withdrawn meanwhile
	}
	switch f.Code {
	case wire.OK, wire.Failed, wire.Busy, wire.TooLarge, wire.Malformed, wire.Denied:
		k.finish(f.Code, f.Body)
	default: // the rest is the monitor's to say
		k.finish(wire.Failed, nil)
	}
	return true
}

// delivery is how an attempt to send a call to a connection went.
type delivery int

const (
	taken delivery = iota // the call is in other hands now
	full                  // this connection takes no more
	gone                  // and this one will never take one again
)

// deliver sends k to env. Unless the call was taken, it is not in c's books and
// nothing of it was sent.
func (c *conn) deliver(k *call, body []byte) delivery {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return gone
	case len(c.answering) >= maxAnswering:
		c.mu.Unlock()
		return full
	}
	c.answering[k.num] = k
	k.place(c)
	c.mu.Unlock()
	// From here on whoever ends the call takes it to have been sent.
	if k.done.Load() {
		c.forget(k)
		return taken
	}
	f := wire.Frame{
		Header: wire.Header{
			Op:      wire.OpCall,
			ID:      k.num,
			Call:    k.num,
			Timeout: max(time.Until(k.deadline), time.Millisecond),
		},
		NameBytes:   k.method.nameBytes,
		CallerBytes: k.from.env.caller,
		Body:        body,
	}
	if err := c.out.send(&f); err != nil {
		if !c.forget(k) {
			return taken // close, or whoever ended the call, was faster
		}
		k.place(nil)
		if err == errGone {
			go c.close() // not here: see reply
			return gone
		}
		return full
	}
	if k.delivered() {
		c.withdraw(k)
	}
	return taken
}

// forget takes k out of the books and reports whether it was there; its answer,
// should it come, is dropped.
func (c *conn) forget(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answering[k.num] != k {
		return false
	}
	delete(c.answering, k.num)
	return true
}

// withdraw tells env that k is no longer wanted. One that does not read is not
// told; it has no time for k anyhow.
func (c *conn) withdraw(k *call) {
	c.out.send(&wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: k.num}})
}

// spawn decides on a spawn and runs it beside the reader.
func (c *conn) spawn(f *wire.Frame) bool {
	e := c.env
	num := e.m.calls.Add(1)
	template := strings.ToValidUTF8(string(f.NameBytes), "�")
	if err := e.m.open(e, opSpawn, template, num); err != nil {
		return c.reply(f.ID, wire.Denied, nil)
	}
	req, err := wire.ParseSpawn(bytes.Clone(f.Body))
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	if f.Timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), f.Timeout)
	}
	s := &spawn{stop: cancel}
	if code := c.ask(f.ID, s); code != wire.OK {
		cancel()
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	if !e.startSpawn() {
		cancel()
		c.settle(f.ID, s, wire.Busy, nil)
		return true
	}
	id := f.ID
	go func() {
		defer e.endSpawn()
		defer cancel()
		code, body := runSpawn(ctx, e.m.spawner, e.id, template, req)
		c.settle(id, s, code, body)
	}()
	return true
}
