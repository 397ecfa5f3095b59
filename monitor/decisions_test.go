package monitor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// TestDecisions prints what becomes of each operation on each object, for
// subjects of all sorts, by really trying it.
func TestDecisions(t *testing.T) {
	p, dirs := shared(t)
	makeDirs(t, dirs["theories"], "a", "a/b")
	makeDirs(t, dirs["drop"], "a")
	l := newLab(t, p)
	for _, s := range []string{"balance", "look", "give", "brief"} {
		_, p := l.server("bank", "bank-for-"+s, s)
		go p.echo()
	}
	l.admit("bank", "bank-listening").Listening(greet)
	newInternet(l, map[string]string{
		"public.example": "9.9.9.9", "inner.example": "10.0.0.1", "site.example": "10.0.0.1", "meta.example": "169.254.169.254",
	})
	l.admit("door", "door-1").Listening(func(context.Context, int) (net.Conn, error) { return nil, errors.New("nobody listens") })
	go func() {
		for r := range l.spawner.asked {
			r.end <- ending{exit: wire.Exit{Cause: "exit"}, out: []byte("out")}
		}
	}()
	t.Cleanup(func() { close(l.spawner.asked) })

	mounted := []string{
		"/srv/theories", "/srv/theories/a", "/srv/theories/a/b", "/srv/theories/absent", "/srv/drop/a", "/srv/theoriesx", "/srv", "/etc",
		"bank:/srv/theories/a", "bank:/srv/theories/absent", "bank:/srv/drop/a", "bank:/etc", "sandbox:/srv/drop/a", "sandbox:/srv/theories/a",
		"stranger:/srv/theories/a", "absent:/srv/theories/a", "door:/etc",
	}
	mailboxes := []string{"letters", "jobs", "vault", "absent"}
	subjects := []struct {
		name string
		env  *Env
	}{
		{"front", l.admit("front", "front-1")},
		{"sandbox", l.admit("sandbox", "sandbox-1")},
		{"sandbox+bound", l.admit("sandbox", "sandbox-2", 'b')},
		{"bank", l.admit("bank", "bank-1")},
		{"stranger", l.admit("stranger", "stranger-1")},
	}
	operations := []struct {
		name    string
		try     func(l *lab, e *Env, object string) string
		objects []string
	}{
		{"call", tryCall, []string{
			"bank.balance", "bank.look", "bank.give", "script.run", "front.page",
			"bank.absent", "bank.missing", "nobody.balance", "bank", "bank.", ".balance", "bank.balance.x",
			"Bank.balance", "bank.balance\x00", "bank.balance\n", "../bank.balance", "bank:9000", "\xff\xfe",
		}},
		{"serve", tryServe, []string{"balance", "page", "absent", "bank.balance", "", "BALANCE", "\xff"}},
		{"spawn", trySpawn, []string{"sandbox", "bank", "absent", "sandbox ", "sandbox.x"}},
		{"connect", tryConnect, []string{"bank:9000", "bank:8081", "bank:1", "absent:9000"}},
		{"mount", tryMount, mounted},
		{"unmount", tryUnmount, mounted},
		{"end", tryEnd, []string{"bank", "absent", "front"}},
		{"egress", tryEgress, []string{
			"public.example:443", "inner.example:443", "site.example:443", "meta.example:80", "none.example:443", "192.0.2.7:80", "169.254.169.254:80",
			"public.example:80", "Public.example:443", "public.example.:443", "public.example:443 ", "public.example\x00:443", "absent.example:443", "10.0.0.1:443", "9.9.9.9:443", "bank:9000", "",
		}},
		{"attach", tryAttach, []string{"inside", "outside", "unknown"}},
		{"post", tryMail(wire.OpPost), mailboxes},
		{"put", tryMail(wire.OpPut), mailboxes},
		{"take", tryMail(wire.OpTake), mailboxes},
		{"recv", tryMail(wire.OpRecv), mailboxes},
	}
	for _, s := range subjects {
		s.env.Mounting(&fakeMounter{at: make(map[string]uint64)})
	}
	var out bytes.Buffer
	l.decisions()
	for _, o := range operations {
		for _, s := range subjects {
			for _, object := range o.objects {
				code := o.try(l, s.env, object)
				fmt.Fprintf(&out, "%s %s %q -> %s |", s.name, o.name, object, code)
				for _, r := range l.decisions() {
					if r.Kind != audit.KindDecision {
						continue
					}
					if r.Op != o.name || r.Subject != s.env.id.Service || r.Instance != s.env.id.Instance {
						t.Errorf("%s of %q by %s was recorded as %+v", o.name, object, s.name, r)
					}
					fmt.Fprintf(&out, " %s %s", r.Verdict, r.Rule)
					if r.Detail != "" {
						fmt.Fprintf(&out, " (%s)", r.Detail)
					}
				}
				out.WriteByte('\n')
			}
		}
	}
	golden := filepath.Join("testdata", "decisions.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(wanted)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(wanted) {
			w = wanted[i]
		}
		if g != w {
			t.Errorf("line %d of %s:\n got %s\nwant %s", i+1, golden, g, w)
		}
	}
}

