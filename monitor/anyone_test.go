package monitor

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/wire"
)

// anyone is the policy people in which front may connect for anyone, and show everybody's
// instance what is in a share.
func anyone(t testing.TB) (Policy, string) {
	t.Helper()
	p := people(t)
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { root.Close() })
	p.Shares = []Share{{Name: "theories", From: dir, Root: root}}
	for i := range p.Grants {
		g := &p.Grants[i]
		g.ForAnyone = g.From == "front" && g.Kind == KindConnect
	}
	p.Services = append(p.Services, Service{Name: "other"})
	p.Grants = append(p.Grants,
		Grant{From: "front", Kind: KindShare, To: "back:theories", ForAnyone: true, Rule: "m.yaml:8"},
		Grant{From: "other", Kind: KindConnect, To: "back:9000", Rule: "m.yaml:9"},
		Grant{From: "other", Kind: KindShare, To: "back:theories", Rule: "m.yaml:10"})
	return p, dir
}

func lineFor(principal string) string {
	return "COFFERDAM for " + hex.EncodeToString([]byte(principal)) + "\n"
}

func (l *lab) admitAs(service, instance, principal, at string) *Env {
	l.t.Helper()
	e, err := l.m.AdmitAt(wire.Identity{Service: service, Instance: instance, Principal: principal}, Flow{State: guard.State{Label: aLabel(l.t, at), Clearance: aLabel(l.t, "alice & bob %% True")}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.asStarted(e)
	l.t.Cleanup(func() { l.m.Remove(e) })
	return e
}

// decided is decisions on an operation of a service.
func (l *lab) decided(service, op string) (all []audit.Record) {
	l.t.Helper()
	for _, r := range l.decisions() {
		if r.Kind == audit.KindDecision && r.Subject == service && r.Op == op {
			all = append(all, r)
		}
	}
	return all
}

func (d *demand) removeAll() {
	for _, e := range d.started {
		d.l.m.Remove(e)
	}
}

// Who may connect for anyone reaches the instance of whom it names, in the one way that
// there is to name somebody; whatever else comes first reaches nobody. The labels are asked
// as of anybody who connects.
func TestConnectForAnyone(t *testing.T) {
	p, _ := anyone(t)
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	long := strings.Repeat("p", wire.MaxPrincipal)
	connect := relayed(t, l.admitAs("front", "front-3", "bob", "alice %% True"), "back", 9000)
	for _, tt := range []struct{ name, line, want, rule string }{
		{"somebody", lineFor("alice"), "back-1", "m.yaml:1"},
		{"somebody again", lineFor("alice"), "back-1", "m.yaml:1"},
		{"at another label", lineFor("bob"), "", "label"},
		{"one that the manifest declares", lineFor("server"), "", `"server" is declared`},
		{"the longest name, at another label", lineFor(long), "", "label"},
		{"too long", lineFor(long + "p"), "", "not the name of a principal"},
		{"far too long", lineFor(strings.Repeat("p", 4096)), "", "no line"},
		{"nobody", "COFFERDAM for -\n", "", "for nobody"},
		{"an empty name", "COFFERDAM for \n", "", "not the name"},
		{"capitals", "COFFERDAM for 616C696365\n", "", "not in the one way"},
		{"half a byte", "COFFERDAM for 61626\n", "", "hex"},
		{"no hexadecimal", "COFFERDAM for alice\n", "", "hex"},
		{"a zero byte", "COFFERDAM for 610062\n", "", "not the name"},
		{"no UTF-8", "COFFERDAM for ff\n", "", "not the name"},
		{"two blanks", "COFFERDAM for  616c696365\n", "", "hex"},
		{"a blank at the end", "COFFERDAM for 616c696365 \n", "", "hex"},
		{"a carriage return", "COFFERDAM for 616c696365\r\n", "", "hex"},
		{"the gateway's", "COFFERDAM for 616c696365 7\n", "", "hex"},
		{"another of the gateway's", "COFFERDAM over 1\n", "", "no line that says"},
		{"small letters", "cofferdam for 616c696365\n", "", "no line that says"},
		{"nothing", "\n", "", "no line that says"},
		{"something else", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", "no line that says"},
		{"zeros", string(make([]byte, 4096)), "", "no line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.decisions()
			c := connect()
			io.WriteString(c, tt.line+"rest")
			if tt.want == "" {
				wantEnd(t, c)
			} else {
				far := d.in.accept(t)
				wantBytes(t, far, "to "+tt.want+"\nrest")
			}
			all := l.decided("front", "connect")
			if len(all) != 1 || all[0].Op != "connect" || (all[0].Verdict == "allow") != (tt.want != "") || !strings.Contains(all[0].Rule, tt.rule) {
				t.Fatalf("recorded %+v", all)
			}
			if tt.want != "" && (all[0].Detail != `for "alice"` || all[0].Principal != "alice") {
				t.Errorf("recorded %q, want for whom", all[0].Detail)
			}
		})
	}
	if n := len(d.started); n != 1 {
		t.Errorf("%d instances were started, want alice's alone", n)
	}

	// In single bytes, and then nothing beyond the line is taken.
	c := connect()
	for _, b := range lineFor("alice") + "rest" {
		c.Write([]byte{byte(b)})
	}
	wantBytes(t, d.in.accept(t), "to back-1\nrest")

	// No line at all: who has said all has said nothing, and who says nothing
	// does not hold up others.
	silent := connect()
	ended := connect()
	io.WriteString(ended, "COFFERDAM for 616c6963")
	ended.CloseWrite()
	wantEnd(t, ended)
	c = connect()
	io.WriteString(c, lineFor("alice"))
	wantBytes(t, d.in.accept(t), "to back-1\n")
	silent.Close()
}

// The line is nothing to who may connect for itself alone: it comes to its own
// instance, as what it says.
func TestALineIsNoGrant(t *testing.T) {
	p, _ := anyone(t)
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	c := relayed(t, l.admitAs("other", "other-1", "alice", "alice %% True"), "back", 9000)()
	io.WriteString(c, lineFor("bob")+"rest")
	wantBytes(t, d.in.accept(t), "to back-1\n"+lineFor("bob")+"rest")
	for key := range d.started {
		if key.Principal != "alice" {
			t.Errorf("an instance for %q was started", key.Principal)
		}
	}
	nobody := relayed(t, l.admitAs("other", "other-2", "", "alice %% True"), "back", 9000)()
	io.WriteString(nobody, lineFor("alice"))
	wantEnd(t, nobody)
	ungranted := relayed(t, l.admitAs("other", "other-3", "alice", "alice %% True"), "back", 8081)()
	io.WriteString(ungranted, lineFor("alice"))
	wantEnd(t, ungranted)
}

// Over HTTP the door is told for whom it is, too.
func TestConnectForAnyoneOverHTTP(t *testing.T) {
	p, _ := anyone(t)
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	atDoor := newInside(t)
	l.admit("door", "door-1").Listening(atDoor.dial)
	c := relayed(t, l.admitAs("front", "front-1", "bob", "alice %% True"), "back", 8081)()
	io.WriteString(c, lineFor("alice")+"GET")
	bridged := bufio.NewReader(atDoor.accept(t))
	line, err := bridged.ReadString('\n')
	if want := "COFFERDAM front back 8081 1 " + hex.EncodeToString([]byte("alice")) + "\n"; line != want {
		t.Errorf("the door is told %q, %v, want %q", line, err, want)
	}
	wantBuffered(t, bridged, "GET")
	door := relayed(t, l.m.envs["door-1"], "back", 8081)()
	io.WriteString(door, "COFFERDAM over 1\nGET")
	wantBytes(t, d.in.accept(t), "to back-1\nGET")
}

func wantBuffered(t testing.TB, r *bufio.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

// An instance of a principal is shown a directory by who may do that for anyone, and is
// started for it; by anybody else only its own principal's is.
func TestMountForAnyone(t *testing.T) {
	p, dir := anyone(t)
	makeDirs(t, dir, "a")
	l := newLab(t, p)
	d := instancesOf(l)
	t.Cleanup(d.removeAll)
	var shown []*fakeMounter
	d.admitted = func(e *Env) {
		f := newFakeMounter(t)
		shown = append(shown, f)
		e.Mounting(f)
	}
	front := l.connect(l.admitAs("front", "front-1", "", "alice %% True"))
	other := l.connect(l.admitAs("other", "other-1", "alice", "alice %% True"))
	for _, tt := range []struct {
		name      string
		by        *peer
		principal string
		want      wire.Code
		detail    string
	}{
		{"for alice", front, "alice", wire.OK, `for "alice"`},
		{"for bob, at another label", front, "bob", wire.Label, `for "bob"`},
		{"for nobody", front, "", wire.Label, ""},
		{"for one that is declared", front, "server", wire.Label, `for "server"`},
		{"for oneself", other, "alice", wire.OK, `for "alice"`},
		{"for another, without a grant", other, "bob", wire.Label, `for "bob"`},
		{"for nobody, without a grant", other, "", wire.Label, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.decisions()
			req := wire.Mount{Dir: dir + "/a", Into: "back", Principal: tt.principal}
			code, text := tt.by.share(wire.OpMount, req)
			if code != tt.want {
				t.Errorf("mount: %v %q, want %v", code, text, tt.want)
			}
			if all := l.decided(map[*peer]string{front: "front", other: "other"}[tt.by], "mount"); len(all) != 1 || all[0].Detail != tt.detail {
				t.Errorf("recorded %+v, want %q", all, tt.detail)
			}
		})
	}
	if len(shown) != 1 || shown[0].mounts != 1 {
		t.Errorf("%d instances were started, want alice's, which is shown one directory", len(shown))
	}
	d.idle()
	first := l.m.Mounts()
	if len(first) != 1 || first[0].References != 2 {
		t.Fatalf("mounted: %+v", first)
	}

	// With the instance its mounts are gone, and the next one has its own.
	d.mu.Lock()
	ended := maps.Clone(d.started)
	clear(d.started)
	d.mu.Unlock()
	for _, e := range ended {
		shown[0].end()
		l.m.Remove(e)
	}
	if left := l.m.Mounts(); len(left) != 0 {
		t.Errorf("after the instance has ended: %+v", left)
	}
	req := wire.Mount{Dir: dir + "/a", Into: "back", Principal: "alice"}
	if again := front.mount(req); again == first[0].Path {
		t.Errorf("mounted again it is at %q, as it was before", again)
	}
	if code, _ := other.share(wire.OpUnmount, req); code != wire.Denied {
		t.Errorf("what ended with the instance can be taken back: %v", code)
	}
	front.unmount(req)

	d.fail(wire.ErrBusy)
	if code, _ := front.share(wire.OpMount, req); code != wire.Busy {
		t.Errorf("an instance that has no place: %v", code)
	}
	d.fail(errors.New("it does not start"))
	if code, _ := front.share(wire.OpMount, req); code != wire.Unavailable {
		t.Errorf("an instance that does not start: %v", code)
	}
}

// When a grant is for anyone no more, what was begun by it in others' instances ends, and
// what is one's own goes on.
func TestEnforceCutsForAnyone(t *testing.T) {
	p, dir := anyone(t)
	makeDirs(t, dir, "a")
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	d.admitted = func(e *Env) { e.Mounting(newFakeMounter(t)) }
	manager := l.admitAs("front", "front-1", "bob", "alice %% True")
	front, other := l.connect(manager), l.connect(l.admitAs("other", "other-1", "alice", "alice %% True"))
	req := wire.Mount{Dir: dir + "/a", Into: "back", Principal: "alice"}
	front.mount(req)
	other.mount(req)
	c := relayed(t, manager, "back", 9000)()
	io.WriteString(c, lineFor("alice")+"rest")
	far := d.in.accept(t)
	wantBytes(t, far, "to back-1\nrest")

	p.Grants = slices.Clone(p.Grants)
	for i := range p.Grants {
		p.Grants[i].ForAnyone = false
	}
	if cut, want := l.enforce(p), (Cut{Connections: 1, Mounts: 1}); cut != want {
		t.Errorf("cut %+v, want %+v", cut, want)
	}
	wantEnd(t, c)
	wantEnd(t, far)
	if left := l.m.Mounts(); len(left) != 1 || left[0].References != 1 || left[0].By[0].Instance != "other-1" {
		t.Errorf("mounted: %+v", left)
	}
	if code, _ := front.share(wire.OpMount, req); code != wire.Label {
		t.Errorf("mounted again: %v", code)
	}
}

// What somebody does for a principal counts against that one alone, as what the principal does
// itself; a line that names nobody counts against nobody.
func TestTotalsForAnyone(t *testing.T) {
	p, _ := anyone(t)
	p.PerPrincipal = Rates{Connections: scarce(2), Rule: "m.yaml:79"}
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	connect := relayed(t, l.admitAs("front", "front-1", "server", "alice %% True"), "back", 9000)
	for _, line := range []string{"COFFERDAM for alice\n", "COFFERDAM for 616c696365 \n", "\n", lineFor("bob"), lineFor("bob"), lineFor("bob"), lineFor("alicea")} {
		c := connect()
		io.WriteString(c, line)
		wantEnd(t, c)
	}
	for range 2 {
		c := connect()
		io.WriteString(c, lineFor("alice"))
		wantBytes(t, d.in.accept(t), "to back-1\n")
	}
	l.decisions()
	c := connect()
	io.WriteString(c, lineFor("alice"))
	wantEnd(t, c)
	if got := l.fired(); len(got) != 1 || !strings.Contains(got[0], "budget.per_principal.connections") {
		t.Errorf("recorded %q", got)
	}
	itself := relayed(t, l.admitAs("other", "other-1", "alice", "alice %% True"), "back", 9000)()
	wantEnd(t, itself)
}

// A connection that does not say for whom it is counts as one of its service, which so cannot have
// as many of them read as it likes.
func TestBadLinesCount(t *testing.T) {
	p, _ := anyone(t)
	for i := range p.Grants {
		if g := &p.Grants[i]; g.ForAnyone && g.Kind == KindConnect {
			g.Rates.Connections = Rate{Amount: 2, Per: time.Hour, Burst: 2}
		}
	}
	l := newLab(t, p)
	d := instancesOf(l)
	d.in = newInside(t)
	t.Cleanup(d.removeAll)
	connect := relayed(t, l.admitAs("front", "front-1", "", "True %% True"), "back", 9000)
	for _, line := range []string{"nonsense\n", lineFor("server")} {
		c := connect()
		io.WriteString(c, line)
		wantEnd(t, c)
	}
	c := connect()
	io.WriteString(c, lineFor("alice"))
	wantEnd(t, c)
	limited := false
	for _, r := range l.decisions() {
		if r.Kind == audit.KindDecision && r.Op == "connect" && r.Verdict == audit.Allow {
			t.Errorf("after as many as there may be: %+v", r)
		}
		limited = limited || r.Kind == audit.KindLimit && r.Op == "connect"
	}
	if !limited {
		t.Error("that there were as many as there may be is not on record")
	}
}
