package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

func TestConnectOutside(t *testing.T) {
	t.Setenv(SocketVariable, "")
	_, err := Connect(testContext(t))
	if want := "connect to the monitor: COFFERDAM_SOCKET is not set: not inside an environment"; err == nil || err.Error() != want {
		t.Errorf("Connect() = %v, want %v", err, want)
	}
}

func TestConnect(t *testing.T) {
	path := t.TempDir() + "/socket"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		p := &peer{t: t, nc: nc, r: wire.NewReader(nc)}
		p.reply(p.next().ID, wire.OK, alice.Append(nil))
	}()
	t.Setenv(SocketVariable, path)
	c, err := Connect(testContext(t))
	if err != nil {
		t.Fatalf("Connect() = %v", err)
	}
	defer c.Close()
	if got := c.Self(); got.Service != "front" || got.Instance != "front-1" || got.Principal != "alice" || !bytes.Equal(got.Bound, alice.Bound) {
		t.Errorf("Self() = %+v, want %+v", got, alice)
	}
}

func TestHelloRefused(t *testing.T) {
	for name, reply := range map[string]wire.Frame{
		"denied":   {Header: wire.Header{Op: wire.OpReply, ID: 1, Code: wire.Denied}},
		"nonsense": {Header: wire.Header{Op: wire.OpReply, ID: 1}, Body: []byte("x")},
		"no one":   {Header: wire.Header{Op: wire.OpReply, ID: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := socketpair(t)
			p := &peer{t: t, nc: theirs, r: wire.NewReader(theirs)}
			p.send(&reply)
			if c, err := NewClient(testContext(t), ours); err == nil {
				t.Errorf("NewClient() = %+v, want an error", c.Self())
			}
		})
	}
}

func TestCall(t *testing.T) {
	c, p := connected(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	go func() {
		f := p.next()
		if f.Op != wire.OpCall || string(f.NameBytes) != "bank.balance" || string(f.Body) != "request" ||
			f.Timeout < 2*time.Second || f.Timeout > 3*time.Second || f.Call != 0 || len(f.CallerBytes) != 0 {
			t.Errorf("got %+v", f)
		}
		p.reply(f.ID+77, wire.OK, []byte("nobody asked"))
		p.reply(f.ID, wire.OK, []byte("answer"))
	}()
	out, err := c.Call(ctx, "bank.balance", []byte("request"))
	if err != nil || string(out) != "answer" {
		t.Errorf("Call() = %q, %v, want answer", out, err)
	}
}

// Whoever is beyond a rate learns when to try again, and nobody else does.
func TestRetryAfter(t *testing.T) {
	c, p := connected(t)
	go func() {
		p.send(&wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: p.next().ID, Code: wire.Limited, Timeout: 90 * time.Millisecond}, Body: []byte("5/min")})
	}()
	_, err := c.Call(testContext(t), "a.b", nil)
	if want := "call a.b: limited: 5/min; try again in 90ms"; !errors.Is(err, ErrLimited) || RetryAfter(err) != 90*time.Millisecond || err.Error() != want {
		t.Errorf("Call() = %v, retry after %v, want %s", err, RetryAfter(err), want)
	}
	for _, err := range []error{nil, ErrBusy, errors.New("other"), &Failure{}} {
		if d := RetryAfter(err); d != 0 {
			t.Errorf("RetryAfter(%v) = %v, want 0", err, d)
		}
	}
}

