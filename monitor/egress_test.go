package monitor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/address"
	"cofferdam/audit"
	"cofferdam/wire"
)

// internet plays the egress door, and what lies behind the addresses that the
// monitor dials. Nothing leaves the machine.
type internet struct {
	l       *lab
	door    *Env
	clients chan *net.TCPConn // the door's ends, behind the preface
	remotes chan *net.TCPConn

	mu      sync.Mutex
	zone    map[string]string // name → addresses, "" for a door that breaks off
	ttl     time.Duration
	asked   map[string]int
	dialled []netip.AddrPort
	far     chan net.Conn // the other sides of what was dialled, if the test wants them
}

func newInternet(l *lab, zone map[string]string) *internet {
	in := &internet{l: l, zone: zone, asked: make(map[string]int), clients: make(chan *net.TCPConn, 512), remotes: make(chan *net.TCPConn, 512)}
	l.m.classOf = address.ClassOf // of this host's own addresses there are none
	l.m.dial = in.dial
	ln := listen(l.t)
	in.door = l.admit("egress", "egress-1")
	in.door.Listening(func(ctx context.Context, _ int) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", ln.Addr().String())
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go in.serve(c.(*net.TCPConn))
		}
	}()
	return in
}

func (in *internet) serve(c *net.TCPConn) {
	c.SetDeadline(time.Now().Add(patience))
	var line []byte // byte by byte: what follows is not ours
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			c.Close()
			return
		}
	}
	words := strings.Fields(string(line))
	switch words[1] {
	case "client":
		in.clients <- c
		return
	case "remote":
		in.remotes <- c
		return
	}
	defer c.Close()
	in.mu.Lock()
	in.asked[words[2]]++
	addrs, known := in.zone[words[2]]
	a := wire.Answer{TTL: in.ttl}
	in.mu.Unlock()
	f := wire.Frame{Header: wire.Header{Op: wire.OpReply}}
	switch {
	case !known:
		f.Code = wire.Failed
	case addrs == "":
		return
	default:
		for _, text := range strings.Fields(addrs) {
			a.Addrs = append(a.Addrs, netip.MustParseAddr(text))
		}
		f.Body = a.Append(nil)
	}
	c.Write(wire.AppendFrame(nil, &f))
}

// dial makes a connection on whose other side somebody says where he is.
func (in *internet) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	in.mu.Lock()
	in.dialled = append(in.dialled, to)
	in.mu.Unlock()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	other, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	if in.far != nil {
		in.far <- other
		return c, nil
	}
	fmt.Fprintf(other, "at %v", to)
	return c, other.Close()
}

func (in *internet) set(name, addrs string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.zone[name] = addrs
}

func (in *internet) questions(name string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.asked[name]
}

// expire makes a name's addresses old.
func (l *lab) expire(name string) {
	p := l.m.pins.of(name)
	p.turn <- struct{}{}
	p.until = time.Now()
	<-p.turn
}

func (l *lab) wantEgress(e *Env, to, want string) {
	l.t.Helper()
	if got := tryEgress(l, e, to); got != want {
		l.t.Errorf("egress to %s gives %q, want %q", to, got, want)
	}
}