func tryCall(l *lab, e *Env, object string) string {
	p := l.connect(e)
	defer p.nc.Close()
	p.call(object, "x")
	return p.next().Code.String()
}

func tryServe(l *lab, e *Env, object string) string {
	p := l.connect(e)
	defer p.nc.Close()
	p.ask(wire.OpServe, "", 0, methodFields(object))
	code := p.next().Code.String()
	if md := e.self.methods[object]; md != nil {
		p.nc.Close() // before another row sends it a call
		eventually(l.t, object+" is not served any more", func() bool { return !md.servedBy(e) })
	}
	return code
}

func tryMail(op wire.Op) func(*lab, *Env, string) string {
	return func(l *lab, e *Env, object string) string {
		p := l.connect(e)
		defer p.nc.Close()
		a := wire.Ask{Name: object}
		p.ask(op, "", 0, a.Append(nil, op))
		return p.next().Code.String()
	}
}

func trySpawn(l *lab, e *Env, object string) string {
	p := l.connect(e)
	defer p.nc.Close()
	p.ask(wire.OpSpawn, object, 0, nil)
	return p.next().Code.String()
}

func tryMount(l *lab, e *Env, object string) string { return tryShare(l, e, wire.OpMount, object) }

func tryUnmount(l *lab, e *Env, object string) string { return tryShare(l, e, wire.OpUnmount, object) }

func tryEnd(l *lab, e *Env, object string) string {
	p := l.connect(e)
	defer p.nc.Close()
	return p.tellEnd(object, "alice").String()
}

func tryShare(l *lab, e *Env, op wire.Op, object string) string {
	p := l.connect(e)
	defer p.nc.Close()
	into, dir, other := strings.Cut(object, ":")
	if !other {
		into, dir = "", object
	}
	p.ask(op, "", 0, (&wire.Mount{Dir: dir, Into: into}).Append(nil))
	return p.next().Code.String()
}

// greet plays an instance that says something to whoever reaches it.
func greet(ctx context.Context, _ int) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var d net.Dialer
	outside, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	inside, err := l.Accept()
	if err != nil {
		outside.Close()
		return nil, err
	}
	defer inside.Close()
	_, err = io.WriteString(inside, "hello")
	return outside, err
}

// tryConnect shows what comes through: of the callee, or of a door that does
// not listen.
func tryConnect(l *lab, e *Env, object string) string {
	to, portText, _ := strings.Cut(object, ":")
	var port int
	fmt.Sscan(portText, &port)
	ln := listen(l.t)
	defer ln.Close()
	go e.Relay(ln, to, port)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	if len(answer) > 0 {
		return strings.TrimPrefix(strings.SplitN(string(answer), "\r\n", 2)[0], "HTTP/1.1 ")
	}
	return "closed"
}

func tryEgress(l *lab, e *Env, object string) string {
	ln := listen(l.t)
	defer ln.Close()
	go e.Egress(ln, object)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	answer, _ := io.ReadAll(c)
	if len(answer) > 0 {
		return string(answer)
	}
	return "closed"
}

func tryAttach(l *lab, e *Env, object string) string {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(l.t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		l.t.Fatal(err)
	}
	defer ln.Close()
	go e.Attach(ln, func(*os.File) (bool, error) {
		if object == "unknown" {
			return true, errors.New("no such process")
		}
		return object == "inside", nil
	})
	nc, err := net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr))
	if err != nil {
		l.t.Fatal(err)
	}
	defer nc.Close()
	p := &peer{t: l.t, nc: nc, r: wire.NewReader(nc)}
	hello := wire.Frame{Header: wire.Header{Op: wire.OpHello, ID: 1}}
	nc.Write(wire.AppendFrame(nil, &hello))
	f, err := p.read()
	if err != nil {
		return "closed"
	}
	return f.Code.String()
}

// TestAbsentIsForbidden compares the very bytes that come back.
func TestAbsentIsForbidden(t *testing.T) {
	l := newLab(t, bank())
	l.server("bank", "bank-1", "give")
	instances := 0
	answer := func(op wire.Op, name string, body []byte) []byte {
		instances++
		p := l.connect(l.admit("front", fmt.Sprint("front-", instances)))
		defer p.nc.Close()
		p.last = 41
		p.ask(op, name, time.Second, body)
		f := p.next()
		return wire.AppendFrame(nil, &f)
	}
	forbidden := answer(wire.OpCall, "bank.give", nil)
	for _, absent := range []string{"bank.absent", "bank.missing", "nobody.give", "bank", "\xff"} {
		if got := answer(wire.OpCall, absent, []byte("body")); !bytes.Equal(got, forbidden) {
			t.Errorf("call of %q gives %x, and bank.give, which is there, %x", absent, got, forbidden)
		}
	}
	forbidden = answer(wire.OpSpawn, "bank", nil)
	for _, absent := range []string{"absent", "\xff"} {
		if got := answer(wire.OpSpawn, absent, []byte("nonsense")); !bytes.Equal(got, forbidden) {
			t.Errorf("spawn of %q gives %x, and bank, which is there, %x", absent, got, forbidden)
		}
	}
}