func TestCallCodes(t *testing.T) {
	c, p := connected(t)
	for _, tt := range []struct {
		code  wire.Code
		is    []error
		words string
	}{
		{wire.Denied, []error{ErrDenied}, "call a.b: denied: why"},
		{wire.Unavailable, []error{ErrUnavailable}, "call a.b: unavailable: why"},
		{wire.Broken, []error{ErrBroken}, "call a.b: broken: why"},
		{wire.Deadline, []error{ErrDeadline, context.DeadlineExceeded}, "call a.b: deadline: context deadline exceeded"},
		{wire.Canceled, []error{ErrCanceled, context.Canceled}, "call a.b: canceled: context canceled"},
		{wire.TooLarge, []error{ErrTooLarge}, "call a.b: too large: why"},
		{wire.Busy, []error{ErrBusy}, "call a.b: busy: why"},
		{wire.Malformed, []error{ErrMalformed}, "call a.b: malformed: why"},
		{wire.Failed, []error{ErrFailed}, "call a.b: failed: why"},
		{wire.Interrupted, []error{ErrInterrupted}, "call a.b: interrupted: why"},
		{wire.Label, []error{ErrLabel}, "call a.b: forbidden by a label: why"},
		{wire.Withheld, []error{ErrWithheld}, "call a.b: withheld: why"},
		{wire.Empty, []error{ErrEmpty}, "call a.b: empty: why"},
		{wire.Limited, []error{ErrLimited}, "call a.b: limited: why"},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			go func() { p.reply(p.next().ID, tt.code, []byte("why")) }()
			out, err := c.Call(testContext(t), "a.b", nil)
			if out != nil || err == nil || err.Error() != tt.words {
				t.Errorf("Call() = %q, %v, want %s", out, err, tt.words)
			}
			for code := wire.Denied; code.Known(); code++ {
				if got, want := errors.Is(err, code.Err()), code == tt.code; got != want {
					t.Errorf("errors.Is(%v, %v) = %v, want %v", err, code, got, want)
				}
			}
			for _, is := range tt.is {
				if !errors.Is(err, is) {
					t.Errorf("errors.Is(%v, %v) = false, want true", err, is)
				}
			}
			var ce *CallError
			if !errors.As(err, &ce) || ce.Name != "a.b" {
				t.Errorf("%v is no CallError of a.b", err)
			}
			var f *Failure
			if got, want := errors.As(err, &f), tt.code == wire.Failed; got != want || want && f.Message != "why" {
				t.Errorf("%v is a Failure: %v, want %v", err, got, want)
			}
		})
	}
}

// Requests that cannot be right are refused without asking the monitor.
func TestCallRefusedHere(t *testing.T) {
	c, _ := connected(t) // no reply will come
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		what string
		ctx  context.Context
		name string
		body []byte
		want error
	}{
		{"no dot", testContext(t), "bank", nil, ErrMalformed},
		{"empty", testContext(t), "", nil, ErrMalformed},
		{"long", testContext(t), "a." + string(bytes.Repeat([]byte("b"), wire.MaxName)), nil, ErrMalformed},
		{"body", testContext(t), "a.b", make([]byte, wire.MaxBody+1), ErrTooLarge},
		{"canceled", gone, "a.b", nil, ErrCanceled},
	} {
		if _, err := c.Call(tt.ctx, tt.name, tt.body); !errors.Is(err, tt.want) {
			t.Errorf("%s: Call() = %v, want %v", tt.what, err, tt.want)
		}
	}
}

func TestCallWithdrawn(t *testing.T) {
	c, p := connected(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := c.Call(ctx, "a.b", nil)
		done <- err
	}()
	id := p.next().ID
	cancel()
	if err := <-done; !errors.Is(err, ErrCanceled) || !errors.Is(err, context.Canceled) {
		t.Errorf("Call() = %v, want %v", err, ErrCanceled)
	}
	if f := p.next(); f.Op != wire.OpCancel || f.ID != id {
		t.Errorf("got %v %d, want cancel %d", f.Op, f.ID, id)
	}
	p.reply(id, wire.OK, []byte("late")) // is for nobody

	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Call(short, "a.b", nil); !errors.Is(err, ErrDeadline) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Call() = %v, want %v", err, ErrDeadline)
	}
}

func TestCallLargeAndMany(t *testing.T) {
	c, p := connected(t)
	const n = 50
	go func() { // echoes, in pairs the other way round
		var held *wire.Frame
		for range n {
			f := p.next()
			r := wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: bytes.Clone(f.Body)}
			if held == nil {
				held = &r
				continue
			}
			p.send(&r)
			p.send(held)
			held = nil
		}
	}()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*wire.MaxBody/(n-1))
			out, err := c.Call(testContext(t), "a.b", body)
			if err != nil || !bytes.Equal(out, body) {
				t.Errorf("Call() with %d bytes = %d bytes, %v", len(body), len(out), err)
			}
		})
	}
	wg.Wait()
}