// A name's addresses stay what they were for as long as they hold, and are judged
// each time they are used.
func TestPins(t *testing.T) {
	l := newLab(t, bank())
	front := l.admit("front", "front-1")
	in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	l.wantEgress(front, "public.example:443", "at 9.9.9.9:443")
	in.set("public.example", "127.0.0.1")
	l.wantEgress(front, "public.example:443", "at 9.9.9.9:443")
	if n := in.questions("public.example"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	l.expire("public.example")
	l.wantEgress(front, "public.example:443", "closed")
	in.set("public.example", "::ffff:127.0.0.1")
	l.expire("public.example")
	l.wantEgress(front, "public.example:443", "closed")
	in.set("public.example", "10.0.0.1 ::1 8.8.8.8") // what is allowed among them is reached
	l.expire("public.example")
	l.wantEgress(front, "public.example:443", "at 8.8.8.8:443")
	in.set("public.example", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 8.8.8.8") // but there is an end to looking
	l.expire("public.example")
	l.wantEgress(front, "public.example:443", "closed")
	in.set("public.example", "") // the door breaks off
	l.expire("public.example")
	l.wantEgress(front, "public.example:443", "closed")
	asked := in.questions("public.example")
	l.wantEgress(front, "public.example:443", "closed")
	if n := in.questions("public.example"); n != asked {
		t.Errorf("a failure is asked for again at once")
	}
	for _, to := range in.dialled {
		if address.ClassOf(to.Addr()) != address.Public {
			t.Errorf("dialled %v", to)
		}
	}
	// What is not granted is not even asked for.
	l.wantEgress(l.admit("stranger", "stranger-1"), "inner.example:443", "closed")
	if n := in.questions("inner.example"); n != 0 {
		t.Errorf("asked for an ungranted name")
	}
}

func TestPinsHoldAsDNSSays(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{0: pinFloor, 5 * time.Minute: 5 * time.Minute, 100 * time.Hour: pinCeiling} {
		l := newLab(t, bank())
		in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
		in.ttl = ttl
		l.wantEgress(l.admit("front", "front-1"), "public.example:443", "at 9.9.9.9:443")
		if got := time.Until(l.m.pins.of("public.example").until); got > want || got < want-patience {
			t.Errorf("with a TTL of %v it holds for %v, want %v", ttl, got, want)
		}
	}
}

func TestLeadsTo(t *testing.T) {
	for _, tt := range []struct {
		to      string
		private bool
		addr    string
		want    bool
	}{
		{"a.example:80", false, "9.9.9.9", true},
		{"a.example:80", false, "10.0.0.1", false},
		{"a.example:80", false, "fe80::1", false},
		{"a.example:80", false, "127.0.0.1", false},
		{"a.example:80", false, "169.254.169.254", false},
		{"a.example:80", false, "0.0.0.0", false},
		{"a.example:80", true, "10.0.0.1", true},
		{"a.example:80", true, "fe80::1", true},
		{"a.example:80", true, "127.0.0.1", true},
		{"a.example:80", true, "169.254.169.254", false},
		{"a.example:80", true, "fd00:ec2::254", false},
		{"a.example:80", true, "0.0.0.0", false},
		{"a.example:80", true, "224.0.0.1", false},
		{"a.example:80", true, "fe80::1%lo", false},
		{"169.254.169.254:80", true, "169.254.169.254", true},
		{"169.254.169.254:80", false, "169.254.169.254", false},
		{"169.254.169.253:80", true, "169.254.169.254", false},
		{"[fd00:ec2::254]:80", true, "fd00:ec2::254", true},
		{"255.255.255.255:80", true, "255.255.255.255", false},
	} {
		e, err := address.ParseEndpoint(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddr(tt.addr)
		g := Grant{To: tt.to, Private: tt.private, Rule: "m.yaml:1", endpoint: e}
		if got := g.leadsTo(addr, address.ClassOf(addr)); got.Allowed != tt.want || !strings.HasPrefix(got.Rule, "m.yaml:1") {
			t.Errorf("%s, private %t, leads to %s: %+v", tt.to, tt.private, tt.addr, got)
		}
	}
}

// What the host itself answers at is its loopback, whatever the address.
func TestClassOfOwn(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range own {
		if addr := netip.MustParsePrefix(o.String()).Addr(); classOf(addr) == address.Public {
			t.Errorf("%s is public", addr)
		}
	}
	if got := classOf(netip.MustParseAddr("9.9.9.9")); got != address.Public {
		t.Errorf("9.9.9.9 is %s", got)
	}
}

// A host can answer at addresses that none of its interfaces has.
func TestClassOfRouted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: to make a network of its own")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the network ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		set := "ip link set lo up; ip route add local 9.9.9.0/24 dev lo; ip -6 route add local 2620:fe::/64 dev lo"
		if out, err := exec.Command("sh", "-ec", set).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		ln, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Error(err)
			return
		}
		defer ln.Close()
		for _, text := range []string{"9.9.9.9", "2620:fe::9"} {
			addr := netip.MustParseAddr(text)
			c, err := dialOut(t.Context(), netip.AddrPortFrom(addr, ln.Addr().(*net.TCPAddr).AddrPort().Port()))
			if err != nil {
				t.Errorf("a listener of this host cannot be reached at %s: %v", addr, err)
				continue
			}
			c.Close()
			if got := classOf(addr); got != address.Loopback {
				t.Errorf("%s is %s, and leads to a listener of this host", addr, got)
			}
		}
		for _, text := range []string{"9.9.8.9", "2620:fd::9"} {
			if got := classOf(netip.MustParseAddr(text)); got != address.Public {
				t.Errorf("%s, which is nowhere, is %s", text, got)
			}
		}
	}()
	<-done
}

