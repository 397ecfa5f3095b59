package monitor

import (
	"strings"
	"testing"

	"cofferdam/guard"
	"cofferdam/wire"
)

// labelled is the policy shared with labels: of front, of the services bank and
// sandbox that it may have something shown in, and of its shares theories (read-only)
// and drop.
func labelled(t testing.TB, front, into, theories, drop string) (Policy, map[string]string) {
	t.Helper()
	p, dirs := shared(t)
	for _, dir := range dirs {
		makeDirs(t, dir, "a")
	}
	at := func(text string) guard.State {
		return meeting{front: text}.policy(t).Services[0].Flow.State
	}
	for i := range p.Services {
		switch s := &p.Services[i]; s.Name {
		case "front":
			s.Flow.State = at(front)
		case "bank", "sandbox":
			s.Flow.State = at(into)
		}
	}
	p.Shares[0].Label, p.Shares[1].Label = aLabel(t, theories), aLabel(t, drop)
	p.Grants = append(p.Grants, Grant{From: "front", Kind: KindShare, To: "drop", Rule: "m.yaml:9"})
	for i := range p.Shares {
		p.Shares[i].From = dirs[p.Shares[i].Name]
	}
	return p, dirs
}

// What is shown has the label of its share: it is read at that label or above, and
// written at that label alone, by whom it is shown; and who asks for it may know that it is
// there.
func TestSharesHaveLabels(t *testing.T) {
	for _, tt := range []struct {
		name, front, into, theories, drop string
		object                            string // share, or service:share
		want                              wire.Code
		says                              string
	}{
		{"public", "", "", "", "", "theories", wire.OK, ""},
		{"a secret, by who is below", "", "", "alice %% True", "", "theories", wire.Label, "volume ⊑ label"},
		{"a secret, by who has it", "alice %% True", "", "alice %% True", "", "theories", wire.OK, ""},
		{"read from below", "alice %% True", "", "", "", "theories", wire.OK, ""},
		{"written", "", "", "", "", "drop", wire.OK, ""},
		{"written from above", "alice %% True", "", "", "", "drop", wire.Label, "label ⊑ volume"},
		{"written at its label", "alice %% True", "", "", "alice %% True", "drop", wire.OK, ""},
		{"not vouched for", "True %% alice", "", "", "", "theories", wire.Label, "volume ⊑ label"},
		{"shown to another", "", "", "", "", "bank:theories", wire.OK, ""},
		{"a secret shown to another, by who is below", "", "alice %% True", "alice %% True", "", "bank:theories", wire.Label, "object ⊑ label"},
		{"shown to who is below", "alice %% True", "", "", "", "bank:theories", wire.Label, "label ⊑ told"},
		{"a secret shown to who has it", "alice %% True", "alice %% True", "alice %% True", "", "bank:theories", wire.OK, ""},
		{"shown to who is above", "", "alice %% True", "", "", "bank:theories", wire.Unavailable, ""},
		{"written by another", "", "", "", "", "sandbox:drop", wire.OK, ""},
		{"written by another, at another label", "alice %% True", "alice %% True", "", "", "sandbox:drop", wire.Unavailable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, dirs := labelled(t, tt.front, tt.into, tt.theories, tt.drop)
			l := newLab(t, p)
			front := l.admit("front", "front-1")
			in := front
			into, share, other := strings.Cut(tt.object, ":")
			if !other {
				into, share = "", tt.object
			} else {
				in = l.admit(into, into+"-1")
			}
			by := newFakeMounter(t)
			in.Mounting(by)
			c := l.connect(front)
			for _, dir := range []string{"a", "absent"} {
				c.ask(wire.OpMount, "", 0, (&wire.Mount{Dir: dirs[share] + "/" + dir, Into: into}).Append(nil))
				f := c.next()
				want := tt.want
				if dir == "absent" && want != wire.Label {
					want = wire.Denied
				}
				if f.Code != want || !strings.Contains(string(f.Body), tt.says) {
					t.Errorf("%s: %v %q, want %v with %q", dir, f.Code, f.Body, want, tt.says)
				}
			}
			if n, want := by.count(), map[bool]int{true: 1}[tt.want == wire.OK]; n != want {
				t.Errorf("%d mounts, want %d", n, want)
			}
		})
	}
}

// A directory that can be written is not taken away by a raise: the raise is refused,
// whatever is to be cut. One that can only be read is no matter.
func TestWritableMountsForbidARaise(t *testing.T) {
	p, dirs := labelled(t, "True %% True < alice %% True", "", "", "")
	l := newLab(t, p)
	e := l.admit("front", "front-1")
	e.Mounting(newFakeMounter(t))
	c := l.connect(e)
	show := func(op wire.Op, share string) {
		t.Helper()
		c.ask(op, "", 0, (&wire.Mount{Dir: dirs[share] + "/a"}).Append(nil))
		if f := c.next(); f.Code != wire.OK {
			t.Fatal(f.Code, string(f.Body))
		}
	}
	show(wire.OpMount, "theories")
	show(wire.OpMount, "drop")
	c.fails(wire.OpRaise, up(t), wire.Label, "cannot be cut")
	show(wire.OpUnmount, "drop")
	c.does(wire.OpRaise, up(t))
}

// That who had something shown in another has ended after a raise, is not to be seen
// there.
func TestTheEndOfAnAskerAboveIsNotSeen(t *testing.T) {
	for _, raises := range []bool{false, true} {
		p, dirs := labelled(t, "True %% True < alice %% True", "", "", "")
		l := newLab(t, p)
		e, in := l.admit("front", "front-1"), l.admit("bank", "bank-1")
		by := newFakeMounter(t)
		in.Mounting(by)
		c := l.connect(e)
		request := (&wire.Mount{Dir: dirs["theories"] + "/a", Into: "bank"}).Append(nil)
		c.ask(wire.OpMount, "", 0, request)
		if f := c.next(); f.Code != wire.OK {
			t.Fatal(f.Code)
		}
		if raises {
			c.does(wire.OpRaise, up(t))
			c.ask(wire.OpUnmount, "", 0, request)
			if f := c.next(); f.Code != wire.Label {
				t.Errorf("unmount from above: %v", f.Code)
			}
		}
		l.m.Remove(e)
		by.mu.Lock()
		if n := len(by.at); (n == 1) != raises {
			t.Errorf("raised %v: %d mounts are left", raises, n)
		}
		by.mu.Unlock()
	}
}