func TestConnectionLost(t *testing.T) {
	c, p := connected(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := c.Call(testContext(t), "a.b", nil); !errors.Is(err, ErrInterrupted) || !errors.Is(err, ErrClosed) {
				t.Errorf("Call() = %v, want %v and %v", err, ErrInterrupted, ErrClosed)
			}
		})
	}
	for range 5 {
		p.next()
	}
	p.nc.Close()
	wg.Wait()
	if _, err := c.Call(testContext(t), "a.b", nil); !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrClosed) {
		t.Errorf("Call() afterwards = %v, want %v and %v", err, ErrUnavailable, ErrClosed)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// Whatever breaks the rules ends the connection, and nothing hangs.
func TestHostileMonitor(t *testing.T) {
	frame := func(f wire.Frame) []byte { return wire.AppendFrame(nil, &f) }
	badFlags := frame(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: 1}})
	badFlags[22] = 1
	hugeSize := frame(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: 1}})
	hugeSize[3] = 0xff
	for name, b := range map[string][]byte{
		"flags":             badFlags,
		"size":              hugeSize,
		"half a header":     badFlags[:10],
		"hello":             frame(wire.Frame{Header: wire.Header{Op: wire.OpHello}}),
		"serve":             frame(wire.Frame{Header: wire.Header{Op: wire.OpServe}}),
		"spawn":             frame(wire.Frame{Header: wire.Header{Op: wire.OpSpawn}, NameBytes: []byte("t")}),
		"call, not serving": frame(wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("m"), CallerBytes: alice.Append(nil)}),
		"noise":             bytes.Repeat([]byte("noise"), 100),
	} {
		t.Run(name, func(t *testing.T) {
			c, p := connected(t)
			done := make(chan error)
			go func() {
				_, err := c.Call(testContext(t), "a.b", nil)
				done <- err
			}()
			p.next()
			p.sendBytes(b)
			if name == "half a header" {
				p.nc.Close()
			}
			if err := <-done; !errors.Is(err, ErrInterrupted) || !errors.Is(err, ErrClosed) {
				t.Errorf("Call() = %v, want %v", err, ErrClosed)
			}
		})
	}
}

func TestCallJSON(t *testing.T) {
	c, p := connected(t)
	type args struct{ Name string }
	for _, tt := range []struct {
		args          any
		reply         string
		request, want string
		fails         bool
	}{
		{args{"alice"}, `{"n":7}`, `{"Name":"alice"}`, "map[n:7]", false},
		{nil, `null`, ``, "map[]", false},
		{nil, `{} {}`, ``, "", true},
		{nil, ``, ``, "", true},
	} {
		go func() {
			f := p.next()
			if string(f.Body) != tt.request {
				t.Errorf("request %q, want %q", f.Body, tt.request)
			}
			p.reply(f.ID, wire.OK, []byte(tt.reply))
		}()
		var got map[string]any
		err := c.CallJSON(testContext(t), "a.b", tt.args, &got)
		if tt.fails != (err != nil) || err == nil && fmt.Sprint(got) != tt.want {
			t.Errorf("CallJSON(%v) with reply %q = %v, %v, want %v", tt.args, tt.reply, got, err, tt.want)
		}
	}
	if err := c.CallJSON(testContext(t), "a.b", make(chan int), nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("CallJSON(a channel) = %v, want %v", err, ErrMalformed)
	}
}