func TestOwnRoute(t *testing.T) {
	long := make([]byte, 64)
	for _, b := range [][]byte{nil, long[:27], long} {
		if own, err := ownRoute(b); own || err == nil {
			t.Errorf("ownRoute(% x) = %t, %v", b, own, err)
		}
	}
}

// proxied connects e through the door: the program's end, the door's end of
// that, and where the door may ask.
func (in *internet) proxied(e *Env) (program, client, remote *net.TCPConn) {
	in.l.t.Helper()
	ln := listen(in.l.t)
	go e.Proxy(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		in.l.t.Fatal(err)
	}
	in.l.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	got := func(from chan *net.TCPConn) *net.TCPConn {
		select {
		case c := <-from:
			in.l.t.Cleanup(func() { c.Close() })
			return c
		case <-time.After(patience):
			in.l.t.Fatal("the door is not called")
			return nil
		}
	}
	remote = got(in.remotes)
	return c.(*net.TCPConn), got(in.clients), remote
}

func question(to string) []byte {
	return wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 5}, NameBytes: []byte("open"), Body: []byte(to)})
}

// asks sends the door's question and returns the code that comes back.
func (l *lab) asks(remote *net.TCPConn, to string) wire.Code {
	l.t.Helper()
	remote.Write(question(to))
	f, err := wire.NewReader(io.LimitReader(remote, wire.HeaderSize)).Next()
	if err != nil || f.Op != wire.OpReply || f.ID != 5 {
		l.t.Fatalf("the monitor answers %+v, %v", f, err)
	}
	return f.Code
}

func TestProxy(t *testing.T) {
	l := newLab(t, bank())
	in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	front := l.admit("front", "front-1")
	program, client, remote := in.proxied(front)
	io.WriteString(program, "CONNECT")
	wantBytes(t, client, "CONNECT")
	io.WriteString(client, "one moment")
	wantBytes(t, program, "one moment")
	if code := l.asks(remote, "public.example:443"); code != wire.OK {
		t.Fatalf("the question is answered with %v", code)
	}
	wantBytes(t, remote, "at 9.9.9.9:443")
	wantEnd(t, remote)
	program.Close()
	wantEnd(t, client)
	client.Close()
	eventually(t, "all is gone", func() bool { return relaysOf(front) == 0 && relaysOf(in.door) == 0 && front.proxied.Load() == 0 })
}

