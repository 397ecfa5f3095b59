package monitor

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// direct is the policy p in which front's connections are direct.
func direct(p Policy) Policy {
	p.Grants = slices.Clone(p.Grants)
	for i := range p.Grants {
		g := &p.Grants[i]
		g.Direct = g.Kind == KindConnect && (g.From == "front" || g.From == p.Door.Service)
	}
	return p
}

// handLab is a monitor at which front may have the sockets of bank's port.
type handLab struct {
	*lab
	front, bank *Env
	in          *inside
	p           *peer
}

func newHandLab(t testing.TB, policy Policy) *handLab {
	t.Helper()
	h := &handLab{lab: newLab(t, direct(policy)), in: newInside(t)}
	h.front, h.bank = h.admit("front", "front-1"), h.admit("bank", "bank-1")
	h.bank.Hands(h.in.dial)
	h.bank.Listening(h.in.dial)
	h.p = h.connect(h.front)
	return h
}

// dialled is what p is answered that has asked for a connection: its socket, or nil.
func (p *peer) dialled(id uint64) (*net.TCPConn, wire.Frame) {
	p.t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 256)
	p.nc.SetReadDeadline(time.Now().Add(patience))
	n, oobn, _, _, err := p.nc.ReadMsgUnix(b, oob)
	if err != nil {
		p.t.Fatalf("peer: %v", err)
	}
	h, err := wire.ParseHeader(b[:n])
	if err != nil || h.Op != wire.OpReply || h.ID != id {
		p.t.Fatalf("peer got %+v, %v, want the reply to %d", h, err, id)
	}
	f := wire.Frame{Header: h, Body: b[wire.HeaderSize:n]}
	if h.Flags&wire.FlagSocket == 0 {
		if oobn > 0 {
			p.t.Error("a descriptor that was not announced")
		}
		return nil, f
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		p.t.Fatalf("control messages: %v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		p.t.Fatalf("descriptors: %v, %v", fds, err)
	}
	file := os.NewFile(uintptr(fds[0]), "handed")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn), f
}

func (p *peer) dial(name string, d wire.Dial) uint64 {
	p.t.Helper()
	return p.ask(wire.OpDial, name, 0, d.Append(nil))
}

// pair is a connection that was handed to front, and its other end.
func (h *handLab) pair() (id uint64, near, far *net.TCPConn) {
	h.t.Helper()
	id = h.p.dial("bank:9000", wire.Dial{})
	near, f := h.p.dialled(id)
	if near == nil {
		h.t.Fatalf("no socket but %v", f.Code)
	}
	return id, near, h.in.accept(h.t)
}

// cancel ends a connection that was handed.
func (p *peer) cancel(id uint64, flags uint16) {
	p.t.Helper()
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id, Flags: flags}})
}

// wantDead waits until whoever reads from c sees that it is cut, with nothing left to read.
func wantDead(t testing.TB, c *net.TCPConn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if timeout := (net.Error)(nil); n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("read %d, %v of a connection that was cut", n, err)
	}
}

func TestHanded(t *testing.T) {
	h := newHandLab(t, bank())
	id, near, far := h.pair()
	if port := h.in.port.Load(); port != 9000 {
		t.Errorf("dialled port %d", port)
	}
	io.WriteString(near, "hello")
	wantBytes(t, far, "hello")
	io.WriteString(far, "you too")
	wantBytes(t, near, "you too")
	if got := h.decided("front", "connect"); len(got) != 1 || got[0].Object != "bank:9000" || got[0].Verdict != "allow" || got[0].Rule != "m.yaml:1" {
		t.Errorf("recorded %+v", got)
	}
	if relaysOf(h.front) != 1 || relaysOf(h.bank) != 1 || !h.bank.Busy() {
		t.Error("the connection is not in the books of both")
	}

	// What was written is delivered, to whoever reads as late as he likes.
	large := make([]byte, 1<<20)
	go func() {
		near.Write(large)
		near.Close()
		h.p.cancel(id, 0)
	}()
	time.Sleep(20 * time.Millisecond)
	if n, err := io.Copy(io.Discard, far); n != int64(len(large)) || err != nil {
		t.Errorf("%d bytes arrived, %v", n, err)
	}
	far.Close()
	eventually(t, "nothing is left", func() bool { return relaysOf(h.front)+relaysOf(h.bank) == 0 })
	g := h.m.policy.Load().bySubject["front"][KindConnect]["bank:9000"].traffic
	eventually(t, "it is counted", func() bool {
		in := g.in.Load() // the kernel may count the end as a byte
		return g.open.Load() == 0 && g.out.Load() == 5+1<<20 && (in == 7 || in == 8) && g.total.Load() == 1
	})
}