func TestSpawn(t *testing.T) {
	c, p := connected(t)
	want := Exit{Stdout: []byte("out"), Cause: "exit", Code: 3, Wall: time.Second, CPU: time.Millisecond, Memory: 1 << 20}
	go func() {
		f := p.next()
		s, err := wire.ParseSpawn(f.Body)
		if f.Op != wire.OpSpawn || string(f.NameBytes) != "sandbox" || err != nil || len(s.Files) != 1 || s.Principal != "bob" {
			t.Errorf("got %v of %q with %+v, %v", f.Op, f.NameBytes, s, err)
		}
		p.reply(f.ID, wire.OK, want.Append(nil))
	}()
	options := SpawnOptions{Files: []File{{Path: "/run/a.py", Data: []byte("x")}}, Principal: "bob"}
	got, err := c.Spawn(testContext(t), "sandbox", options)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Spawn() = %+v, %v, want %+v", got, err, want)
	}
	for _, tt := range []struct {
		template string
		options  SpawnOptions
		want     error
	}{
		{"", SpawnOptions{}, ErrMalformed},
		{"sandbox", SpawnOptions{Files: []File{{Path: "../x"}}}, ErrMalformed},
		{"sandbox", SpawnOptions{Stdin: make([]byte, wire.MaxBody)}, ErrTooLarge},
	} {
		if _, err := c.Spawn(testContext(t), tt.template, tt.options); !errors.Is(err, tt.want) {
			t.Errorf("Spawn(%q) = %v, want %v", tt.template, err, tt.want)
		}
	}
}

func TestMount(t *testing.T) {
	c, p := connected(t)
	want := wire.Mount{Dir: "/srv/théories", Into: "prover", Principal: "bob", Client: "7"}
	options := MountOptions{Into: "prover", Principal: "bob", Client: "7"}
	go func() {
		for _, op := range []wire.Op{wire.OpMount, wire.OpUnmount} {
			f := p.next()
			m, err := wire.ParseMount(f.Body)
			if f.Op != op || len(f.NameBytes) != 0 || err != nil || m != want {
				t.Errorf("got %v %+v, %v, want %v %+v", f.Op, m, err, op, want)
			}
			p.reply(f.ID, wire.OK, []byte("/shares/x"))
		}
		p.reply(p.next().ID, wire.Denied, nil)
	}()
	if got, err := c.Mount(testContext(t), "/srv/théories", options); got != "/shares/x" || err != nil {
		t.Errorf("Mount() = %q, %v", got, err)
	}
	if err := c.Unmount(testContext(t), "/srv/théories", options); err != nil {
		t.Errorf("Unmount() = %v", err)
	}
	if got, err := c.Mount(testContext(t), "/etc", MountOptions{}); !errors.Is(err, ErrDenied) || got != "" || err.Error() != "mount /etc: denied" {
		t.Errorf("Mount() = %q, %v, want %v", got, err, ErrDenied)
	}
	for dir, o := range map[string]MountOptions{
		"relative": {}, "": {}, "/": {}, "/a/..": {}, "/a/": {}, "/a": {Into: "A"}, "/b": {Client: "\xff"}, "/c": {Into: "s", Principal: "a\x00"}, "/d": {Principal: "a"},
	} {
		if _, err := c.Mount(testContext(t), dir, o); !errors.Is(err, ErrMalformed) {
			t.Errorf("Mount(%q, %+v) = %v, want %v", dir, o, err, ErrMalformed)
		}
		if err := c.Unmount(testContext(t), dir, o); !errors.Is(err, ErrMalformed) {
			t.Errorf("Unmount(%q, %+v) = %v, want %v", dir, o, err, ErrMalformed)
		}
	}
}

func TestEnd(t *testing.T) {
	c, p := connected(t)
	go func() {
		for _, code := range []wire.Code{wire.OK, wire.Denied} {
			f := p.next()
			e, err := wire.ParseEnd(f.Body)
			if want := (wire.End{Service: "server", Principal: "älice"}); f.Op != wire.OpEnd || len(f.NameBytes) != 0 || err != nil || e != want {
				t.Errorf("got %v %+v, %v, want %+v", f.Op, e, err, want)
			}
			p.reply(f.ID, code, nil)
		}
	}()
	if err := c.End(testContext(t), "server", "älice"); err != nil {
		t.Errorf("End() = %v", err)
	}
	if err := c.End(testContext(t), "server", "älice"); !errors.Is(err, ErrDenied) || err.Error() != "end server: denied" {
		t.Errorf("End() = %v, want %v", err, ErrDenied)
	}
	for _, bad := range [][2]string{{"", "a"}, {"server", ""}, {"server.x", "a"}, {"server", "\xff"}} {
		if err := c.End(testContext(t), bad[0], bad[1]); !errors.Is(err, ErrMalformed) {
			t.Errorf("End(%q) = %v, want %v", bad, err, ErrMalformed)
		}
	}
}
