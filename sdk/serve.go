package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"cofferdam/wire"
)

// Bounds of a server. A request beyond the queue is answered ErrBusy.
const (
	MaxHandlers    = 64       // handlers running at a time
	MaxQueue       = 1024     // requests waiting for one of them
	MaxQueuedBytes = 16 << 20 // in the bodies of those
)

// Handler answers one method. body is the handler's to keep and at most
// [wire.MaxBody] bytes, and so must be what it returns. Handlers run at the same
// time as each other and may call.
//
// ctx ends with the request: at its deadline, when its caller withdraws it, and
// when the connection ends. What a handler returns then is of no interest to
// anybody.
//
// An error is sent to the caller as a [Failure] with the words of the error, so
// they should hold nothing that the caller must not know. For an error that is
// one of ErrDenied, ErrBusy, ErrTooLarge and ErrMalformed that code is sent. A
// panic is logged with its stack, and the caller learns "internal error".
type Handler func(ctx context.Context, caller Caller, body []byte) ([]byte, error)

// Caller is who sent a request, as the monitor says.
type Caller struct {
	Identity
	Call    uint64   // the call's number among those of its method: the same if the call is repeated
	Label   Label    // of the request
	Shown   Formula  // a privilege that the caller has, and describes to us; we do not get it
	Handles []Handle // that came with the request, until the handler returns; see Keep
	Trace   Trace    // that the request is part of; see TraceOf

	handled *handled // nil for a Caller that no request came with
}

// handled is what a handler decides about handles.
type handled struct {
	keep  bool
	given []Handle
	away  []Handle
}

// Keep makes the handles that came with the request stay when the handler has
// returned. They are ours to drop then.
func (c Caller) Keep() {
	if c.handled != nil {
		c.handled.keep = true
	}
}

// Give has handles go to the caller with the reply, if that is no error. We keep ours.
func (c Caller) Give(handles ...Handle) {
	if c.handled != nil {
		c.handled.given = append(c.handled.given, handles...)
	}
}

// GiveAway is Give of handles that we do not keep: they are dropped when the reply
// has been sent, whatever it was.
func (c Caller) GiveAway(handles ...Handle) {
	c.Give(handles...)
	if c.handled != nil {
		c.handled.away = append(c.handled.away, handles...)
	}
}

// Serve answers the methods of handlers until ctx or the connection ends, which
// it returns the reason of. When ctx ends, further requests are answered ErrBusy;
// Serve returns when the handlers that run have returned.
//
// The names are those of "provides" in the manifest; if the monitor refuses one
// of them, Serve returns ErrDenied at once. A client can serve only once.
func (c *Client) Serve(ctx context.Context, handlers map[string]Handler) error {
	var body []byte
	for name, h := range handlers {
		if !wire.ValidWord([]byte(name)) || h == nil {
			return fmt.Errorf("serve %q: not a method with a handler", name)
		}
		body = wire.AppendField(body, wire.KeyMethod, name)
	}
	if len(handlers) == 0 || len(handlers) > wire.MaxFields {
		return fmt.Errorf("serve: %d methods, want 1 to %d", len(handlers), wire.MaxFields)
	}
	s := newServer(c, context.WithoutCancel(ctx), handlers)
	c.mu.Lock()
	if c.server != nil {
		c.mu.Unlock()
		return errors.New("serve: this client has served before")
	}
	c.server = s // before the monitor knows, who may send a call at once
	c.mu.Unlock()

	if _, err := c.request(ctx, wire.OpServe, "", body); err != nil {
		s.drain()
		return fmt.Errorf("serve: %w", err)
	}
	s.begin()
	select {
	case <-ctx.Done():
		s.drain()
		return fmt.Errorf("serve: %w", context.Cause(ctx))
	case <-c.closed:
		s.drain()
		return fmt.Errorf("serve: %w", c.err)
	}
}

// server runs handlers on workers: goroutines that it keeps for the next
// request. Its fields from draining on are guarded by the lock of the client.
type server struct {
	c       *Client
	ctx     context.Context
	methods map[string]*method
	watch   *time.Timer // fires look while handlers run; see lead.go

	draining    bool
	lost        bool                // the connection has ended
	drained     chan struct{}       // closed when draining and nothing runs
	open        map[uint64]*request // running and queued
	running     int
	watching    bool   // look will fire
	leads       uint64 // times that the lead was left
	looked      uint64 // leads when look fired last
	queue       []*request
	queuedBytes int
	idle        []chan *request // of workers that wait, the last one to do so at the end
}