func TestDecideIsWhatEnforces(t *testing.T) {
	for _, tt := range []struct {
		service, operation, object string
		bound                      bool
		want                       Verdict
	}{
		{"front", "call", "bank.balance", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "call", "bank.give", false, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "spawn", "sandbox", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "connect", "sandbox", false, Verdict{Allowed: false, Rule: noGrant}},
		{"sandbox", "call", "bank.give", true, Verdict{Allowed: true, Rule: "m.yaml:2"}},
		{"sandbox", "call", "bank.give", false, Verdict{Allowed: false, Rule: "m.yaml:2: only for instances that their spawner bound"}},
		{"nobody", "call", "bank.give", true, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "mount", "/srv/theories", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "mount", "bank:/srv/theories/a", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "unmount", "/srv/theories/a", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "mount", "/srv/theoriesx", false, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "mount", "/srv/drop", false, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "mount", "theories", false, Verdict{Allowed: false, Rule: noGrant}},
		{"sandbox", "mount", "/srv/drop/x", false, Verdict{Allowed: true, Rule: "m.yaml:4"}},
		{"sandbox", "mount", "front:/srv/drop/x", false, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "egress", "public.example:443", false, Verdict{Allowed: true, Rule: "m.yaml:4"}},
		{"front", "egress", "public.example:80", false, Verdict{Allowed: false, Rule: noGrant}},
		{"stranger", "egress", "public.example:443", false, Verdict{Allowed: false, Rule: noGrant}},
		{"front", "post", "letters", false, Verdict{Allowed: true, Rule: "m.yaml:1"}},
		{"front", "put", "letters", false, Verdict{Allowed: false, Rule: noGrant}},
		{"sandbox", "post", "letters", true, Verdict{Allowed: true, Rule: "m.yaml:2"}},
		{"sandbox", "post", "letters", false, Verdict{Allowed: false, Rule: "m.yaml:2: only for instances that their spawner bound"}},
	} {
		got, err := bank().Decide(tt.service, tt.operation, tt.object, tt.bound)
		if got != tt.want || err != nil {
			t.Errorf("Decide(%s, %s, %s, %v) = %+v, %v, want %+v", tt.service, tt.operation, tt.object, tt.bound, got, err, tt.want)
		}
	}
	if v, err := bank().Decide("bank", "serve", "balance", false); err == nil {
		t.Errorf("Decide of serve = %+v, want an error: no grant is involved", v)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(p *Policy){
		"policy: service \"bank\" stands twice":          func(p *Policy) { p.Services = append(p.Services, Service{Name: "bank"}) },
		"policy: service \"Bank\": not a name":           func(p *Policy) { p.Services = append(p.Services, Service{Name: "Bank"}) },
		"policy: method \"bank.a.b\": not a name":        func(p *Policy) { p.Services[1].Methods = []Method{{Name: "a.b"}} },
		"policy x:1: no service \"nobody\"":              func(p *Policy) { p.Grants = append(p.Grants, Grant{From: "nobody", Rule: "x:1"}) },
		"policy m.yaml:1: call \"bank.look\" is granted": func(p *Policy) { p.Grants = append(p.Grants, p.Grants[1]) },
		"policy x:3: no share \"absent\"": func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "front", Kind: KindShare, To: "absent", Rule: "x:3"})
		},
		"policy x:4: no share \"absent:theories\"": func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "front", Kind: KindShare, To: "absent:theories", Rule: "x:4"})
		},
		"policy: shares \"theories\" and \"inner\" lie": func(p *Policy) {
			p.Shares = append(p.Shares, Share{Name: "inner", From: "/srv/theories/a"})
		},
		"policy x:2: connect \"door:8080\": whoever": func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "front", Kind: KindConnect, To: "door:8080", Rule: "x:2"})
		},
		"policy x:3: connect \"egress:8080\": whoever": func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "front", Kind: KindConnect, To: "egress:8080", Rule: "x:3"})
		},
		"policy x:4: egress \"127.1:80\": a name": func(p *Policy) {
			p.Grants = append(p.Grants, Grant{From: "front", Kind: KindEgress, To: "127.1:80", Rule: "x:4"})
		},
	} {
		p := bank()
		change(&p)
		if _, err := New(nil, p, nil); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("New = %v, want %s…", err, name)
		}
	}
}

func TestAdmitRefuses(t *testing.T) {
	l := newLab(t, bank())
	l.admit("bank", "bank-1")
	for _, id := range []wire.Identity{
		{Service: "absent", Instance: "absent-1"},
		{Service: "bank", Instance: "bank-1"},
		{Service: "bank", Instance: strings.Repeat("x", wire.MaxInstance+1)},
		{Service: "bank", Instance: "bank-2", Principal: strings.Repeat("x", wire.MaxPrincipal+1)},
		{Service: "bank", Instance: "bank-2", Bound: make([]byte, wire.MaxBound+1)},
	} {
		if _, err := l.m.Admit(id); err == nil {
			t.Errorf("Admit(%.80v) accepts it", id)
		}
	}
}
