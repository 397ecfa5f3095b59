package monitor

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cofferdam/wire"
)

// outside is a policy in which tool may reach maps at labels that the test chooses.
func outside(t testing.TB, x meeting) Policy {
	t.Helper()
	p := x.policy(t)
	p.Services[0].Name = "tool"
	p.Grants = []Grant{{
		From: "tool", Kind: KindEgress, To: "maps.example:443", Rule: "m.yaml:1", Rates: endlessly,
		Out: aFormula(t, x.out), In: aFormula(t, x.in), Request: aLabel(t, x.request), Answer: aLabel(t, x.answer),
	}}
	p.Services = append(p.Services[:1], Service{Name: "egress"})
	p.Egress = Door{Service: "egress", Port: 8080}
	return p
}

var mapsZone = map[string]string{"maps.example": "9.9.9.9"}

// A way out has the labels of its grant. That who sends with a privilege vouches for
// what comes back with it, is not so: it takes another one, or a lower label.
func TestEgressHasLabels(t *testing.T) {
	for _, tt := range []struct {
		name string
		meeting
		raise string // what the program makes of its label before
		want  string // a part of the refusal, "" for none
	}{
		{"public", meeting{}, "", ""},
		{"a secret", meeting{front: "alice %% True"}, "", "label ⊑ object"},
		{"a secret for it", meeting{front: "maps %% True", request: "maps %% True"}, "", ""},
		{"a secret of hers that she releases", meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}, "", ""},
		{"of hers and of bob's", meeting{front: "alice & bob %% True", frontOwns: "alice", out: "alice"}, "", "label ⊑ object"},
		{"nobody vouches", meeting{front: "True %% alice < True %% True", answer: "True %% maps"}, "", "object ⊑ label"},
		{"released, and not vouched for", meeting{front: "alice %% alice < alice & maps %% True", frontOwns: "alice", out: "alice", request: "maps %% True", answer: "True %% maps"}, "", "object ⊑ label"},
		{"released, at what either vouches for", meeting{front: "alice %% alice < alice & maps %% True", frontOwns: "alice", out: "alice", request: "maps %% True", answer: "True %% maps"}, "alice %% alice | maps", ""},
		{"released and vouched for, each by its word", meeting{front: "alice %% alice < alice & maps %% True", frontOwns: "alice", out: "alice", in: "alice", request: "maps %% True", answer: "True %% maps"}, "", ""},
		{"above the clearance", meeting{front: "alice %% alice < alice %% alice", frontOwns: "alice", out: "alice", in: "alice", request: "maps %% True", answer: "True %% maps"}, "", "object ⊑ clearance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, outside(t, tt.meeting))
			in := newInternet(l, mapsZone)
			tool := l.admit("tool", "tool-1")
			if tt.raise != "" {
				l.connect(tool).does(wire.OpRaise, wire.Ask{Label: aLabel(t, tt.raise)})
			}
			l.decisions()
			got := tryEgress(l, tool, "maps.example:443")
			all := l.decisions()
			if tt.want == "" {
				if got != "at 9.9.9.9:443" {
					t.Errorf("%s: %+v", got, all)
				}
				return
			}
			if got != "closed" || len(all) != 1 || all[0].Verdict != "deny" || !strings.Contains(all[0].Rule, tt.want) || all[0].Labels == nil {
				t.Errorf("%s, recorded %+v, want %q", got, all, tt.want)
			}
			if n := in.questions("maps.example"); n != 0 || len(in.dialled) != 0 {
				t.Errorf("the name was asked about %d times, and %v dialled", n, in.dialled)
			}
		})
	}
}

// A raise cuts what goes out, directly and through the proxy; and the machine outside
// does not see how the program ends.
func TestARaiseCutsWhatGoesOut(t *testing.T) {
	for name, connects := range map[string]func(l *lab, in *internet, tool *Env) *net.TCPConn{
		"directly": func(l *lab, _ *internet, tool *Env) *net.TCPConn {
			ln := listen(l.t)
			go tool.Egress(ln, "maps.example:443")
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				l.t.Fatal(err)
			}
			return c.(*net.TCPConn)
		},
		"through the proxy": func(l *lab, in *internet, tool *Env) *net.TCPConn {
			program, client, remote := in.proxied(tool)
			if code := l.asks(remote, "maps.example:443"); code != wire.OK {
				l.t.Fatal(code)
			}
			go func() { // the door passes on what it gets
				io.Copy(remote, client)
				remote.CloseWrite()
			}()
			go func() {
				io.Copy(client, remote)
				client.CloseWrite()
			}()
			return program
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, outside(t, meeting{front: "True %% True < alice %% True"}))
			in := newInternet(l, mapsZone)
			in.far = make(chan net.Conn, 1)
			tool := l.admit("tool", "tool-1")
			p := l.connect(tool)
			near := connects(l, in, tool)
			t.Cleanup(func() { near.Close() })
			near.SetDeadline(time.Now().Add(patience))
			far := (<-in.far).(*net.TCPConn)
			t.Cleanup(func() { far.Close() })
			far.SetDeadline(time.Now().Add(patience))
			io.WriteString(near, "low")
			wantBytes(t, far, "low")
			soft := up(t)
			soft.Mode = 0
			p.fails(wire.OpRaise, soft, wire.Label, "connection to maps.example:443")
			p.does(wire.OpRaise, up(t))
			io.WriteString(near, "SECRET")
			wantEnd(t, far)
			io.WriteString(far, "still heard")
			wantBytes(t, near, "still heard")
			near.Close()
			l.m.Remove(tool)
			chunk := make([]byte, 64<<10)
			for range 256 {
				if _, err := far.Write(chunk); err != nil {
					t.Fatalf("outside it is seen: %v", err)
				}
			}
		})
	}
}

// The proxy reads what its programs say, and is public: who is not does not reach it.
func TestTheProxyIsPublic(t *testing.T) {
	l := newLab(t, outside(t, meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}))
	in := newInternet(l, mapsZone)
	tool := l.admit("tool", "tool-1")
	ln := listen(t)
	go tool.Proxy(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "CONNECT secret.example:443")
	wantEnd(t, c)
	if len(in.clients)+len(in.remotes) != 0 {
		t.Error("the door was called")
	}
	if all := l.decisions(); len(all) != 1 || all[0].Verdict != "deny" || !strings.Contains(all[0].Rule, "by the name") {
		t.Errorf("recorded %+v", all)
	}
	l.wantEgress(tool, "maps.example:443", "at 9.9.9.9:443")
}
