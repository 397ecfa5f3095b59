package sdk

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"

	"cofferdam/wire"
)

var (
	secret = MustLabel("alice %% True")
	alices = MustFormula("alice")
	bobs   = MustFormula("bob")
)

// answering has the monitor be asked by do, which must be for op with want; it gets the
// answer.
func answering(t *testing.T, p *peer, op wire.Op, want wire.Ask, code wire.Code, answer []byte, do func(ctx context.Context)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(testContext(t))
	}()
	f := p.next()
	got, err := wire.ParseAsk(op, f.Body)
	if f.Op != op || len(f.NameBytes) != 0 || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v %+v, %v, want %v %+v", f.Op, got, err, op, want)
	}
	if (f.Timeout != 0) != wire.Ops[op].Timed {
		t.Errorf("%v with a timeout of %v", op, f.Timeout)
	}
	p.reply(f.ID, code, answer)
	<-done
}

// ending is a context that ends when a test says so, as if at its deadline or not.
type ending struct {
	context.Context
	done chan struct{}
	err  atomic.Pointer[error]
}

func (e *ending) Done() <-chan struct{} { return e.done }

func (e *ending) Err() error {
	if err := e.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (e *ending) end(err error) {
	e.err.Store(&err)
	close(e.done)
}

func told(t wire.Told) []byte { return t.Append(nil) }

func TestLabels(t *testing.T) {
	c, p := connected(t)
	want := Labels{MustLabel("alice %% bob"), MustLabel("alice & bob %% True"), alices, []Handle{{c, 1}, {c, 2}}}
	answer := told(wire.Told{Label: want.Label, Clearance: want.Clearance, Owns: want.Owns, Handles: []uint64{1, 2}})
	answering(t, p, wire.OpLabels, wire.Ask{}, wire.OK, answer, func(ctx context.Context) {
		if got, err := c.Labels(ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Labels() = %+v, %v, want %+v", got, err, want)
		}
	})
	answering(t, p, wire.OpLabels, wire.Ask{}, wire.OK, nil, func(ctx context.Context) {
		if got, err := c.Labels(ctx); err != nil || !reflect.DeepEqual(got, Labels{}) {
			t.Errorf("Labels() of one without = %+v, %v", got, err)
		}
	})
}

// Each operation asks for what it should, and makes of the answer what it should.
func TestOperations(t *testing.T) {
	c, p := connected(t)
	powers := Options{Out: alices, In: bobs}
	reading := Options{Out: alices, In: bobs, Raise: true, Force: true}
	mode := wire.ModeRaise | wire.ModeForce
	seven, eight := Handle{c, 7}, Handle{c, 8}
	made := told(wire.Told{Handles: []uint64{9}})
	exit := wire.Exit{Cause: "exit", Code: 3, Stdout: []byte("out")}
	msg := told(wire.Told{Label: secret, Handles: []uint64{9}, Caller: &alice, Data: []byte("rock")})
	isNine := func(got Handle, err error) error {
		if err == nil && got != (Handle{c, 9}) {
			err = errors.New("another handle")
		}
		return err
	}
	isMessage := func(got Message, err error) error {
		if want := (Message{[]byte("rock"), []Handle{{c, 9}}, alice, secret}); err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		return err
	}
	is := func(want bool) func(got bool, err error) error {
		return func(got bool, err error) error {
			if got != want {
				t.Errorf("Authenticate() = %v, want %v", got, want)
			}
			return err
		}
	}
	for _, tt := range []struct {
		op     wire.Op
		want   wire.Ask
		answer []byte
		do     func(ctx context.Context) error
	}{
		{wire.OpRaise, wire.Ask{Label: secret}, nil, func(ctx context.Context) error { return c.Raise(ctx, secret, Options{}) }},
		{wire.OpRaise, wire.Ask{Label: secret, Mode: wire.ModeForce}, nil, func(ctx context.Context) error { return c.Raise(ctx, secret, Options{Force: true}) }},
		{wire.OpLower, wire.Ask{Out: alices, In: bobs}, nil, func(ctx context.Context) error { return c.Lower(ctx, Public, powers) }},
		{wire.OpClearance, wire.Ask{Label: secret, Out: alices, In: bobs}, nil, func(ctx context.Context) error { return c.SetClearance(ctx, secret, powers) }},
		{wire.OpSeal, wire.Ask{Label: secret, Data: []byte("data"), Out: alices, In: bobs}, made, func(ctx context.Context) error {
			v, err := c.Seal(ctx, secret, []byte("data"), powers)
			return isNine(v.Handle, err)
		}},
		{wire.OpUnseal, wire.Ask{Handles: []uint64{7}, Out: alices, In: bobs, Mode: mode}, msg, func(ctx context.Context) error {
			data, l, err := seven.Value().UnsealLabel(ctx, reading)
			if string(data) != "rock" || l != secret {
				t.Errorf("UnsealLabel() = %q, %v", data, l)
			}
			return err
		}},
		{wire.OpUnseal, wire.Ask{Handles: []uint64{7}}, msg, func(ctx context.Context) error {
			data, err := seven.Value().Unseal(ctx, Options{})
			if string(data) != "rock" {
				t.Errorf("Unseal() = %q", data)
			}
			return err
		}},
		{wire.OpLabels, wire.Ask{Handles: []uint64{7}}, msg, func(ctx context.Context) error {
			l, err := seven.Label(ctx)
			if l != secret {
				t.Errorf("Label() = %v", l)
			}
			return err
		}},
		{wire.OpLabels, wire.Ask{Handles: []uint64{7}}, told(wire.Told{Owns: bobs}), func(ctx context.Context) error {
			f, err := seven.Privilege().Formula(ctx)
			if f != bobs {
				t.Errorf("Formula() = %v", f)
			}
			return err
		}},
		{wire.OpRelabel, wire.Ask{Handles: []uint64{7}, Label: secret, Out: alices, In: bobs}, made, func(ctx context.Context) error {
			v, err := seven.Value().Relabel(ctx, secret, powers)
			return isNine(v.Handle, err)
		}},
		{wire.OpTaint, wire.Ask{Handles: []uint64{7}, Label: secret}, made, func(ctx context.Context) error {
			v, err := seven.Value().Taint(ctx, secret, Options{})
			return isNine(v.Handle, err)
		}},
		{wire.OpDrop, wire.Ask{Handles: []uint64{7}}, nil, seven.Drop},
		{wire.OpDrop, wire.Ask{Handles: []uint64{8, 7}}, nil, func(ctx context.Context) error { return c.Drop(ctx, eight, seven) }},
		{wire.OpMailbox, wire.Ask{Label: secret, Out: alices, In: bobs}, made, func(ctx context.Context) error {
			m, err := c.NewMailbox(ctx, secret, powers)
			return isNine(m.Handle, err)
		}},
		{wire.OpPost, wire.Ask{Name: "moves", Data: []byte("rock"), Out: alices, In: bobs}, nil, func(ctx context.Context) error {
			return c.Mailbox("moves").Post(ctx, []byte("rock"), powers)
		}},
		{wire.OpPost, wire.Ask{Handles: []uint64{7, 8}, Data: []byte("rock")}, nil, func(ctx context.Context) error {
			return seven.Mailbox().Post(ctx, []byte("rock"), Options{Handles: []Handle{eight}})
		}},
		{wire.OpPut, wire.Ask{Name: "moves", Handles: []uint64{8}}, nil, func(ctx context.Context) error {
			return c.Mailbox("moves").Put(ctx, nil, Options{Handles: []Handle{eight}})
		}},
		{wire.OpRecv, wire.Ask{Name: "moves", Out: alices, In: bobs, Mode: mode}, msg, func(ctx context.Context) error {
			return isMessage(c.Mailbox("moves").Recv(ctx, reading))
		}},
		{wire.OpTake, wire.Ask{Handles: []uint64{7}}, msg, func(ctx context.Context) error { return isMessage(seven.Mailbox().Take(ctx, Options{})) }},
		{wire.OpWait, wire.Ask{Handles: []uint64{7}, Out: alices, In: bobs, Mode: mode}, told(wire.Told{Data: exit.Append(nil)}), func(ctx context.Context) error {
			got, err := seven.Result().Wait(ctx, reading)
			if !reflect.DeepEqual(got, exit) {
				t.Errorf("Wait() = %+v, want %+v", got, exit)
			}
			return err
		}},
		{wire.OpKill, wire.Ask{Handles: []uint64{7}, Out: alices, In: bobs}, nil, func(ctx context.Context) error { return seven.Result().Kill(ctx, powers) }},
		{wire.OpDelegate, wire.Ask{Privilege: alices}, made, func(ctx context.Context) error {
			d, err := c.Delegate(ctx, alices)
			return isNine(d.Handle, err)
		}},
		{wire.OpRevoke, wire.Ask{Handles: []uint64{7}}, nil, seven.Privilege().Revoke},
		{wire.OpNewSeal, wire.Ask{}, told(wire.Told{Handles: []uint64{7, 8, 9}}), func(ctx context.Context) error {
			s, err := c.NewSeal(ctx)
			if want := (Seal{seven.Sealer(), eight.Unsealer(), Handle{c, 9}.Tester()}); s != want {
				t.Errorf("NewSeal() = %+v, want %+v", s, want)
			}
			return err
		}},
		{wire.OpEnclose, wire.Ask{Handles: []uint64{7}, Label: secret, Data: []byte("data"), Out: alices, In: bobs}, made, func(ctx context.Context) error {
			capsule, err := seven.Sealer().Seal(ctx, secret, []byte("data"), powers)
			return isNine(capsule.Handle, err)
		}},
		{wire.OpDisclose, wire.Ask{Handles: []uint64{7, 8}, Out: alices, In: bobs, Mode: mode}, msg, func(ctx context.Context) error {
			data, err := seven.Unsealer().Unseal(ctx, eight.Capsule(), reading)
			if string(data) != "rock" {
				t.Errorf("Unseal() = %q", data)
			}
			return err
		}},
		{wire.OpAuthenticate, wire.Ask{Handles: []uint64{7, 8}}, told(wire.Told{Data: []byte{1}}), func(ctx context.Context) error {
			return is(true)(seven.Unsealer().Authenticate(ctx, eight.Capsule()))
		}},
		{wire.OpAuthenticate, wire.Ask{Handles: []uint64{7, 8}}, nil, func(ctx context.Context) error {
			return is(false)(seven.Tester().Authenticate(ctx, eight.Capsule()))
		}},
	} {
		answering(t, p, tt.op, tt.want, wire.OK, tt.answer, func(ctx context.Context) {
			if err := tt.do(ctx); err != nil {
				t.Errorf("%v = %v", tt.op, err)
			}
		})
	}
}

// What an operation has no use for is refused without asking the monitor.
func TestOptionsRefused(t *testing.T) {
	c, _ := connected(t) // no reply will come
	ctx := testContext(t)
	box, value := c.Mailbox("moves"), Handle{c, 7}.Value()
	many := make([]Handle, wire.MaxHandles+1)
	for name, err := range map[string]error{
		"a raise with a privilege": c.Raise(ctx, secret, Options{Out: alices}),
		"a post that raises":       box.Post(ctx, nil, Options{Raise: true}),
		"a post that shows":        box.Post(ctx, nil, Options{Shown: alices}),
		"a post of many handles":   box.Post(ctx, nil, Options{Handles: many}),
		"no name of a mailbox":     c.Mailbox("../moves").Post(ctx, nil, Options{}),
		"an unseal with handles":   second(value.Unseal(ctx, Options{Handles: many[:1]})),
		"a call that raises":       second(c.CallWith(ctx, "a.b", nil, Options{Raise: true})),
		"a call with many handles": second(c.CallWith(ctx, "a.b", nil, Options{Handles: many})),
	} {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
	if _, err := c.Seal(ctx, secret, make([]byte, wire.MaxBody), Options{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Seal() of too much = %v, want %v", err, ErrTooLarge)
	}
	if err := (Handle{}).Drop(ctx); err != nil {
		t.Errorf("Drop() of the zero handle = %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRefusedByLabels(t *testing.T) {
	c, p := connected(t)
	for _, tt := range []struct {
		code  wire.Code
		body  string
		is    error
		words string
	}{
		{wire.Label, "object ⊑ label: no; raise", ErrLabel, "unseal value: forbidden by a label: object ⊑ label: no; raise"},
		{wire.Denied, "", ErrDenied, "unseal value: denied"},
		{wire.OK, "nonsense", ErrMalformed, "unseal value: malformed: field 0: 1936029550 bytes announced, 3 there"},
	} {
		answering(t, p, wire.OpUnseal, wire.Ask{Handles: []uint64{7}}, tt.code, []byte(tt.body), func(ctx context.Context) {
			data, err := Handle{c, 7}.Value().Unseal(ctx, Options{})
			if data != nil || !errors.Is(err, tt.is) || tt.code != wire.OK && err.Error() != tt.words {
				t.Errorf("Unseal() = %q, %v, want %v", data, err, tt.words)
			}
		})
	}
	answering(t, p, wire.OpWait, wire.Ask{Handles: []uint64{7}}, wire.Withheld, nil, func(ctx context.Context) {
		if _, err := (Handle{c, 7}).Result().Wait(ctx, Options{}); !errors.Is(err, ErrWithheld) {
			t.Errorf("Wait() = %v, want %v", err, ErrWithheld)
		}
	})
	for _, answer := range [][]byte{nil, told(wire.Told{Handles: []uint64{1, 2}})} {
		answering(t, p, wire.OpSeal, wire.Ask{Label: secret}, wire.OK, answer, func(ctx context.Context) {
			if v, err := c.Seal(ctx, secret, nil, Options{}); !errors.Is(err, ErrMalformed) || v != (Value{}) {
				t.Errorf("Seal() with a reply of %x = %v, %v, want %v", answer, v, err, ErrMalformed)
			}
		})
	}
}

// Without a deadline a message is asked for again. With one, and when it is withdrawn, what
// the monitor sends all the same is not lost.
func TestWaiting(t *testing.T) {
	c, p := connected(t)
	box := c.Mailbox("moves")
	recv := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			m, err := box.Recv(ctx, Options{})
			if err == nil && string(m.Data) != "rock" {
				err = errors.New("another message")
			}
			done <- err
		}()
		return done
	}
	rock := told(wire.Told{Data: []byte("rock")})

	done := recv(context.Background())
	for _, code := range []wire.Code{wire.Empty, wire.Empty, wire.OK} {
		f := p.next()
		if f.Timeout <= 0 || f.Timeout > askAgain {
			t.Errorf("timeout %v", f.Timeout)
		}
		p.reply(f.ID, code, rock)
	}
	if err := <-done; err != nil {
		t.Errorf("Recv() = %v", err)
	}

	for _, tt := range []struct {
		name string
		end  error // of the context
		code wire.Code
		want error
	}{
		{"late, and something comes", context.DeadlineExceeded, wire.OK, nil},
		{"late, and nothing comes", context.DeadlineExceeded, wire.Empty, ErrEmpty},
		{"late, and withdrawn", context.DeadlineExceeded, wire.Canceled, ErrEmpty},
		{"canceled, and something comes", context.Canceled, wire.OK, nil},
		{"canceled, and nothing comes", context.Canceled, wire.Canceled, ErrCanceled},
		{"canceled, and it was empty", context.Canceled, wire.Empty, ErrCanceled},
	} {
		ctx := &ending{Context: context.Background(), done: make(chan struct{})}
		done := recv(ctx)
		f := p.next()
		ctx.end(tt.end)
		if k := p.next(); k.Op != wire.OpCancel || k.ID != f.ID {
			t.Errorf("%s: got %v %d, want cancel %d", tt.name, k.Op, k.ID, f.ID)
		}
		p.reply(f.ID, tt.code, rock)
		if err := <-done; !errors.Is(err, tt.want) {
			t.Errorf("%s: Recv() = %v, want %v", tt.name, err, tt.want)
		}
		if _, err := box.Recv(ctx, Options{}); tt.end == context.DeadlineExceeded && !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: Recv() afterwards = %v, want %v", tt.name, err, ErrEmpty)
		}
	}

	// With Now it is asked once, for the shortest time.
	for op, do := range map[wire.Op]func() error{
		wire.OpRecv: func() error { return second(box.Recv(context.Background(), Options{Now: true})) },
		wire.OpTake: func() error { return second(box.Take(context.Background(), Options{Now: true})) },
		wire.OpWait: func() error { return second(Handle{c, 7}.Result().Wait(context.Background(), Options{Now: true})) },
		wire.OpPut:  func() error { return box.Put(context.Background(), nil, Options{Now: true}) },
	} {
		code := wire.Empty
		if op == wire.OpPut {
			code = wire.Busy
		}
		done := make(chan error, 1)
		go func() { done <- do() }()
		f := p.next()
		if f.Op != op || f.Timeout != askOnce {
			t.Errorf("got %v with %v, want %v with %v", f.Op, f.Timeout, op, askOnce)
		}
		p.reply(f.ID, code, nil)
		if err := <-done; !errors.Is(err, code.Err()) {
			t.Errorf("%v = %v, want %v", op, err, code.Err())
		}
	}

	// Busy at once is no reason to try again, as it is after all the time.
	done = make(chan error, 1)
	go func() { done <- box.Put(context.Background(), nil, Options{}) }()
	p.reply(p.next().ID, wire.Busy, nil)
	if err := <-done; !errors.Is(err, ErrBusy) {
		t.Errorf("Put() = %v, want %v", err, ErrBusy)
	}
}

func TestStart(t *testing.T) {
	c, p := connected(t)
	options := SpawnOptions{Args: []string{"x"}, Label: &secret, Clearance: &secret, Gives: []Formula{bobs}, Handles: []Handle{{c, 4}}, Out: alices}
	want := wire.Spawn{Args: []string{"x"}, Label: &secret, Clearance: &secret, Result: &secret, Gives: []Formula{bobs}, Handles: []uint64{4}, Out: alices}
	for _, tt := range []struct {
		answer []byte
		want   error
	}{{told(wire.Told{Handles: []uint64{6}}), nil}, {nil, ErrMalformed}} {
		go func() {
			f := p.next()
			if s, err := wire.ParseSpawn(f.Body); f.Op != wire.OpSpawn || err != nil || !reflect.DeepEqual(s, want) {
				t.Errorf("got %v %+v, %v, want %+v", f.Op, s, err, want)
			}
			p.reply(f.ID, wire.OK, tt.answer)
		}()
		r, err := c.Start(testContext(t), "reader", secret, options)
		if !errors.Is(err, tt.want) || err == nil && r.Handle != (Handle{c, 6}) {
			t.Errorf("Start() = %+v, %v, want %v", r, err, tt.want)
		}
	}
}

func TestCallWith(t *testing.T) {
	c, p := connected(t)
	opened := func(id uint64, code wire.Code, handles ...uint64) {
		answer := wire.Told{Label: secret, Handles: handles}
		p.send(&wire.Frame{
			Header: wire.Header{Op: wire.OpReply, ID: id, Code: code, Flags: wire.FlagFields},
			Body:   append(wire.AppendFields(nil, answer.Append(nil)), "answer"...),
		})
	}
	call := func(want wire.Ask) uint64 {
		f := p.next()
		fields, body, err := wire.CutFields(f.Body)
		a, parseErr := wire.ParseAsk(wire.OpCall, fields)
		if f.Flags != wire.FlagFields || string(f.NameBytes) != "gate.release" || err != nil || parseErr != nil || string(body) != "request" || !reflect.DeepEqual(a, want) {
			t.Errorf("got %v %+v, %q, %v, %v, want %+v", f.Op, a, body, err, parseErr, want)
		}
		return f.ID
	}
	go func() {
		opened(call(wire.Ask{Out: alices, In: bobs, Shown: alices, Handles: []uint64{4}}), wire.OK, 8)
	}()
	got, err := c.CallWith(testContext(t), "gate.release", []byte("request"), Options{Out: alices, In: bobs, Shown: alices, Handles: []Handle{{c, 4}}})
	if want := (Reply{[]byte("answer"), []Handle{{c, 8}}, secret}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("CallWith() = %+v, %v, want %+v", got, err, want)
	}

	wantDrop := func(handles ...uint64) {
		t.Helper()
		f := p.next()
		if a, err := wire.ParseAsk(wire.OpDrop, f.Body); f.Op != wire.OpDrop || err != nil || !reflect.DeepEqual(a.Handles, handles) {
			t.Errorf("got %v %v, %v, want a drop of %v", f.Op, a.Handles, err, handles)
		}
		p.reply(f.ID, wire.OK, nil)
	}
	go func() { opened(call(wire.Ask{Shown: alices}), wire.OK, 9, 10) }()
	if out, err := c.Gate(testContext(t), "gate.release", alices, []byte("request")); err != nil || string(out) != "answer" {
		t.Errorf("Gate() = %q, %v", out, err)
	}
	wantDrop(9, 10) // for nobody asked for them

	go func() { opened(p.next().ID, wire.Label, 11) }()
	if _, err := c.Call(testContext(t), "a.b", nil); !errors.Is(err, ErrLabel) || err.Error() != "call a.b: forbidden by a label: answer" {
		t.Errorf("Call() = %v, want %v", err, ErrLabel)
	}
	wantDrop(11)

	ctx := &ending{Context: context.Background(), done: make(chan struct{})}
	late := make(chan error)
	go func() {
		_, err := c.Call(ctx, "a.b", nil)
		late <- err
	}()
	id := p.next().ID
	ctx.end(context.DeadlineExceeded)
	if err := <-late; !errors.Is(err, ErrDeadline) {
		t.Errorf("Call() = %v, want %v", err, ErrDeadline)
	}
	p.next() // the cancel, which came too late
	go func() {
		opened(id, wire.OK, 12)
		again := p.next().ID // which reads that
		wantDrop(12)
		p.reply(again, wire.OK, nil)
	}()
	if _, err := c.Call(testContext(t), "a.b", nil); err != nil {
		t.Errorf("Call() = %v", err)
	}

	if _, err := c.CallWith(testContext(t), "a.b", make([]byte, wire.MaxBody), Options{Out: alices}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("CallWith() of too much = %v, want %v", err, ErrTooLarge)
	}
}

// Fields that are none end the connection.
func TestHostileFields(t *testing.T) {
	for _, body := range []string{"", "\x01\x00\x00\x00", "\x02\x00\x00\x00xx"} {
		c, p := connected(t)
		go func() {
			p.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: p.next().ID, Flags: wire.FlagFields}, Body: []byte(body)})
		}()
		if _, err := c.Call(testContext(t), "a.b", nil); !errors.Is(err, ErrInterrupted) || !errors.Is(err, ErrClosed) {
			t.Errorf("Call() with fields %q = %v, want %v", body, err, ErrClosed)
		}
	}
}

