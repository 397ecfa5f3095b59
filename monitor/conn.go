package monitor

import (
	"bytes"
	"context"
	"net"
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
	serves    []*method
}

// request is something that env asked for and that can be withdrawn.
type request interface{ cancel() }

func newConn(e *Env, nc *net.UnixConn) (*conn, error) {
	out, err := newOutbox(nc)
	if err != nil {
		return nil, err
	}
	return &conn{
		env:       e,
		out:       out,
		asked:     make(map[uint64]request),
		answering: make(map[uint64]*call),
	}, nil
}

// read handles frames until the connection ends, by either side. A frame that
// breaks the format ends it: there is no telling where the next one starts.
func (c *conn) read() {
	defer c.close()
	if !c.env.hold(c) {
		return
	}
	r := wire.NewReader(c.out.nc)
	for {
		f, err := r.Next()
		if err != nil || !c.handle(&f) {
			return
		}
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
	case wire.OpServe:
		return c.reply(f.ID, c.serve(f.Body), nil)
	case wire.OpCall:
		return c.call(f)
	case wire.OpSpawn:
		return c.spawn(f)
	case wire.OpCancel:
		c.mu.Lock()
		req := c.asked[f.ID]
		delete(c.asked, f.ID)
		c.mu.Unlock()
		if req != nil {
			req.cancel()
		}
		return true
	}
	return false
}

// serve registers c as one that answers methods of its own service.
func (c *conn) serve(body []byte) wire.Code {
	var names []string
	if err := wire.ParseFields(body, func(key uint8, val []byte) error {
		if key != wire.KeyMethod {
			return wire.ErrMalformed
		}
		names = append(names, string(val))
		return nil
	}); err != nil || len(names) == 0 {
		return wire.Malformed
	}
	e := c.env
	methods := make([]*method, 0, len(names))
	for _, name := range names {
		md := e.self.methods[name]
		v := Verdict{Allowed: md != nil, Rule: "services." + e.id.Service + ".provides"}
		if e.m.record(e, opServe, name, 0, v) != nil {
			return wire.Denied
		}
		methods = append(methods, md)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return wire.Denied
	}
	c.serves = append(c.serves, methods...)
	c.mu.Unlock()
	e.self.register(c, methods)
	return wire.OK
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
	case len(c.asked) >= MaxInFlight:
		return wire.Busy
	}
	c.asked[id] = r
	return wire.OK
}

// settle answers the request with this id if it has not been withdrawn.
func (c *conn) settle(id uint64, r request, code wire.Code, body []byte) {
	c.mu.Lock()
	mine := c.asked[id] == r
	if mine {
		delete(c.asked, id)
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
	if c.out.send(&f) {
		return true
	}
	go c.close() // the caller may be another connection's reader, holding nothing of ours
	return false
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
	asked, answering, serves := c.asked, c.answering, c.serves
	c.asked, c.answering = nil, nil
	c.mu.Unlock()

	c.out.close()
	c.env.drop(c)
	c.env.self.unregister(c, serves)
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
	if to == nil || to.methods[string(methodName)] == nil {
		// A grant for what nobody provides does not pass the manifest.
		return c.reply(f.ID, wire.Denied, nil)
	}
	md := to.methods[string(methodName)]
	k := newCall(num, c, f.ID, md, f.Timeout)
	if code := c.ask(f.ID, k); code != wire.OK {
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	if to.lines {
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

// deliver sends k to env. It reports false if the connection is gone or full,
// and then k is not in its books.
func (c *conn) deliver(k *call, body []byte) bool {
	c.mu.Lock()
	if c.closed || len(c.answering) >= MaxInFlight {
		c.mu.Unlock()
		return false
	}
	c.answering[k.num] = k
	c.mu.Unlock()

	f := wire.Frame{
		Header: wire.Header{
			Op:      wire.OpCall,
			ID:      k.num,
			Call:    k.num,
			Timeout: time.Until(k.deadline).Round(time.Millisecond),
		},
		NameBytes:   []byte(k.method.Name),
		CallerBytes: k.from.env.caller,
		Body:        body,
	}
	if f.Timeout <= 0 {
		f.Timeout = time.Millisecond
	}
	if !c.out.send(&f) {
		c.forget(k)
		return false
	}
	k.sent(c)
	return true
}

// forget takes k out of the books; its answer, should it come, is dropped.
func (c *conn) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.answering, k.num)
}

// withdraw tells env that k is no longer wanted.
func (c *conn) withdraw(k *call) {
	c.forget(k)
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
		return c.reply(f.ID, wire.Malformed, []byte(err.Error()))
	}
	ctx, cancel := context.WithCancel(context.Background())
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
