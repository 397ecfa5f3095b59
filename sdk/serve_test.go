package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/wire"
)

func echo(_ context.Context, _ Caller, body []byte) ([]byte, error) { return body, nil }

func TestServe(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	_, p, served := serving(t, ctx, map[string]Handler{
		"echo": echo,
		"who": func(_ context.Context, c Caller, _ []byte) ([]byte, error) {
			s := fmt.Sprintf("%s %s %s %x %d", c.Service, c.Instance, c.Principal, c.Bound, c.Call)
			clear(c.Bound) // is ours, so the next caller sees nothing of this
			return []byte(s), nil
		},
	})
	p.call(1, "echo", time.Second, []byte("hello"))
	p.wantReply(1, wire.OK, "hello")
	big := bytes.Repeat([]byte("x"), wire.MaxBody)
	p.call(2, "echo", 0, big)
	p.wantReply(2, wire.OK, string(big))
	for id := range uint64(2) {
		p.call(id, "who", 0, nil)
		p.wantReply(id, wire.OK, fmt.Sprintf("front front-1 alice 0001 %d", id+1000))
	}
	stop()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve() = %v, want %v", err, context.Canceled)
	}
	p.call(5, "echo", 0, nil)
	p.wantReply(5, wire.Busy, "")
}

func TestServeErrors(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	var logged lockedBuffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))

	handlers := map[string]Handler{}
	tests := []struct {
		method string
		handle Handler
		code   wire.Code
		body   string
	}{
		{"words", fails(errors.New("no such user")), wire.Failed, "no such user"},
		{"denied", fails(fmt.Errorf("owner only: %w", ErrDenied)), wire.Denied, ""},
		{"busy", fails(ErrBusy), wire.Busy, ""},
		{"malformed", fails(wire.Error{Code: wire.Malformed, Message: "no name"}), wire.Malformed, "no name"},
		{"broken", fails(ErrBroken), wire.Failed, "broken"},
		{"nested", fails(&CallError{"call", "auth.check", ErrDenied}), wire.Failed, "call auth.check: denied"},
		{"long", fails(errors.New(strings.Repeat("é", MaxMessage))), wire.Failed, strings.Repeat("é", MaxMessage/2)},
		{"panic", func(context.Context, Caller, []byte) ([]byte, error) { panic("secret") }, wire.Failed, "internal error"},
		{"large", func(context.Context, Caller, []byte) ([]byte, error) { return make([]byte, wire.MaxBody+1), nil }, wire.TooLarge, ""},
	}
	for _, tt := range tests {
		handlers[tt.method] = tt.handle
	}
	_, p, _ := serving(t, testContext(t), handlers)
	for i, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			p.call(uint64(i), tt.method, 0, nil)
			p.wantReply(uint64(i), tt.code, tt.body)
		})
	}
	if s := logged.String(); !strings.Contains(s, "panic=secret") || !strings.Contains(s, "method=panic") {
		t.Errorf("logged %q, want the panic", s)
	}
}

// lockedBuffer is for one who writes and another who looks.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func fails(err error) Handler {
	return func(context.Context, Caller, []byte) ([]byte, error) { return nil, err }
}

// The context of a handler ends with its request, and a failure after that is
// for nobody, but that it has ended is said.
func TestServeContextEnds(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error)
	handlers := map[string]Handler{
		"echo": echo,
		"wait": func(ctx context.Context, _ Caller, _ []byte) ([]byte, error) {
			started <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	}
	_, p, served := serving(t, testContext(t), handlers)

	p.call(1, "wait", 0, nil)
	<-started
	p.send(&wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: 1}})
	if err := <-ended; err != context.Canceled {
		t.Errorf("after a cancel: %v, want %v", err, context.Canceled)
	}
	p.wantReply(1, wire.Canceled, "")

	p.call(2, "wait", 10*time.Millisecond, nil)
	<-started
	if err := <-ended; err != context.DeadlineExceeded {
		t.Errorf("after the deadline: %v, want %v", err, context.DeadlineExceeded)
	}

	p.wantReply(2, wire.Canceled, "")
	p.call(3, "echo", 0, []byte("next"))
	p.wantReply(3, wire.OK, "next")

	p.call(4, "wait", 0, nil)
	<-started
	p.nc.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("after the loss of the connection: %v, want %v", err, context.Canceled)
	}
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Errorf("Serve() = %v, want %v", err, ErrClosed)
	}
}

// Serve stops taking requests when its context ends, and lets those that run
// come to their end.
func TestServeDrains(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	_, p, served := serving(t, ctx, map[string]Handler{
		"slow": func(ctx context.Context, _ Caller, _ []byte) ([]byte, error) {
			started <- struct{}{}
			<-release
			return []byte("done"), ctx.Err()
		},
	})
	p.call(1, "slow", 0, nil)
	<-started
	stop()
	for id := uint64(2); ; id++ { // until it has noticed
		p.call(id, "slow", 0, nil)
		select {
		case <-started:
			release <- struct{}{}
			p.wantReply(id, wire.OK, "done")
			continue
		case <-time.After(20 * time.Millisecond):
		}
		p.wantReply(id, wire.Busy, "")
		break
	}
	select {
	case err := <-served:
		t.Errorf("Serve() = %v while a handler runs", err)
	default:
	}
	close(release)
	p.wantReply(1, wire.OK, "done")
	<-served
}