// method is a handler, and whether it took longer than slowAfter the last time.
// The leader does not run such a one itself: see lead.go.
type method struct {
	name   string
	handle Handler
	slow   atomic.Bool
}

// request is one call to us.
type request struct {
	id     uint64
	method *method
	caller Caller
	body   []byte
	ctx    *requestContext

	handled handled
}

func newServer(c *Client, ctx context.Context, handlers map[string]Handler) *server {
	s := &server{
		c:       c,
		ctx:     ctx,
		methods: make(map[string]*method, len(handlers)),
		drained: make(chan struct{}),
		open:    make(map[uint64]*request),
	}
	for name, h := range handlers {
		s.methods[name] = &method{name: name, handle: h}
	}
	s.watch = time.AfterFunc(time.Hour, s.look)
	s.watch.Stop()
	return s
}

// accept takes the call in f, which it does not keep. It returns the request if
// the leader is to run it, which it is only if here is set.
func (s *server) accept(f *wire.Frame, caller Caller, here bool) (*request, error) {
	m := s.methods[string(f.NameBytes)]
	if m == nil {
		return nil, fmt.Errorf("monitor sent a call of %q, which was not offered", f.NameBytes)
	}
	r := &request{
		id: f.ID, method: m, caller: caller,
		body: s.c.r.Keep(f.Body), ctx: newRequestContext(s.ctx, f.Timeout),
	}
	r.caller.handled, r.ctx.trace = &r.handled, caller.Trace
	to, err := s.enter(r, here && !m.slow.Load())
	if to == nobody {
		r.ctx.cancel()
		s.dropOf(r)
	}
	switch {
	case err != nil:
		return nil, err
	case to == leader:
		return r, nil
	case to == nobody:
		// Not here: the leader must not wait for its own peer.
		go s.c.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: wire.Busy, ID: r.id}})
	}
	return nil, nil
}

// place is where a request goes.
type place int

const (
	nobody place = iota
	worker       // at once or from the queue
	leader
)

// enter finds a place for r.
func (s *server) enter(r *request, here bool) (place, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.open[r.id] != nil {
		return nobody, fmt.Errorf("monitor sent request %d twice", r.id)
	}
	if s.draining || s.lost {
		return nobody, nil
	}
	if s.running == MaxHandlers {
		if len(s.queue) == MaxQueue || s.queuedBytes+len(r.body) > MaxQueuedBytes {
			return nobody, nil
		}
		s.queue = append(s.queue, r)
		s.queuedBytes += len(r.body)
		s.open[r.id] = r
		return worker, nil
	}
	s.running++
	s.open[r.id] = r
	if here {
		return leader, nil
	}
	s.wake(r)
	return worker, nil
}

// wake gives r, or nil, to an idle worker or a new one. The caller holds mu.
func (s *server) wake(r *request) {
	n := len(s.idle)
	if n == 0 {
		go s.work(r)
		return
	}
	s.idle[n-1] <- r // has room for it
	s.idle = s.idle[:n-1]
}

// begin has a worker lead now, unless somebody does: who called while nobody served has
// waited for long enough.
func (s *server) begin() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if !s.c.led && !s.lost && !s.draining {
		s.wake(nil)
	}
}

// look has a worker lead if nobody has led since it looked the last time.
func (s *server) look() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case s.lost, s.c.led && s.running == 0:
		s.watching = false // until the next request, if there is one
		return
	case !s.c.led && s.leads == s.looked:
		s.wake(nil)
	}
	s.looked = s.leads
	s.watch.Reset(lookEvery)
}

// work is the life of a worker: it runs requests, leads if nobody does, and else
// is idle.
func (s *server) work(r *request) {
	wake := make(chan *request, 1)
	for {
		for r != nil {
			s.run(r)
			r = s.after(r)
		}
		if s.c.take() {
			if r = s.leading(); r == nil {
				return
			}
			continue
		}
		if !s.rest(wake) {
			return
		}
		var more bool
		if r, more = <-wake; !more {
			return
		}
	}
}

// leading reads until there is a request for this worker to run. It returns nil
// when the connection has ended.
func (s *server) leading() *request {
	defer s.c.release()
	s.c.socket.Heed(false)
	for {
		r, err := s.c.next(true)
		if err != nil {
			s.c.end(err)
			return nil
		}
		if r != nil {
			return r
		}
	}
}

