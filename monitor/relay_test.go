package monitor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// inside plays what listens in an instance: a listener on the loopback, and the
// dialer that reaches it whatever the port.
type inside struct {
	net.Listener
	port atomic.Int64 // of the last dial
}

func newInside(t testing.TB) *inside { return &inside{Listener: listen(t)} }

func (in *inside) dial(ctx context.Context, port int) (net.Conn, error) {
	in.port.Store(int64(port))
	var d net.Dialer
	return d.DialContext(ctx, "tcp", in.Addr().String())
}

func (in *inside) accept(t testing.TB) *net.TCPConn {
	t.Helper()
	in.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := in.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// relayed starts to relay connections of e and returns how to make one.
func relayed(t testing.TB, e *Env, to string, port int) func() *net.TCPConn {
	t.Helper()
	ln := listen(t)
	go e.Relay(ln, to, port)
	return func() *net.TCPConn {
		t.Helper()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c.(*net.TCPConn)
	}
}

// relayPair is an established connection from front to bank.
func relayPair(t testing.TB) (l *lab, front, bankEnv *Env, near, far *net.TCPConn) {
	t.Helper()
	return relayPairOf(newLab(t, bank()))
}

func relayPairOf(l *lab) (_ *lab, front, bankEnv *Env, near, far *net.TCPConn) {
	t := l.t
	t.Helper()
	in := newInside(t)
	front, bankEnv = l.admit("front", "front-1"), l.admit("bank", "bank-1")
	bankEnv.Listening(in.dial)
	near = relayed(t, front, "bank", 9000)()
	far = in.accept(t)
	if port := in.port.Load(); port != 9000 {
		t.Errorf("dialled port %d, want 9000", port)
	}
	return l, front, bankEnv, near, far
}

func wantBytes(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func wantEnd(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("read %d bytes, %v, want the end", n, err)
	}
}

func TestRelayBothWays(t *testing.T) {
	_, front, _, near, far := relayPair(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go near.Write(large)
	wantBytes(t, far, string(large))
	go far.Write(large)
	wantBytes(t, near, string(large))

	// One end has nothing more to say, and still listens.
	near.CloseWrite()
	wantEnd(t, far)
	io.WriteString(far, "still here")
	wantBytes(t, near, "still here")
	far.Close()
	wantEnd(t, near)
	eventually(t, "the relay is gone", func() bool { return relaysOf(front) == 0 })
}

func relaysOf(e *Env) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.relays) + len(e.inbound)
}

func TestRelayEnds(t *testing.T) {
	for name, end := range map[string]func(l *lab, front, bank *Env, near, far *net.TCPConn){
		"caller closes":  func(_ *lab, _, _ *Env, near, _ *net.TCPConn) { near.Close() },
		"callee closes":  func(_ *lab, _, _ *Env, _, far *net.TCPConn) { far.Close() },
		"caller resets":  func(_ *lab, _, _ *Env, near, _ *net.TCPConn) { near.SetLinger(0); near.Close() },
		"callee resets":  func(_ *lab, _, _ *Env, _, far *net.TCPConn) { far.SetLinger(0); far.Close() },
		"caller removed": func(l *lab, front, _ *Env, _, _ *net.TCPConn) { l.m.Remove(front) },
		"callee removed": func(l *lab, _, bank *Env, _, _ *net.TCPConn) { l.m.Remove(bank) },
	} {
		t.Run(name, func(t *testing.T) {
			l, front, bank, near, far := relayPair(t)
			io.WriteString(near, "x")
			wantBytes(t, far, "x")
			end(l, front, bank, near, far)
			if !strings.HasPrefix(name, "caller") || strings.HasSuffix(name, "removed") {
				wantEnd(t, near)
			}
			if !strings.HasPrefix(name, "callee") || strings.HasSuffix(name, "removed") {
				wantEnd(t, far)
			}
			near.Close()
			far.Close()
			eventually(t, "the relay is gone", func() bool { return relaysOf(front) == 0 && relaysOf(bank) == 0 })
		})
	}
}

func TestRelayWaitsForTheService(t *testing.T) {
	l := newLab(t, bank())
	connect := relayed(t, l.admit("front", "front-1"), "bank", 9000)
	near := connect()
	io.WriteString(near, "early")
	in := newInside(t)
	l.admit("bank", "bank-1").Listening(in.dial)
	far := in.accept(t)
	wantBytes(t, far, "early")
}

// An instance that ends while it is dialled is not the end of the connection.
func TestRelayReachesTheReplacement(t *testing.T) {
	l := newLab(t, bank())
	dying := l.admit("bank", "bank-1")
	dying.Listening(func(context.Context, int) (net.Conn, error) {
		l.m.Remove(dying)
		return nil, errors.New("connection refused")
	})
	near := relayed(t, l.admit("front", "front-1"), "bank", 9000)()
	io.WriteString(near, "x")
	in := newInside(t)
	l.admit("bank", "bank-2").Listening(in.dial)
	wantBytes(t, in.accept(t), "x")
	dying.Listening(in.dial) // too late
	s := l.m.policy.Load().services["bank"]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.dialers[Key{}].of); n != 1 {
		t.Errorf("bank has %d dialers, want 1", n)
	}
}