// The door has no grants: it gets what the program behind the connection may
// have, whoever else is connected.
func TestProxyDecidesForTheCaller(t *testing.T) {
	l := newLab(t, bank())
	in := newInternet(l, map[string]string{"public.example": "9.9.9.9", "inner.example": "127.0.0.1"})
	_, _, frontAsks := in.proxied(l.admit("front", "front-1"))
	_, _, strangerAsks := in.proxied(l.admit("stranger", "stranger-1"))
	l.decisions()
	for _, tt := range []struct {
		remote *net.TCPConn
		to     string
		want   wire.Code
		record string
	}{
		{strangerAsks, "public.example:443", wire.Denied, "stranger deny public.example:443 " + noGrant},
		{frontAsks, "inner.example:443", wire.Denied, "front deny inner.example:443 m.yaml:4: leads to an address that is loopback, without private: true"},
	} {
		if code := l.asks(tt.remote, tt.to); code != tt.want {
			t.Errorf("%s: %v, want %v", tt.to, code, tt.want)
		}
		wantEnd(t, tt.remote) // one question each
		var got []string
		for _, r := range l.decisions() {
			got = append(got, strings.Join([]string{r.Subject, r.Verdict, r.Object, r.Rule}, " "))
		}
		if len(got) != 1 || got[0] != tt.record {
			t.Errorf("%s was recorded as %q, want %q", tt.to, got, tt.record)
		}
	}
	for _, to := range []string{"absent.example:1", "x", "", "\x00", "127.0.0.1:80", "public.example:443\n"} {
		_, _, remote := in.proxied(l.admit("front", fmt.Sprintf("front-%q", to)))
		if code := l.asks(remote, to); code != wire.Denied {
			t.Errorf("%q: %v, want denied", to, code)
		}
	}
	if len(in.dialled) != 0 {
		t.Errorf("dialled %v", in.dialled)
	}
}

// A door that has been taken over says what it likes on its connection.
func TestProxyHostileDoor(t *testing.T) {
	reply := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: 5}})
	called := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 5, Call: 1}, NameBytes: []byte("open"), Body: []byte("public.example:443")})
	other := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 5}, NameBytes: []byte("bank.give")})
	for name, bytes := range map[string][]byte{
		"noise":                []byte(strings.Repeat("GET / HTTP/1.1\r\n", 10)),
		"a reply":              reply,
		"a call number":        called,
		"another method":       other,
		"more than a question": append(question("public.example:443"), "GET /"...),
		"two questions":        append(question("public.example:443"), question("public.example:443")...),
		"a long endpoint":      question(strings.Repeat("a", 1000) + ":443"),
		"a megabyte":           question(strings.Repeat("a", wire.MaxBody)),
		"half a question":      question("public.example:443")[:20],
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, bank())
			in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
			front := l.admit("front", "front-1")
			program, client, remote := in.proxied(front)
			go func() {
				remote.Write(bytes)
				remote.CloseWrite()
			}()
			if got, _ := io.ReadAll(remote); len(got) != 0 {
				t.Errorf("the monitor answers %q", got)
			}
			if len(in.dialled) != 0 {
				t.Errorf("dialled %v", in.dialled)
			}
			program.Close()
			client.Close()
			eventually(t, "all is gone", func() bool { return relaysOf(front) == 0 })
		})
	}
}

func TestProxyEnds(t *testing.T) {
	for name, end := range map[string]func(l *lab, in *internet, front *Env, program *net.TCPConn){
		"the program leaves":       func(_ *lab, _ *internet, _ *Env, program *net.TCPConn) { program.SetLinger(0); program.Close() },
		"its instance ends":        func(l *lab, _ *internet, front *Env, _ *net.TCPConn) { l.m.Remove(front) },
		"the door's instance ends": func(l *lab, in *internet, _ *Env, _ *net.TCPConn) { l.m.Remove(in.door) },
	} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", asked ", asked), func(t *testing.T) {
				l := newLab(t, bank())
				in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
				in.far = make(chan net.Conn, 1)
				front := l.admit("front", "front-1")
				program, _, remote := in.proxied(front)
				var far net.Conn
				if asked {
					if code := l.asks(remote, "public.example:443"); code != wire.OK {
						t.Fatal(code)
					}
					far = <-in.far
					defer far.Close()
					far.SetDeadline(time.Now().Add(patience))
				}
				end(l, in, front, program)
				wantEnd(t, remote) // the door keeps no way out of a program that has gone
				if asked {
					wantEnd(t, far)
				}
				eventually(t, "all is gone", func() bool { return relaysOf(front) == 0 && relaysOf(in.door) == 0 && front.proxied.Load() == 0 })
			})
		}
	}
}