func TestServeLabelled(t *testing.T) {
	var c *Client
	seen := make(chan Caller, 1)
	ready := make(chan struct{})
	c, p, _ := serving(t, testContext(t), map[string]Handler{
		"look": func(_ context.Context, caller Caller, body []byte) ([]byte, error) {
			seen <- caller
			return body, nil
		},
		"keep": func(_ context.Context, caller Caller, body []byte) ([]byte, error) {
			<-ready
			caller.Keep()
			caller.Give(Handle{c, 70})
			caller.GiveAway(Handle{c, 71})
			return body, nil
		},
		"fails": func(_ context.Context, caller Caller, body []byte) ([]byte, error) {
			<-ready
			caller.GiveAway(Handle{c, 72})
			return nil, ErrDenied
		},
		"many": func(_ context.Context, caller Caller, body []byte) ([]byte, error) {
			caller.Give(make([]Handle, wire.MaxHandles+1)...)
			return nil, nil
		},
	})
	close(ready)
	call := func(id uint64, method string) {
		fields := wire.Told{Label: secret, Shown: bobs, Handles: []uint64{5, 6}}
		p.send(&wire.Frame{
			Header:    wire.Header{Op: wire.OpCall, ID: id, Call: id, Flags: wire.FlagFields},
			NameBytes: []byte(method), CallerBytes: alice.Append(nil),
			Body: append(wire.AppendFields(nil, fields.Append(nil)), "body"...),
		})
	}
	// drops are the handles of as many drops, in whatever order.
	drops := func(want ...[]uint64) {
		t.Helper()
		got := map[uint64]int{}
		for range want {
			f := p.next()
			a, err := wire.ParseAsk(wire.OpDrop, f.Body)
			if f.Op != wire.OpDrop || err != nil {
				t.Errorf("got %v, %v, want a drop", f.Op, err)
			}
			for _, h := range a.Handles {
				got[h]++
			}
			p.reply(f.ID, wire.OK, nil)
		}
		n := 0
		for _, handles := range want {
			for _, h := range handles {
				n++
				if got[h] != 1 {
					t.Errorf("dropped %v, want %v", got, want)
				}
			}
		}
		if len(got) != n {
			t.Errorf("dropped %v, want %v", got, want)
		}
	}

	call(1, "look")
	p.wantReply(1, wire.OK, "body")
	drops([]uint64{5, 6}) // they were for the time of the request
	if saw := <-seen; saw.Label != secret || saw.Shown != bobs || !reflect.DeepEqual(saw.Handles, []Handle{{c, 5}, {c, 6}}) || saw.Principal != "alice" {
		t.Errorf("the handler saw %+v", saw)
	}
	p.call(2, "look", 0, []byte("plain"))
	p.wantReply(2, wire.OK, "plain")
	if saw := <-seen; saw.Label != Public || saw.Shown != (Formula{}) || saw.Handles != nil {
		t.Errorf("the handler of a plain call saw %+v", saw)
	}

	call(3, "keep")
	f := p.next()
	fields, body, err := wire.CutFields(f.Body)
	a, parseErr := wire.ParseAsk(wire.OpReply, fields)
	if f.Op != wire.OpReply || f.ID != 3 || f.Flags != wire.FlagFields || err != nil || parseErr != nil || !bytes.Equal(body, []byte("body")) ||
		!reflect.DeepEqual(a.Handles, []uint64{70, 71}) {
		t.Errorf("got %v %d %+v %q, %v, %v", f.Op, f.ID, a, body, err, parseErr)
	}
	drops([]uint64{71})

	call(4, "fails")
	p.wantReply(4, wire.Denied, "")
	drops([]uint64{72}, []uint64{5, 6})

	call(5, "many")
	p.wantReply(5, wire.Failed, "give: malformed: reply: more than 16 handles")
	drops([]uint64{5, 6})

	for _, c := range []Caller{{}, {Call: 1}} { // as a test of a handler may make them
		c.Keep()
		c.Give(Handle{})
		c.GiveAway(Handle{})
	}
}

func TestTextsOfLabels(t *testing.T) {
	f, err := Principal(`a & "b`)
	if err != nil || f.String() != `"a & \"b"` {
		t.Errorf("Principal() = %v, %v", f, err)
	}
	if l := NewLabel(f, Formula{}); l.Secrecy() != f || l.Integrity() != MustFormula("True") {
		t.Errorf("NewLabel() = %v", l)
	}
	for _, text := range []string{"", "alice", "alice %% "} {
		if l, err := ParseLabel(text); err == nil {
			t.Errorf("ParseLabel(%q) = %v", text, l)
		}
	}
	if f, err := ParseFormula("alice & bob | carol"); err == nil {
		t.Errorf("ParseFormula() = %v", f)
	}
}
