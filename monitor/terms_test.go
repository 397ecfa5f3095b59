package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// meeting is the policy of tests in which front calls back, at labels that the
// test chooses, in three methods: m, look, which may be repeated, and slow.
type meeting struct {
	front, back     string // label, "label < clearance" if that is another
	frontOwns       string
	backOwns        string
	out, in         string // of the grants
	request, answer string // of the endpoints; "" for the default
}

func (x meeting) policy(t testing.TB) Policy {
	t.Helper()
	flow := func(state, owns string) Flow {
		l, c, both := strings.Cut(state, " < ")
		if !both {
			c = l
		}
		return Flow{State: guard.State{Label: aLabel(t, l), Clearance: aLabel(t, c)}, Owns: aFormula(t, owns)}
	}
	back := Service{Name: "back", Flow: flow(x.back, x.backOwns), Ports: []int{9000}}
	var to *guard.Endpoint
	if x.request+x.answer != "" {
		to = &guard.Endpoint{Request: aLabel(t, x.request), Answer: aLabel(t, x.answer)}
		back.PortEndpoints = map[int]guard.Endpoint{9000: *to}
	}
	p := Policy{Services: []Service{{Name: "front", Flow: flow(x.front, x.frontOwns)}}}
	grant := func(kind Kind, to string) {
		p.Grants = append(p.Grants, Grant{From: "front", Kind: kind, To: to, Rule: "m.yaml:1", Out: aFormula(t, x.out), In: aFormula(t, x.in)})
	}
	for _, name := range []string{"m", "look", "slow"} {
		back.Methods = append(back.Methods, Method{Name: name, Endpoint: to, Idempotent: name == "look", Deadline: 30 * time.Second})
		grant(KindCall, "back."+name)
	}
	grant(KindConnect, "back:9000")
	p.Services = append(p.Services, back)
	return p
}

