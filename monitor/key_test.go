package monitor

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// demand plays the supervisor's part for a service that has an instance for each
// key: it starts one when it is asked for, which answers with its name.
type demand struct {
	l     *lab
	in    *inside // where connections to all of them lead
	fails error

	admitted func(*Env) // is called with each, nil for none

	mu      sync.Mutex
	started map[Key]*Env
	ever    int
	using   int
}

func instancesOf(l *lab) *demand {
	d := &demand{l: l, started: make(map[Key]*Env)}
	l.spawner.instance = d.instance
	return d
}

func (d *demand) instance(service string, key Key) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return nil, d.fails
	}
	if d.started[key] == nil {
		d.ever++
		name := fmt.Sprintf("%s-%d", service, d.ever)
		e, err := d.l.m.AdmitAt(wire.Identity{Service: service, Instance: name, Principal: key.Principal}, key.Flow)
		if err != nil {
			return nil, err
		}
		d.started[key] = e
		if d.admitted != nil {
			d.admitted(e)
		}
		ours, theirs := socketpair(d.l.t)
		go e.Serve(theirs)
		p := &peer{t: d.l.t, nc: ours, r: wire.NewReader(ours)}
		var names []string
		for _, md := range e.self.Methods {
			names = append(names, md.Name)
		}
		p.serve(names...)
		go func() {
			for {
				f, err := p.r.Next()
				if err != nil {
					return
				}
				if f.Op == wire.OpCall {
					p.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: []byte(name)}))
				}
			}
		}()
		if d.in != nil {
			e.Listening(func(ctx context.Context, port int) (net.Conn, error) {
				c, err := d.in.dial(ctx, port)
				if err == nil {
					fmt.Fprintf(c, "to %s\n", name)
				}
				return c, err
			})
		}
		eventually(d.l.t, "it serves", e.Serving)
	}
	d.using++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.using--
	}, nil
}

// fail lets no more be started.
func (d *demand) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = err
}

func (d *demand) idle() {
	d.l.t.Helper()
	eventually(d.l.t, "nobody uses an instance", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.using == 0
	})
}

// calls is whom p reaches, and at which label.
func (p *peer) calls(name string) string {
	p.t.Helper()
	id := p.call(name, "")
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id {
		p.t.Fatalf("got %v %d", f.Op, f.ID)
	}
	if f.Code != wire.OK {
		return f.Code.String()
	}
	told, body := told(p.t, f)
	return fmt.Sprintf("%s at %s", body, told.Label)
}

// A caller gets the instance at its own label, joined with the service's, and so
// does everybody at that label and nobody else.
func TestInstancePerLabel(t *testing.T) {
	p := meeting{front: "True %% True < alice & bob %% True", back: "True %% True < alice %% True"}.policy(t)
	p.Services[1].Instances = PerLabel
	l := newLab(t, p)
	d := instancesOf(l)
	e, other := l.admit("front", "front-1"), l.admit("front", "front-2")
	one, two := l.connect(e), l.connect(other)
	raise := func(p *peer, to string) { p.does(wire.OpRaise, wire.Ask{Label: aLabel(t, to)}) }
	check := func(p *peer, want string) {
		t.Helper()
		if got := p.calls("back.m"); got != want {
			t.Errorf("reaches %q, want %q", got, want)
		}
	}
	check(one, `back-1 at True %% True`)
	check(two, `back-1 at True %% True`)
	raise(one, "alice %% True")
	check(one, `back-2 at "alice" %% True`)
	check(two, `back-1 at True %% True`)
	raise(two, "alice %% True")
	check(two, `back-2 at "alice" %% True`)
	raise(two, "alice & bob %% True")
	check(two, `back-3 at "alice" /\ "bob" %% True`)
	for key, e := range d.started {
		if e.at() != key.Flow.State || !key.Flow.Label.FlowsTo(key.Flow.Clearance) {
			t.Errorf("%s is at %v, for %v", e.id.Instance, e.at(), key.Flow)
		}
	}
	d.idle()
	d.fail(wire.ErrBroken)
	check(one, wire.Broken.String())
	d.fail(io.ErrUnexpectedEOF)
	check(one, wire.Unavailable.String())
	md := l.m.policy.Load().services["back"].methods["m"]
	for _, e := range d.started {
		l.m.Remove(e)
	}
	eventually(t, "nothing is kept for keys", func() bool {
		md.of.mu.Lock()
		defer md.of.mu.Unlock()
		return len(md.pools) == 0
	})
}

// people is a policy in which back has an instance for each principal, which owns it and
// hears and says only what is its own.
func people(t testing.TB) Policy {
	t.Helper()
	p := meeting{back: "True %% True"}.policy(t)
	front, back := &p.Services[0], &p.Services[1]
	front.Flow.Clearance = aLabel(t, "alice & bob %% True")
	back.Instances, back.HTTP, back.Ports = PerPrincipal, 8081, []int{9000, 8081}
	plain := *back
	back.For = func(principal string) (Service, error) {
		if principal == "server" {
			return plain, fmt.Errorf("%q is declared", principal)
		}
		s := plain
		who, err := label.NewFormula([]string{principal})
		own := label.New(who, label.True)
		s.Flow = Flow{State: guard.State{Label: own, Clearance: own}, Owns: who}
		return s, err
	}
	p.Services = append(p.Services, Service{Name: "door"})
	p.Grants = append(p.Grants,
		Grant{From: "front", Kind: KindConnect, To: "back:8081", Rule: "m.yaml:1"},
		Grant{From: "door", Kind: KindConnect, To: "back:8081", Rule: "m.yaml:2"})
	p.Door = Door{Service: "door", Port: 8080, People: func(route int, _, principal string) (guard.Endpoint, error) {
		if route != 7 {
			return guard.Endpoint{}, fmt.Errorf("no route %d", route)
		}
		if principal == "" {
			return guard.Endpoint{}, nil
		}
		who, err := label.NewFormula([]string{principal})
		return guard.Endpoint{Request: label.New(label.True, who), Answer: label.New(who, label.True)}, err
	}}
	return p
}