// after takes done out of the books and returns what waits in the queue, if
// anything does.
func (s *server) after(done *request) *request {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.open, done.id)
	if len(s.queue) > 0 {
		r := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.queuedBytes -= len(r.body)
		return r
	}
	s.running--
	if s.draining && s.running == 0 {
		close(s.drained)
	}
	return nil
}

// rest makes a worker idle, unless no further requests are taken.
func (s *server) rest(wake chan *request) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.draining {
		return false
	}
	s.idle = append(s.idle, wake)
	return true
}

// drain takes no further requests and waits for those that are there.
func (s *server) drain() {
	s.c.mu.Lock()
	if !s.draining {
		s.draining = true
		for _, wake := range s.idle {
			close(wake)
		}
		s.idle = nil
		if s.running == 0 {
			close(s.drained)
		}
	}
	s.c.mu.Unlock()
	<-s.drained
}

// run answers r. A request that has ended gets no error from us: whoever ended
// it knows better why. That we are done with it is said all the same, for who
// says nothing for too long is taken to hang.
func (s *server) run(r *request) {
	defer r.ctx.cancel()
	defer s.dropOf(r)
	if r.ctx.Err() != nil {
		s.giveUp(r)
		return
	}
	out, err := r.answer()
	if err != nil && r.ctx.Err() != nil {
		s.giveUp(r)
		return
	}
	f := wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: r.id}, Body: out}
	if err == nil && len(r.handled.given) > 0 {
		err = r.handled.open(&f)
	}
	switch {
	case err != nil:
		f.Flags = 0
		f.Code, f.Body = refusal(err)
	case len(f.Body) > wire.MaxBody:
		f.Flags = 0
		f.Code, f.Body = wire.TooLarge, nil
	}
	if err := s.c.send(&f); err != nil {
		s.c.end(err)
	}
}

// giveUp says that nobody works on r any longer.
func (s *server) giveUp(r *request) {
	f := wire.Frame{Header: wire.Header{Op: wire.OpReply, Code: wire.Canceled, ID: r.id}}
	if err := s.c.send(&f); err != nil {
		s.c.end(err)
	}
}

// open puts the handles that are given before the body of a reply.
func (h *handled) open(f *wire.Frame) error {
	fields, err := asking(wire.OpReply, &wire.Ask{Handles: numbers(h.given)})
	if err != nil {
		return fmt.Errorf("give: %v", err) // our fault, not the caller's
	}
	f.Flags, f.Body = wire.FlagFields, append(wire.AppendFields(nil, fields), f.Body...)
	return nil
}

// dropOf drops the handles that a request leaves behind.
func (s *server) dropOf(r *request) {
	s.c.discard(numbers(r.handled.away))
	if !r.handled.keep {
		s.c.discard(numbers(r.caller.Handles))
	}
}

func (r *request) answer() (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("handler panicked", "method", r.method.name, "panic", v, "stack", string(debug.Stack()))
			out, err = nil, errors.New("internal error")
		}
	}()
	began := time.Now()
	out, err = r.method.handle(r.ctx, r.caller, r.body)
	if slow := time.Since(began) > slowAfter; slow != r.method.slow.Load() {
		r.method.slow.Store(slow)
	}
	return out, err
}

func (s *server) cancel(id uint64) {
	s.c.mu.Lock()
	r := s.open[id]
	s.c.mu.Unlock()
	if r != nil {
		r.ctx.cancel() // which may run functions of the handler's
	}
}

// lose ends the contexts of all requests. The caller holds mu.
func (s *server) lose() {
	s.lost = true
	for _, r := range s.open {
		go r.ctx.cancel() // see cancel
	}
}

// callers remembers the last caller, since most requests come from the same.
type callers struct {
	raw []byte
	id  Identity
}

func (c *callers) parse(f *wire.Frame) (Caller, error) {
	if c.raw == nil || !bytes.Equal(c.raw, f.CallerBytes) {
		raw := bytes.Clone(f.CallerBytes)
		id, err := wire.ParseIdentity(raw)
		if err != nil {
			return Caller{}, fmt.Errorf("monitor sent a caller: %w", err)
		}
		c.raw, c.id = raw, id
	}
	id := c.id
	id.Bound = bytes.Clone(id.Bound) // handlers may write to theirs
	return Caller{Identity: id, Call: f.Call}, nil
}