// Whatever takes the right to it, or an end, away ends it: for both sides, at once, and with what
// was not read yet.
func TestHandedIsCut(t *testing.T) {
	for name, end := range map[string]func(h *handLab){
		"the grant goes": func(h *handLab) {
			h.enforce(only(direct(bank()), func(g Grant) bool { return g.From != "front" }))
		},
		"it is direct no more": func(h *handLab) { h.enforce(bank()) },
		"labels": func(h *handLab) {
			// It was given the power to change meanwhile: so it can, with force.
			up := guard.State{Label: label.MustParse("alice %% True"), Clearance: label.MustParse("alice %% True")}
			if _, err := h.front.change(false, func(guard.State) (guard.State, error) { return up, nil }); err == nil {
				h.t.Error("the label changes without force")
			}
			if _, err := h.front.change(true, func(guard.State) (guard.State, error) { return up, nil }); err != nil {
				h.t.Error(err)
			}
		},
		"labels of the other": func(h *handLab) {
			up := guard.State{Label: label.MustParse("alice %% True"), Clearance: label.MustParse("alice %% True")}
			if _, err := h.bank.change(true, func(guard.State) (guard.State, error) { return up, nil }); err != nil {
				h.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandLab(t, bank())
			h.t = t
			_, near, far := h.pair()
			io.WriteString(far, "unread")
			peek(t, near, 6)
			end(h)
			wantDead(t, near)
			wantDead(t, far)
			if _, err := near.Write([]byte("x")); err == nil {
				t.Error("it can be written to")
			}
			eventually(t, "nothing is left", func() bool { return relaysOf(h.front)+relaysOf(h.bank) == 0 })
			eventually(t, "nothing lasts", func() bool { return lastingOf(h.front)+lastingOf(h.bank) == 0 })
		})
	}
}

func lastingOf(e *Env) int {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	return len(e.flow.lasting)
}

// When one of both ends, so does the connection; what was sent by then may be read.
func TestHandedEnds(t *testing.T) {
	for name, end := range map[string]func(h *handLab, id uint64, near, far *net.TCPConn){
		"its holder closes": func(h *handLab, id uint64, near, far *net.TCPConn) { near.Close(); h.p.cancel(id, 0) },
		"its holder says so and keeps it": func(h *handLab, id uint64, near, far *net.TCPConn) {
			h.p.cancel(id, 0)
			h.t.Cleanup(func() { near.Close() })
		},
		"its holder's process ends":     func(h *handLab, id uint64, near, far *net.TCPConn) { near.Close(); h.p.nc.Close() },
		"its holder's environment ends": func(h *handLab, id uint64, near, far *net.TCPConn) { h.m.Remove(h.front) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandLab(t, bank())
			h.t = t
			id, near, far := h.pair()
			io.WriteString(near, "last words")
			end(h, id, near, far)
			wantBytes(t, far, "last words")
			wantEnd(t, far)
			far.Close()
			eventually(t, "nothing is left", func() bool { return relaysOf(h.front)+relaysOf(h.bank) == 0 })
		})
	}
	t.Run("the other end closes", func(t *testing.T) {
		h := newHandLab(t, bank())
		id, near, far := h.pair()
		io.WriteString(far, "last words")
		far.Close()
		wantBytes(t, near, "last words")
		wantEnd(t, near)
		near.Close()
		h.p.cancel(id, 0)
		eventually(t, "nothing is left", func() bool { return relaysOf(h.front)+relaysOf(h.bank) == 0 })
	})
	t.Run("the other end resets", func(t *testing.T) {
		h := newHandLab(t, bank())
		_, near, far := h.pair()
		io.WriteString(far, "unread")
		peek(t, near, 6)
		far.SetLinger(0)
		far.Close()
		eventually(t, "it is over", func() bool { return relaysOf(h.bank) == 0 })
		if relaysOf(h.front) != 1 {
			t.Error("it is forgotten while it can be read")
		}
		// And still can be cut.
		h.enforce(bank())
		wantDead(t, near)
		eventually(t, "nothing is left", func() bool { return relaysOf(h.front) == 0 })
	})
}