// A caller gets the instance of whom it runs for, if it is at a label at which it
// may, and nobody gets one who runs for nobody.
func TestInstancePerPrincipal(t *testing.T) {
	l := newLab(t, people(t))
	d := instancesOf(l)
	peerFor := func(principal, at string) *peer {
		t.Helper()
		flow := Flow{State: guard.State{Label: aLabel(t, at), Clearance: aLabel(t, "alice & bob %% True")}}
		e, err := l.m.AdmitAt(wire.Identity{Service: "front", Instance: "front of " + principal + " " + at, Principal: principal}, flow)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.m.Remove(e) })
		return l.connect(e)
	}
	for _, tt := range []struct{ principal, at, want string }{
		{"alice", "alice %% True", `back-1 at "alice" %% True`},
		{"bob", "bob %% True", `back-2 at "bob" %% True`},
		{"alice", "alice %% alice", wire.Label.String()},
		{"bob", "alice %% True", wire.Label.String()},
		{"alice", "True %% True", wire.Label.String()},
		{"", "alice %% True", wire.Label.String()},
		{"server", "alice %% True", wire.Label.String()},
	} {
		if got := peerFor(tt.principal, tt.at).calls("back.m"); got != tt.want {
			t.Errorf("%q at %s reaches %q, want %q", tt.principal, tt.at, got, tt.want)
		}
	}
	for _, e := range d.started {
		l.m.Remove(e)
	}
}

// The gateway connects for somebody by a route, or over a connection between services
// that leads to it; in any other case nobody is reached.
func TestForWhomTheGatewayConnects(t *testing.T) {
	l := newLab(t, people(t))
	d := instancesOf(l)
	d.in = newInside(t)
	atDoor := newInside(t)
	door := l.admit("door", "door-1")
	door.Listening(atDoor.dial)
	front, err := l.m.AdmitAt(wire.Identity{Service: "front", Instance: "front-1", Principal: "alice"}, Flow{State: guard.State{Label: aLabel(t, "alice %% True"), Clearance: aLabel(t, "alice %% True")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.m.Remove(front) })
	t.Cleanup(func() {
		for _, e := range d.started {
			l.m.Remove(e)
		}
	})

	bridge := relayed(t, front, "back", 8081)()
	io.WriteString(bridge, "GET")
	bridged := atDoor.accept(t)
	line, err := bufio.NewReader(bridged).ReadString('\n')
	if want := "COFFERDAM front back 8081 1 " + hex.EncodeToString([]byte("alice")) + "\n"; line != want {
		t.Fatalf("the door is told %q, %v, want %q", line, err, want)
	}
	connect := relayed(t, door, "back", 8081)
	for _, tt := range []struct{ line, want string }{
		{"COFFERDAM for " + hex.EncodeToString([]byte("alice")) + " 7\n", "back-1"},
		{"COFFERDAM for " + hex.EncodeToString([]byte("bob")) + " 7\n", "back-2"},
		{"COFFERDAM over 1\n", "back-1"},
		{"COFFERDAM for - 7\n", ""},
		{"COFFERDAM for " + hex.EncodeToString([]byte("alice")) + " 8\n", ""},
		{"COFFERDAM for " + hex.EncodeToString([]byte("server")) + " 7\n", ""},
		{"COFFERDAM for " + hex.EncodeToString([]byte("a\x00")) + " 7\n", ""},
		{"COFFERDAM for " + hex.EncodeToString(make([]byte, 300)) + " 7\n", ""},
		{"COFFERDAM for alice 7\n", ""},
		{"COFFERDAM for  7\n", ""},
		{"COFFERDAM over 2\n", ""},
		{"COFFERDAM over 0\n", ""},
		{"COFFERDAM over x\n", ""},
		{"COFFERDAM\n", ""},
		{"\n", ""},
		{"GET / HTTP/1.1\r\n\r\n", ""},
		{string(make([]byte, 4096)), ""},
	} {
		c := connect()
		io.WriteString(c, tt.line+"rest")
		if tt.want == "" {
			wantBytes(t, c, forbidden)
			wantEnd(t, c)
			continue
		}
		far := d.in.accept(t)
		wantBytes(t, far, "to "+tt.want+"\n")
		wantBytes(t, far, "rest")
	}
	bridge.Close()
	bridged.Close()
	eventually(t, "the bridge is gone", func() bool { return l.m.bridged.of(1) == nil })
	c := connect()
	io.WriteString(c, "COFFERDAM over 1\n")
	wantBytes(t, c, forbidden)
	wantEnd(t, c)

	// The first line is read in pieces too, and nothing beyond it.
	c = connect()
	for _, b := range "COFFERDAM for " + hex.EncodeToString([]byte("alice")) + " 7\nrest" {
		c.Write([]byte{byte(b)})
	}
	far := d.in.accept(t)
	wantBytes(t, far, "to back-1\nrest")
}