func TestProxyBounds(t *testing.T) {
	l := newLab(t, bank())
	in := newInternet(l, nil)
	front := l.admit("front", "front-1")
	ln := listen(t)
	go front.Proxy(ln)
	var conns []net.Conn
	for range MaxProxied {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for range MaxProxied {
		defer (<-in.clients).Close()
		defer (<-in.remotes).Close()
	}
	more, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	more.SetDeadline(time.Now().Add(patience))
	wantEnd(t, more)
	// Somebody else has his own.
	in.proxied(l.admit("stranger", "stranger-1"))
	for _, c := range conns {
		c.Close()
	}
	l.m.Remove(front)
}

// Without the door nothing leaves, and nobody hangs.
func TestEgressWithoutDoor(t *testing.T) {
	p := bank()
	p.Egress = Door{}
	l := newLab(t, p)
	front := l.admit("front", "front-1")
	l.wantEgress(front, "public.example:443", "closed")
	ln := listen(t)
	go front.Proxy(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	wantEnd(t, c)
}

// TestRate counts what passes through a grant of so many bytes a second: never
// more than its burst and what came since.
func TestRate(t *testing.T) {
	const rate = 64 << 10
	p := bank()
	for i := range p.Grants {
		if p.Grants[i].To == "public.example:443" {
			p.Grants[i].Rates = Rates{Bytes: perSecond(rate), Connections: perSecond(2)}
		}
	}
	l := newLab(t, p)
	in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	in.far = make(chan net.Conn, 8)
	front := l.admit("front", "front-1")
	ln := listen(t)
	go front.Egress(ln, "public.example:443")
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(2 * patience))
		return c.(*net.TCPConn)
	}
	began := time.Now()
	var counts sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for range 2 { // they share the rate
		c := dial()
		far := <-in.far
		t.Cleanup(func() { far.Close() })
		far.SetDeadline(time.Now().Add(2 * patience))
		go io.Copy(c, io.LimitReader(endless{}, rate))
		counts.Add(1)
		go func() {
			defer counts.Done()
			buf := make([]byte, 4<<10)
			for left := rate; left > 0; {
				n, err := far.Read(buf[:min(left, len(buf))])
				if err != nil {
					t.Errorf("with %d bytes to come: %v", left, err)
					return
				}
				left -= n
				mu.Lock()
				passed += n
				most := int(time.Since(began).Seconds()*rate) + rate
				if passed > most {
					t.Errorf("%d bytes have passed after %v, at most %d may", passed, time.Since(began), most)
				}
				mu.Unlock()
			}
		}()
	}
	counts.Wait()
	// A third connection within the second is one too many, or a new second has come.
	for refused := false; !refused; {
		c := dial()
		select {
		case far := <-in.far:
			far.Close()
			c.Close()
		case <-func() chan struct{} {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c.Read(make([]byte, 1))
			}()
			return ended
		}():
			refused = true
		}
	}
	var limits []string
	eventually(t, "both limits are on record", func() bool {
		for _, r := range l.decisions() {
			if r.Kind == audit.KindLimit {
				limits = append(limits, r.Detail)
			}
		}
		return len(limits) >= 2
	})
	if len(limits) != 2 || !strings.HasPrefix(limits[0], "rate.bytes: 65536/s: it goes slower") || !strings.HasPrefix(limits[1], "rate.connections: 2/s: more is refused") {
		t.Errorf("limits on record: %q", limits)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A grant without a rate lets nothing pass.
func TestNoRateIsNothing(t *testing.T) {
	p := bank()
	for i := range p.Grants {
		p.Grants[i].Rates = Rates{}
	}
	l := newLab(t, p)
	in := newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	l.wantEgress(l.admit("front", "front-1"), "public.example:443", "closed")
	if len(in.dialled) != 0 {
		t.Errorf("dialled %v", in.dialled)
	}
	for i := range p.Grants {
		p.Grants[i].Rates = Rates{Connections: Rate{Amount: Unlimited}}
	}
	l = newLab(t, p)
	newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	l.wantEgress(l.admit("front", "front-1"), "public.example:443", "closed")
}