// Who may not connect learns it as by a call, and who is to be relayed is told so.
func TestHandedRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(p *Policy)
		copies bool
		object string
		dial   wire.Dial
		want   wire.Code
	}{
		{"granted and not direct", func(p *Policy) { *p = bank() }, true, "bank:9000", wire.Dial{}, wire.OK},
		{"a program that can pass on memory", nil, false, "bank:9000", wire.Dial{}, wire.OK},
		{"HTTP, in which the door says who calls", nil, true, "bank:8081", wire.Dial{}, wire.OK},
		{"bytes are counted", func(p *Policy) { rated(p, Rates{Bytes: Rate{Amount: 1 << 20, Per: time.Second, Burst: 1 << 20}}) }, true, "bank:9000", wire.Dial{}, wire.OK},
		{"all bytes of somebody are", func(p *Policy) {
			p.PerPrincipal = Rates{Bytes: Rate{Amount: 1 << 20, Per: time.Second, Burst: 1 << 20}}
		}, true, "bank:9000", wire.Dial{}, wire.OK},
		{"the other may rise", func(p *Policy) {
			p.Services = slices.Clone(p.Services)
			p.Services[1].Flow.Clearance = label.MustParse("alice %% True")
		}, true, "bank:9000", wire.Dial{}, wire.OK},
		{"the other owns something", func(p *Policy) {
			p.Services = slices.Clone(p.Services)
			p.Services[1].Flow.Owns = label.MustParseFormula("alice")
		}, true, "bank:9000", wire.Dial{}, wire.OK},
		{"for somebody, without a line that says so", nil, true, "bank:9000", wire.Dial{Principal: "alice"}, wire.OK},
		{"by a route, of no gateway", nil, true, "bank:9000", wire.Dial{Route: 1}, wire.OK},
		{"a port that is not granted", nil, true, "bank:9001", wire.Dial{}, wire.Denied},
		{"a service that is not there", nil, true, "nobody:9000", wire.Dial{}, wire.Denied},
		{"no service", nil, true, "bank", wire.Dial{}, wire.Denied},
		{"no port", nil, true, "bank:x", wire.Dial{}, wire.Denied},
		{"another way to write the port", nil, true, "bank:09000", wire.Dial{}, wire.Denied},
		{"too often", func(p *Policy) { rated(p, Rates{Connections: Rate{Per: time.Second}}) }, true, "bank:9000", wire.Dial{}, wire.Limited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := direct(bank())
			if tt.change != nil {
				tt.change(&p)
			}
			l, in := newLab(t, p), newInside(t)
			l.sendfile = !tt.copies
			front, bank := l.admit("front", "front-1"), l.admit("bank", "bank-1")
			bank.Hands(in.dial)
			bank.Listening(in.dial)
			peer := l.connect(front)
			c, f := peer.dialled(peer.dial(tt.object, tt.dial))
			if c != nil || f.Code != tt.want {
				t.Errorf("answered %v, a socket is %v, want %v and none", f.Code, c != nil, tt.want)
			}
			decided := l.decided("front", "connect")
			if relayed := tt.want == wire.OK; relayed && len(decided) != 0 {
				t.Errorf("decided %+v before it connects", decided)
			}
			if tt.want == wire.Denied && (len(decided) != 1 || decided[0].Verdict != "deny" || decided[0].Object != tt.object) {
				t.Errorf("recorded %+v", decided)
			}
			eventually(t, "nothing is left", func() bool { return relaysOf(front)+relaysOf(bank) == 0 && front.inFlight.Load() == 0 })
		})
	}
}

func rated(p *Policy, r Rates) {
	for i := range p.Grants {
		if g := &p.Grants[i]; g.From == "front" && g.Kind == KindConnect {
			g.Rates = r
		}
	}
}

// A connection that is asked for and given up, or that nobody takes, leaves nothing.
func TestHandedNever(t *testing.T) {
	h := newHandLab(t, bank())
	h.m.Remove(h.bank)
	id := h.p.dial("bank:9000", wire.Dial{})
	eventually(t, "it waits", func() bool { return relaysOf(h.front) == 1 })
	h.p.cancel(id, 0)
	eventually(t, "nothing is left", func() bool { return relaysOf(h.front) == 0 && h.front.inFlight.Load() == 0 && lastingOf(h.front) == 0 })

	id = h.p.ask(wire.OpDial, "bank:9000", 50*time.Millisecond, nil)
	if c, f := h.p.dialled(id); c != nil || f.Code != wire.Unavailable {
		t.Errorf("with nobody there: %v", f.Code)
	}

	// One whose wire connection ends meanwhile.
	h.p.dial("bank:9000", wire.Dial{})
	eventually(t, "it waits", func() bool { return relaysOf(h.front) == 1 })
	h.p.nc.Close()
	eventually(t, "nothing is left", func() bool { return relaysOf(h.front) == 0 && h.front.inFlight.Load() == 0 && lastingOf(h.front) == 0 })
}

