package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cofferdam/wire"
)

// tells whose instance of a service is to end, and returns what is answered.
func (p *peer) tellEnd(service, principal string) wire.Code {
	p.t.Helper()
	id := p.ask(wire.OpEnd, "", 0, (&wire.End{Service: service, Principal: principal}).Append(nil))
	f := p.next()
	if f.ID != id {
		p.t.Fatalf("got %+v", f)
	}
	return f.Code
}

// Who may connect for anyone ends the instance of whom it names, if it may be seen there; who may
// connect for himself alone ends nobody's, not even his own, and nor does anybody else.
func TestEnd(t *testing.T) {
	p, _ := anyone(t)
	p.Services = append(p.Services, Service{Name: "plain", Ports: []int{9000}})
	p.Grants = append(p.Grants, Grant{From: "front", Kind: KindConnect, To: "plain:9000", ForAnyone: true, Rule: "m.yaml:11"})
	l := newLab(t, p)
	front := l.connect(l.admitAs("front", "front-1", "", "True %% True"))
	above := l.connect(l.admitAs("front", "front-2", "bob", "alice %% True"))
	other := l.connect(l.admitAs("other", "other-1", "alice", "True %% True"))
	back := l.connect(l.admitAs("back", "back-9", "alice", "alice %% True"))
	for _, tt := range []struct {
		name, service, principal string
		by                       *peer
		code                     wire.Code
		record                   string
	}{
		{"somebody's", "back", "alice", front, wire.OK, "front back allow for \"alice\" m.yaml:1"},
		{"of nobody that there is", "back", "carol", front, wire.OK, "front back allow for \"carol\" m.yaml:1"},
		{"from where it may be seen", "back", "alice", above, wire.OK, "front back allow for \"alice\" m.yaml:1"},
		{"from above", "back", "bob", above, wire.Label, "front back deny for \"bob\""},
		{"of one that the manifest declares", "back", "server", front, wire.Label, "front back deny for \"server\""},
		{"of a service that is everybody's", "plain", "alice", front, wire.Label, "front plain deny for \"alice\""},
		{"of a service that is not there", "absent", "alice", front, wire.Denied, "front absent deny for \"alice\" " + noGrant},
		{"its own, by one that connects for itself alone", "back", "alice", other, wire.Denied, "other back deny for \"alice\" " + noGrant},
		{"another's, by the same", "back", "bob", other, wire.Denied, "other back deny for \"bob\" " + noGrant},
		{"its own, by the instance", "back", "alice", back, wire.Denied, "back back deny for \"alice\" " + noGrant},
		{"another's, by an instance", "back", "bob", back, wire.Denied, "back back deny for \"bob\" " + noGrant},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.decisions()
			if code := tt.by.tellEnd(tt.service, tt.principal); code != tt.code {
				t.Errorf("answered %v, want %v", code, tt.code)
			}
			ended, want := "", ""
			select {
			case ended = <-l.spawner.ended:
			default:
			}
			if tt.code == wire.OK {
				want = tt.service + " of " + tt.principal
			}
			if ended != want {
				t.Errorf("ended: %q, want %q", ended, want)
			}
			recorded := l.decisions()
			if len(recorded) == 0 {
				t.Fatal("it was not recorded")
			}
			r := recorded[0]
			got := fmt.Sprintf("%s %s %s %s %s", r.Subject, r.Object, r.Verdict, r.Detail, r.Rule)
			if r.Op != "end" || r.Principal != tt.principal || !strings.HasPrefix(got, tt.record) {
				t.Errorf("recorded %s for %s: %s, want %s", r.Op, r.Principal, got, tt.record)
			}
		})
	}
}

// An end counts as a connection for whom it is.
func TestEndHasARate(t *testing.T) {
	p, _ := anyone(t)
	for i := range p.Grants {
		if g := &p.Grants[i]; g.ForAnyone && g.Kind == KindConnect {
			g.Rates.Connections = Rate{Amount: 2, Per: time.Hour, Burst: 2, Each: true}
		}
	}
	l := newLab(t, p)
	front := l.connect(l.admitAs("front", "front-1", "", "True %% True"))
	for i, want := range []wire.Code{wire.OK, wire.OK, wire.Limited} {
		if code := front.tellEnd("back", "alice"); code != want {
			t.Errorf("end %d: %v, want %v", i+1, code, want)
		}
	}
	if code := front.tellEnd("back", "bob"); code != wire.OK {
		t.Errorf("of somebody else: %v", code)
	}
}