// At most MaxHandlers run, MaxQueue wait, and the rest learns that it is busy.
// Replies to calls made by handlers come through all the same.
func TestServeBounds(t *testing.T) {
	var running, most atomic.Int32
	release := make(chan struct{})
	_, p, _ := serving(t, testContext(t), map[string]Handler{
		"wait": func(context.Context, Caller, []byte) ([]byte, error) {
			for n := running.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			<-release
			running.Add(-1)
			return nil, nil
		},
	})
	const over = 5
	for id := range uint64(MaxHandlers + MaxQueue + over) {
		p.call(id, "wait", 0, nil)
	}
	codes := map[wire.Code]int{}
	for range over {
		codes[p.next().Code]++
	}
	close(release)
	for range MaxHandlers + MaxQueue {
		codes[p.next().Code]++
	}
	if codes[wire.Busy] != over || codes[wire.OK] != MaxHandlers+MaxQueue || most.Load() > MaxHandlers {
		t.Errorf("replies %v with at most %d at a time, want %d busy and at most %d", codes, most.Load(), over, MaxHandlers)
	}
}

// One connection serves and calls at once, also from within a handler.
func TestServeNestedCall(t *testing.T) {
	var c *Client
	ready := make(chan struct{})
	c, p, _ := serving(t, testContext(t), map[string]Handler{
		"outer": func(ctx context.Context, _ Caller, body []byte) ([]byte, error) {
			<-ready
			return c.Call(ctx, "other.inner", body)
		},
	})
	close(ready)
	for id := range uint64(MaxHandlers) {
		p.call(id, "outer", time.Second, []byte("x"))
	}
	var inner []uint64
	for range MaxHandlers {
		f := p.next()
		if f.Op != wire.OpCall || string(f.NameBytes) != "other.inner" || f.Timeout == 0 {
			t.Fatalf("got %v %q, want a call of other.inner with the time left", f.Op, f.NameBytes)
		}
		inner = append(inner, f.ID)
	}
	for _, id := range inner {
		p.reply(id, wire.OK, []byte("y"))
	}
	for range MaxHandlers {
		if f := p.next(); f.Op != wire.OpReply || string(f.Body) != "y" {
			t.Fatalf("got %v %q, want the reply y", f.Op, f.Body)
		}
	}
}

func TestServeHostileMonitor(t *testing.T) {
	call := func(id uint64, method string, caller []byte) []byte {
		return wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: id}, NameBytes: []byte(method), CallerBytes: caller})
	}
	for name, b := range map[string][]byte{
		"unknown method": call(1, "other", alice.Append(nil)),
		"no caller":      call(1, "wait", nil),
		"bad caller":     call(1, "wait", []byte{99, 0, 0, 0, 0}),
		"same id twice":  append(call(1, "wait", alice.Append(nil)), call(1, "wait", alice.Append(nil))...),
	} {
		t.Run(name, func(t *testing.T) {
			_, p, served := serving(t, testContext(t), map[string]Handler{
				"wait": func(ctx context.Context, _ Caller, _ []byte) ([]byte, error) {
					<-ctx.Done()
					return nil, nil
				},
			})
			p.sendBytes(b)
			if err := <-served; !errors.Is(err, ErrClosed) {
				t.Errorf("Serve() = %v, want %v", err, ErrClosed)
			}
		})
	}
}

func TestServeRefused(t *testing.T) {
	c, p := connected(t)
	for _, handlers := range []map[string]Handler{nil, {"Bad Name": echo}, {"none": nil}} {
		if err := c.Serve(testContext(t), handlers); err == nil {
			t.Errorf("Serve(%v) = nil, want an error", handlers)
		}
	}
	go func() { p.reply(p.next().ID, wire.Denied, nil) }()
	if err := c.Serve(testContext(t), map[string]Handler{"echo": echo}); !errors.Is(err, ErrDenied) {
		t.Errorf("Serve() = %v, want %v", err, ErrDenied)
	}
	if err := c.Serve(testContext(t), map[string]Handler{"echo": echo}); err == nil {
		t.Error("second Serve() = nil, want an error")
	}
}

func TestJSON(t *testing.T) {
	type request struct{ N int }
	h := JSON(func(_ context.Context, c Caller, r request) (map[string]int, error) {
		if r.N < 0 {
			return nil, ErrDenied
		}
		return map[string]int{"next": r.N + 1}, nil
	})
	for _, tt := range []struct {
		body, want string
		err        error
	}{
		{`{"N":1}`, `{"next":2}`, nil},
		{``, `{"next":1}`, nil},
		{`{"N":-1}`, ``, ErrDenied},
		{`{"N":1,"M":2}`, ``, ErrMalformed},
		{`{"N":1} x`, ``, ErrMalformed},
		{`{"N":"1"}`, ``, ErrMalformed},
		{`{"N":`, ``, ErrMalformed},
	} {
		out, err := h(context.Background(), Caller{}, []byte(tt.body))
		if string(out) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("handler(%s) = %s, %v, want %s, %v", tt.body, out, err, tt.want, tt.err)
		}
	}
}