// So many sockets a program may have, and as many again that it says it has let go of and
// keeps: the kernel knows.
func TestMaxHanded(t *testing.T) {
	h := newHandLab(t, bank())
	go func() {
		for {
			c, err := h.in.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	dial := func() (uint64, *net.TCPConn, wire.Code) {
		id := h.p.dial("bank:9000", wire.Dial{})
		c, f := h.p.dialled(id)
		return id, c, f.Code
	}
	var ids []uint64
	var kept []*net.TCPConn
	for range MaxRelays {
		id, c, code := dial()
		if c == nil {
			t.Fatal(code)
		}
		ids, kept = append(ids, id), append(kept, c)
	}
	if _, c, code := dial(); c != nil || code != wire.Busy {
		t.Errorf("one more than there may be: %v", code)
	}
	letGo := func() {
		for _, id := range ids {
			h.p.cancel(id, 0)
		}
		ids = nil
		eventually(t, "they are let go of", func() bool { return relaysOf(h.front) == 0 })
	}
	letGo()
	for range MaxRelays {
		id, c, code := dial()
		if c == nil {
			t.Fatal(code)
		}
		ids, kept = append(ids, id), append(kept, c)
	}
	letGo()
	if _, c, code := dial(); c != nil || code != wire.Busy {
		t.Errorf("%d sockets are kept that were let go of, and one more is had: %v", len(kept), code)
	}
	for _, c := range kept[:10] {
		c.Close()
	}
	for range 10 {
		id, c, code := dial()
		if c == nil {
			t.Fatalf("after ten were closed: %v", code)
		}
		ids = append(ids, id)
		kept = append(kept, c)
	}
	if _, c, code := dial(); c != nil || code != wire.Busy {
		t.Errorf("after ten were closed, an eleventh: %v", code)
	}
}

// What a program sets on its socket makes nobody wait who closes the duplicate.
func TestHandedLingers(t *testing.T) {
	h := newHandLab(t, bank())
	id, near, far := h.pair()
	near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	near.Write(make([]byte, 32<<20)) // as much as there is room for: nobody reads
	near.SetLinger(3600)
	h.p.cancel(id, 0)
	raw, _ := near.SyscallConn()
	raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	eventually(t, "it is let go of", func() bool {
		h.front.mu.Lock()
		all := slices.Collect(maps.Keys(h.front.relays))
		h.front.mu.Unlock()
		if len(all) != 1 {
			return false
		}
		one := all[0].(*handed)
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.let
	})
	done := make(chan struct{})
	go func() {
		h.m.Remove(h.front)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the monitor waits for somebody to read")
	}
	far.SetLinger(0)
	far.Close()
	near.SetLinger(-1)
	near.Close()
	eventually(t, "nothing is left", func() bool { return relaysOf(h.front)+relaysOf(h.bank) == 0 })
}

// Bytes that come over a connection that is handed are a sign of life like others.
func TestHandedIsHeard(t *testing.T) {
	h := newHandLab(t, bank())
	_, near, far := h.pair()
	before := time.Now()
	time.Sleep(20 * time.Millisecond)
	if h.bank.spokeSince(before.Add(10 * time.Millisecond)) {
		t.Error("it was heard of, and has said nothing")
	}
	io.WriteString(far, "x")
	wantBytes(t, near, "x")
	if !h.bank.spokeSince(before.Add(10 * time.Millisecond)) {
		t.Error("it has spoken, and was not heard")
	}
	time.Sleep(20 * time.Millisecond)
	if h.bank.spokeSince(time.Now()) {
		t.Error("it is heard that has been silent since")
	}
	near.Close()
}

// Frames that only the monitor sends end the connection.
func TestHandedForgeries(t *testing.T) {
	for name, f := range map[string]wire.Frame{
		"a socket in a reply": {Header: wire.Header{Op: wire.OpReply, ID: 1, Flags: wire.FlagSocket}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, bank())
			p := l.connect(l.admit("front", "front-1"))
			p.send(f)
			p.closed()
		})
	}
	h := newHandLab(t, bank())
	id, near, far := h.pair()
	h.p.send(wire.Frame{Header: wire.Header{Op: wire.OpDial, ID: id}, NameBytes: []byte("bank:9000")})
	h.p.closed() // the id of a connection that there is
	near.Close()
	far.Close()
}