func TestRelayToWhatIsBroken(t *testing.T) {
	l := newLab(t, bank())
	front, door := l.admit("front", "front-1"), l.admit("door", "door-1")
	l.m.SetState("bank", Broken)
	l.m.SetState("door", Stopped)
	for name, tt := range map[string]struct {
		env  *Env
		port int
		want string
	}{
		"TCP":                  {front, 9000, ""},
		"HTTP, door to bank":   {door, 8081, unavailable},
		"HTTP, without a door": {front, 8081, unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c := relayed(t, tt.env, "bank", tt.port)()
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: bank\r\n\r\n")
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if string(got) != tt.want || err != nil && tt.want != "" {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	// A caller that waits is told too.
	l.m.SetState("bank", Up)
	c := relayed(t, front, "bank", 9000)()
	eventually(t, "it waits", func() bool { return relaysOf(front) == 1 })
	l.m.SetState("bank", Broken)
	wantEnd(t, c)
}

func TestHTTPBetweenServicesPassesTheDoor(t *testing.T) {
	l := newLab(t, bank())
	atDoor, atBank := newInside(t), newInside(t)
	front, door := l.admit("front", "front-1"), l.admit("door", "door-1")
	door.Listening(atDoor.dial)
	l.admit("bank", "bank-1").Listening(atBank.dial)

	near := relayed(t, front, "bank", 8081)()
	io.WriteString(near, "COFFERDAM door bank 8081\nGET / HTTP/1.1\r\n")
	r := bufio.NewReader(atDoor.accept(t))
	for _, want := range []string{"COFFERDAM front bank 8081\n", "COFFERDAM door bank 8081\n"} {
		if line, err := r.ReadString('\n'); line != want || err != nil {
			t.Fatalf("the door reads %q, %v, want %q", line, err, want)
		}
	}
	if port := atDoor.port.Load(); port != 8080 {
		t.Errorf("the door is dialled at port %d, want 8080", port)
	}
	// The door itself speaks to the bank, without a preface.
	io.WriteString(relayed(t, door, "bank", 8081)(), "GET")
	wantBytes(t, atBank.accept(t), "GET")
}

func TestMaxRelays(t *testing.T) {
	l := newLab(t, bank())
	front := l.admit("front", "front-1")
	connect := relayed(t, front, "bank", 9000)
	var waiting []*net.TCPConn
	for range MaxRelays { // nobody is there: all of them wait, and count
		c := connect()
		io.WriteString(c, "x")
		waiting = append(waiting, c)
	}
	eventually(t, "all are counted", func() bool { return relaysOf(front) == MaxRelays })
	wantEnd(t, connect())
	other := l.admit("front", "front-2")
	in := newInside(t)
	l.admit("bank", "bank-1").Listening(in.dial)
	polite := relayed(t, other, "bank", 9000)()
	io.WriteString(polite, "polite")
	for first := make([]byte, 1); first[0] != 'p'; {
		if _, err := io.ReadFull(in.accept(t), first); err != nil {
			t.Fatal(err)
		}
	}
	l.m.Remove(front)
	for _, c := range waiting {
		wantEnd(t, c)
	}
}

// A caller that is removed while it waits for the service is let go at once.
func TestRemoveCutsWaitingRelays(t *testing.T) {
	l := newLab(t, bank())
	front := l.admit("front", "front-1")
	c := relayed(t, front, "bank", 9000)()
	eventually(t, "it waits", func() bool { return relaysOf(front) == 1 })
	start := time.Now()
	l.m.Remove(front)
	wantEnd(t, c)
	eventually(t, "the relay is gone", func() bool { return relaysOf(front) == 0 })
	if took := time.Since(start); took > connectTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

func TestRelayIsDecidedPerConnection(t *testing.T) {
	l := newLab(t, bank())
	in := newInside(t)
	l.admit("bank", "bank-1").Listening(in.dial)
	connect := relayed(t, l.admit("front", "front-1"), "bank", 9000)
	for range 3 {
		connect()
		in.accept(t)
	}
	records := l.decisions()
	if len(records) != 3 {
		t.Fatalf("%d records, want 3", len(records))
	}
	numbers := make(map[uint64]bool)
	for _, r := range records {
		numbers[r.Call] = true
		if got, want := fmt.Sprint(r.Op, r.Object, r.Verdict), "connectbank:9000allow"; got != want {
			t.Errorf("recorded %+v", r)
		}
	}
	if len(numbers) != 3 {
		t.Errorf("the numbers of three connections are %v", numbers)
	}
}