// aLabel is label.Parse, and Public for "".
func aLabel(t testing.TB, s string) label.Label {
	t.Helper()
	if s == "" {
		return label.Public
	}
	l, err := label.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func aFormula(t testing.TB, s string) label.Formula {
	t.Helper()
	if s == "" {
		return label.True
	}
	f, err := label.ParseFormula(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// callWith is call with fields.
func (p *peer) callWith(name string, a wire.Ask, body string) uint64 {
	p.t.Helper()
	p.last++
	p.send(wire.Frame{
		Header: wire.Header{Op: wire.OpCall, ID: p.last, Flags: wire.FlagFields}, NameBytes: []byte(name),
		Body: append(wire.AppendFields(nil, a.Append(nil, wire.OpCall)), body...),
	})
	return p.last
}

// replyWith is reply with handles.
func (p *peer) replyWith(id uint64, code wire.Code, body string, handles ...uint64) {
	p.t.Helper()
	a := wire.Ask{Handles: handles}
	p.send(wire.Frame{
		Header: wire.Header{Op: wire.OpReply, ID: id, Code: code, Flags: wire.FlagFields},
		Body:   append(wire.AppendFields(nil, a.Append(nil, wire.OpReply)), body...),
	})
}

// told divides what comes before the body of a call or a reply from it.
func told(t testing.TB, f wire.Frame) (wire.Told, string) {
	t.Helper()
	if f.Flags == 0 {
		return wire.Told{}, string(f.Body)
	}
	fields, body, err := wire.CutFields(f.Body)
	if err != nil {
		t.Fatal(err)
	}
	told, err := wire.ParseTold(fields)
	if err != nil {
		t.Fatal(err)
	}
	return told, string(body)
}

// A caller is compared with the labels of the endpoint, with the privileges of its
// grant and with those that it names, and reads the whole of why not.
func TestWhoMayCall(t *testing.T) {
	for _, tt := range []struct {
		name string
		meeting
		ask  wire.Ask
		want string // a part of the refusal, "" for none
	}{
		{"both public", meeting{}, wire.Ask{}, ""},
		{"both at one label", meeting{front: "alice %% alice", back: "alice %% alice"}, wire.Ask{}, ""},
		{"secret to public", meeting{front: "alice %% True"}, wire.Ask{}, `"alice" %% True cannot flow to True %% True`},
		{"public to secret", meeting{back: "alice %% True"}, wire.Ask{}, `"alice" %% True cannot flow to True %% True`},
		{"public to secret, with a clearance", meeting{front: "True %% True < alice %% True", back: "alice %% True"}, wire.Ask{}, `raise your label to "alice" %% True first`},
		{"a request above the clearance", meeting{back: "True %% True", request: "True %% True", answer: "True %% True", front: "True %% alice", in: "alice", frontOwns: "alice"}, wire.Ask{}, `object ⊑ clearance`},
		{"not vouched for", meeting{front: "True %% alice < True %% True"}, wire.Ask{}, `True %% True cannot flow to True %% "alice"`},
		{"vouched for by the grant", meeting{front: "True %% alice < True %% True", frontOwns: "alice", in: "alice"}, wire.Ask{}, ""},
		{"vouched for by the program", meeting{front: "True %% alice < True %% True", frontOwns: "alice"}, wire.Ask{In: aFormula(t, "alice")}, ""},
		{"vouched for by who owns nothing", meeting{front: "True %% alice < True %% True"}, wire.Ask{In: aFormula(t, "alice")}, "you own True, which does not imply"},
		{"released by the grant", meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}, wire.Ask{}, ""},
		{"released by the program", meeting{front: "alice %% True", frontOwns: "alice"}, wire.Ask{Out: aFormula(t, "alice")}, ""},
		{"released by another", meeting{front: "alice %% True", frontOwns: "bob"}, wire.Ask{Out: aFormula(t, "bob")}, "out"},
		{"half by the grant, half by the program", meeting{front: "alice & bob %% True", frontOwns: "alice & bob", out: "alice"}, wire.Ask{Out: aFormula(t, "bob")}, ""},
		{"release does not vouch", meeting{front: "alice %% alice < alice %% True", frontOwns: "alice", out: "alice"}, wire.Ask{}, "object ⊑ label"},
		{"vouching does not release", meeting{front: "alice %% alice < alice %% True", frontOwns: "alice", in: "alice"}, wire.Ask{}, "label ⊑ object"},
		{"two labels", meeting{front: "True %% True < alice %% True", back: "alice %% True", backOwns: "alice", request: "alice %% True", answer: "True %% True"}, wire.Ask{}, ""},
		{"shown by who owns it", meeting{frontOwns: "alice & bob"}, wire.Ask{Shown: aFormula(t, "alice")}, ""},
		{"shown by who does not", meeting{frontOwns: "bob"}, wire.Ask{Shown: aFormula(t, "alice")}, "you own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tt.policy(t))
			_, server := l.server("back", "back-1", "m")
			p := l.connect(l.admit("front", "front-1"))
			l.decisions()
			p.callWith("back.m", tt.ask, "request")
			if tt.want != "" {
				if f := p.next(); f.Code != wire.Label || !strings.Contains(string(f.Body), tt.want) {
					t.Errorf("%v %q, want %v with %q", f.Code, f.Body, wire.Label, tt.want)
				}
				server.quiet()
				if all := l.decisions(); len(all) != 1 || all[0].Verdict != "deny" || !strings.Contains(all[0].Rule, tt.want) {
					t.Errorf("recorded %+v", all)
				}
				return
			}
			f := server.called("m")
			to := tt.policy(t).Services[1].endpoint(&tt.policy(t).Services[1].Methods[0])
			if told, body := told(t, f); body != "request" || told.Label != to.Request || told.Shown != tt.ask.Shown {
				t.Errorf("the server is told %+v, and %q", told, body)
			}
			server.reply(f.ID, wire.OK, "answer")
			r := p.next()
			if told, body := told(t, r); r.Code != wire.OK || body != "answer" || told.Label != to.Answer {
				t.Errorf("%v: the caller is told %+v, and %q", r.Code, told, body)
			}
		})
	}
}

// A policy in which a service could not serve what it says, or uses what it does
// not own, is none.
func TestWhatCannotBeServedIsNoPolicy(t *testing.T) {
	for _, tt := range []struct {
		name string
		meeting
		ok bool
	}{
		{"reads what it is", meeting{back: "alice %% True"}, true},
		{"reads above itself", meeting{request: "alice %% True", answer: "alice %% True"}, false},
		{"reads above itself, with its privilege", meeting{backOwns: "alice", request: "alice %% True"}, true},
		{"answers below itself", meeting{back: "alice %% True", request: "alice %% True", answer: "True %% True"}, false},
		{"answers below itself, with its privilege", meeting{back: "alice %% True", backOwns: "alice", request: "alice %% True", answer: "True %% True"}, true},
		{"answers with another's word", meeting{answer: "True %% alice"}, false},
		{"answers with its own", meeting{backOwns: "alice", answer: "True %% alice"}, true},
		{"a grant that uses what is not owned", meeting{out: "alice"}, false},
		{"a grant that vouches with what is not owned", meeting{in: "alice", frontOwns: "bob"}, false},
		{"a grant that uses less than is owned", meeting{in: "alice | bob", frontOwns: "bob"}, true},
		{"a label above the clearance", meeting{front: "alice %% True < True %% True"}, false},
	} {
		if _, err := tt.policy(t).compile(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// An answer is compared with the label that its server has when it comes: if it
// may not flow, its caller sees that the deadline passes, as if nobody had
// answered, whatever the answer is.
func TestAnAnswerIsWithheld(t *testing.T) {
	for _, tt := range []struct {
		name   string
		become func(p *peer)
	}{
		{"raised", func(p *peer) { p.does(wire.OpRaise, wire.Ask{Label: aLabel(t, "alice %% True"), Mode: wire.ModeForce}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, meeting{back: "True %% True < alice %% True"}.policy(t))
			e, server := l.server("back", "back-1", "m", "slow")
			p := l.connect(l.admit("front", "front-1"))
			codes := []wire.Code{wire.OK, wire.Failed, wire.Busy, wire.Denied, wire.TooLarge, wire.Malformed}
			var ids, none []uint64
			const wait = 300 * time.Millisecond
			start := time.Now()
			for range codes {
				ids = append(ids, p.ask(wire.OpCall, "back.m", wait, nil))
			}
			none = append(none, p.ask(wire.OpCall, "back.slow", wait, nil))
			var calls []wire.Frame
			for range codes {
				calls = append(calls, server.called("m"))
			}
			server.called("slow") // never answered
			tt.become(server)
			for i, code := range codes {
				server.reply(calls[i].ID, code, "secret")
			}
			ended := make(map[uint64]string)
			for range append(ids, none...) {
				f := p.next()
				ended[f.ID] = fmt.Sprintf("%v %q %d", f.Code, f.Body, f.Flags)
			}
			if took := time.Since(start); took < wait {
				t.Errorf("it took %v, less than the deadline", took)
			}
			for _, id := range ids {
				if ended[id] != ended[none[0]] || !strings.HasPrefix(ended[id], wire.Deadline.String()) {
					t.Errorf("a call with a withheld answer ended with %s, one without an answer with %s", ended[id], ended[none[0]])
				}
			}
			withheld := 0
			for _, r := range l.decisions() {
				if r.Op == "answer" && r.Verdict == "deny" && r.Instance == e.id.Instance && r.Labels != nil {
					withheld++
				}
			}
			if withheld != len(codes) {
				t.Errorf("%d answers are recorded as withheld, want %d", withheld, len(codes))
			}
			// And it gets no more requests: they wait for another instance.
			id := p.ask(wire.OpCall, "back.m", 50*time.Millisecond, nil)
			p.want(id, wire.Unavailable, "")
			if f := server.next(); f.Op != wire.OpCancel {
				t.Errorf("%v %q, want the end of the call that was not answered", f.Op, f.NameBytes)
			}
			server.want(server.ask(wire.OpHello, "", 0, nil), wire.OK, string(e.caller)) // nothing came before
		})
	}
}

// A label at which a method could not be served is refused, with its name, unless
// it is to be cut: then it may be served again at a label at which it can be.
func TestARaiseNamesWhatIsServed(t *testing.T) {
	l := newLab(t, meeting{back: "True %% True < alice %% True", backOwns: "bob"}.policy(t))
	_, server := l.server("back", "back-1", "m")
	p := l.connect(l.admit("front", "front-1"))
	up := wire.Ask{Label: aLabel(t, "alice %% True")}
	server.fails(wire.OpRaise, up, wire.Label, "method m")
	up.Mode = wire.ModeForce
	server.does(wire.OpRaise, up)
	server.last++
	server.send(wire.Frame{Header: wire.Header{Op: wire.OpServe, ID: server.last}, Body: methodFields("m")})
	if f := server.next(); f.Code != wire.Label || !strings.Contains(string(f.Body), "label ⊑ answer") {
		t.Errorf("serve at that label: %v %q", f.Code, f.Body)
	}
	id := p.ask(wire.OpCall, "back.m", 50*time.Millisecond, nil)
	p.want(id, wire.Unavailable, "")
}
