package monitor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// nursery is the policy of tests about children: front may spawn sandbox, which is as
// t says.
func nursery(t Service) Policy {
	p := bank()
	t.Name = "sandbox"
	for i := range p.Services {
		if p.Services[i].Name == t.Name {
			p.Services[i] = t
		}
	}
	return p
}

func at(text string) *label.Label {
	l := label.MustParse(text)
	return &l
}

// spawns asks for a child and returns how that ended.
func (o owner) spawns(req wire.Spawn) (wire.Told, error) {
	o.t.Helper()
	return o.told(o.ask(wire.OpSpawn, "sandbox", 0, req.Append(nil)))
}

// child is one whose result is at the label R, with what the spawner was asked for.
func (l *lab) child(o owner, req wire.Spawn, result string) (handle uint64, r *run) {
	l.t.Helper()
	req.Result = at(result)
	told, err := o.spawns(req)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(told.Handles) != 1 {
		l.t.Fatalf("told %+v, want one handle", told)
	}
	return told.Handles[0], l.spawner.next(l.t)
}

// waits is how a wait for a result ends.
func (o owner) waits(h uint64, mode wire.Mode, timeout time.Duration) (wire.Exit, error) {
	o.t.Helper()
	told, err := o.told(o.ask(wire.OpWait, "", timeout, (&wire.Ask{Handles: []uint64{h}, Mode: mode}).Append(nil, wire.OpWait)))
	if err != nil {
		return wire.Exit{}, err
	}
	exit, err := wire.ParseExit(told.Data)
	if err != nil {
		o.t.Fatal(err)
	}
	return exit, nil
}

func (o owner) kills(h uint64) {
	o.t.Helper()
	o.does(wire.OpKill, wire.Ask{Handles: []uint64{h}})
}

// killed tells whether an instance was made to end.
func (r *run) killed() bool { return r.ctx.Err() != nil }

func TestChildDefaults(t *testing.T) {
	person := func(principal string) (Service, error) {
		if principal == "" {
			return Service{}, errors.New("the label names {principal}, and there is nobody")
		}
		l := label.MustParse(principal + " %% True")
		return Service{Flow: Flow{State: guard.State{Label: l, Clearance: l}, Owns: l.Secrecy()}}, nil
	}
	flow := func(l, c, owns string) Flow {
		return Flow{State: guard.State{Label: *at(l), Clearance: *at(c)}, Owns: label.MustParseFormula(owns)}
	}
	for name, tt := range map[string]struct {
		template      Service
		at, clearance string
		req           wire.Spawn
		want          Flow
	}{
		"no labels": {at: "True %% True", clearance: "True %% True", want: Flow{}},
		"joined":    {Service{Flow: flow("alice %% True", "alice %% True", "True")}, "bob %% True", "alice & bob %% True", wire.Spawn{}, flow("alice & bob %% True", "alice & bob %% True", "True")},
		"its clearance": {Service{Flow: flow("True %% True", "alice %% True", "alice")}, "True %% True", "alice & bob %% True", wire.Spawn{},
			flow("True %% True", "alice %% True", "alice")},
		"above its clearance": {Service{Flow: flow("True %% True", "alice %% True", "True")}, "bob %% True", "alice & bob %% True", wire.Spawn{}, flow("bob %% True", "bob %% True", "True")},
		"given": {Service{Flow: flow("alice %% True", "alice %% True", "True")}, "True %% True", "alice & bob %% True",
			wire.Spawn{Label: at("True %% True"), Clearance: at("bob %% True")}, flow("True %% True", "bob %% True", "True")},
		"nobody vouches for what is not labelled": {Service{}, "True %% alice", "True %% True", wire.Spawn{}, flow("True %% True", "True %% True", "True")},
		"but its spawner may":                     {Service{}, "True %% alice", "True %% True", wire.Spawn{Label: at("True %% alice")}, flow("True %% alice", "True %% True", "True")},
		"for a principal":                         {Service{For: person}, "True %% True", "alice & bob %% True", wire.Spawn{Principal: "alice"}, flow("alice %% True", "alice %% True", "alice")},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nursery(tt.template))
			o := l.owner("a", tt.at, tt.clearance, "True")
			_, r := l.child(o, tt.req, tt.clearance)
			if r.flow != tt.want {
				t.Errorf("starts at %+v, want %+v", r.flow, tt.want)
			}
		})
	}
}

func TestChildRefused(t *testing.T) {
	template := Service{Volumes: []Volume{{Name: "keys", Label: *at("carol %% True")}}, For: func(principal string) (Service, error) {
		if principal == "server" {
			return Service{}, errors.New(`"server" is declared among the principals`)
		}
		return Service{Volumes: []Volume{{Name: "keys", Label: *at("carol %% True")}}}, nil
	}}
	l := newLab(t, nursery(template))
	o := l.owner("a", "carol %% True", "carol & bob %% True", "bob")
	other := l.owner("b", "True %% True", "True %% True", "True")
	theirs := other.does(wire.OpSeal, wire.Ask{}).Handles[0] + 100
	alice := label.MustParseFormula("alice")
	for name, tt := range map[string]struct {
		req  wire.Spawn
		code wire.Code
		text string
	}{
		"below its spawner":             {wire.Spawn{Label: at("bob %% True")}, wire.Label, "label ⊑ child's label"},
		"above its clearance":           {wire.Spawn{Label: at("carol & bob %% True"), Clearance: at("carol %% True"), Result: at("carol & bob %% True")}, wire.Label, "child's label ⊑ its clearance"},
		"above its spawner's clearance": {wire.Spawn{Clearance: at("carol & bob & alice %% True")}, wire.Label, "child's clearance ⊑ clearance"},
		"with a result below":           {wire.Spawn{Result: at("True %% True")}, wire.Label, "label ⊑ object"},
		"with a result above clearance": {wire.Spawn{Result: at("carol & bob & alice %% True")}, wire.Label, "object ⊑ clearance"},
		"whose end cannot be told":      {wire.Spawn{Label: at("carol & bob %% True")}, wire.Label, "give a label for the result"},
		"with the privilege of another": {wire.Spawn{Label: at("True %% True"), Out: alice}, wire.Label, "does not imply"},
		"given that of another":         {wire.Spawn{Gives: []label.Formula{label.MustParseFormula("bob"), alice}}, wire.Label, "does not imply"},
		"with what is not there":        {wire.Spawn{Handles: []uint64{1}}, wire.Denied, ""},
		"with what another has":         {wire.Spawn{Handles: []uint64{theirs}}, wire.Denied, ""},
		"for who is nobody":             {wire.Spawn{Principal: "server"}, wire.Label, "declared among the principals"},
	} {
		t.Run(name, func(t *testing.T) {
			told, err := o.spawns(tt.req)
			if e, ok := err.(wire.Error); !ok || e.Code != tt.code || !strings.Contains(e.Message, tt.text) {
				t.Errorf("%+v, %v, want %v that says %q", told, err, tt.code, tt.text)
			}
		})
	}
	// What it may not see of the host is refused like any other label.
	public := l.public("c", "True")
	if _, err := public.spawns(wire.Spawn{}); err == nil || !strings.Contains(err.Error(), "volume ⊑ label") {
		t.Errorf("a volume above the child: %v", err)
	}
	if n := len(l.spawner.asked); n != 0 {
		t.Errorf("%d were spawned", n)
	}
	o.env.flow.mu.Lock()
	defer o.env.flow.mu.Unlock()
	if n := len(o.env.flow.lasting); n != 0 {
		t.Errorf("%d things are left", n)
	}
}

// A result is a value at its label: there at once to wait for, for all who have a
// handle of it and are at its label, as often as they like.
func TestResult(t *testing.T) {
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: *at("alice %% True")}}}))
	a, b := l.public("a", "True"), l.public("b", "True")
	h, r := l.child(a, wire.Spawn{Args: []string{"x"}, Label: at("alice %% True")}, "alice %% True")
	r.begins(l, "sandbox-1")
	if r.flow.Label != *at("alice %% True") || r.req.Args[0] != "x" || r.by.Instance != "a" {
		t.Errorf("the spawner gets %+v", r)
	}
	atB := a.gives(h, b)
	for _, o := range []owner{a, b} {
		o.fails(wire.OpWait, wire.Ask{Handles: []uint64{h}}, wire.Label, "object ⊑ label")
	}
	if _, err := a.waits(h, wire.ModeRaise, time.Millisecond); err != wire.ErrEmpty {
		t.Errorf("before it ends: %v, want %v", err, wire.ErrEmpty)
	}
	if now := a.does(wire.OpLabels, wire.Ask{}).Label; now != *at("alice %% True") {
		t.Errorf("raised to %s", now)
	}
	waiting := []uint64{
		a.ask(wire.OpWait, "", 0, (&wire.Ask{Handles: []uint64{h}}).Append(nil, wire.OpWait)),
		a.ask(wire.OpWait, "", time.Minute, (&wire.Ask{Handles: []uint64{h}}).Append(nil, wire.OpWait)),
	}
	id := b.ask(wire.OpWait, "", 0, (&wire.Ask{Handles: []uint64{atB}, Mode: wire.ModeRaise}).Append(nil, wire.OpWait))
	want := wire.Exit{Cause: "exit", Code: 3, Stdout: []byte("the secret")}
	r.end <- ending{exit: want}
	for range waiting { // in whatever order
		f := a.next()
		if !slices.Contains(waiting, f.ID) || f.Code != wire.OK {
			t.Fatalf("got %v %d %v", f.Op, f.ID, f.Code)
		}
		told, err := wire.ParseTold(f.Body)
		if exit, parse := wire.ParseExit(told.Data); err != nil || parse != nil || exit.Code != 3 || string(exit.Stdout) != "the secret" || told.Label != *at("alice %% True") {
			t.Errorf("told %+v, %v", told, err)
		}
	}
	if told, err := b.told(id); err != nil || len(told.Data) == 0 {
		t.Errorf("the other is told %+v, %v", told, err)
	}
	if exit, err := a.waits(h, 0, 0); err != nil || exit.Code != 3 {
		t.Errorf("once more: %+v, %v", exit, err)
	}
	a.drops(h)
	a.fails(wire.OpWait, wire.Ask{Handles: []uint64{h}}, wire.Denied, "")
	if exit, err := b.waits(atB, 0, 0); err != nil || exit.Code != 3 {
		t.Errorf("when its spawner has let go: %+v, %v", exit, err)
	}
	l.booksAreEmpty()
}

func TestResultOfFailure(t *testing.T) {
	l := newLab(t, bank())
	a := l.public("a", "True")
	for name, tt := range map[string]struct {
		end  ending
		want wire.Code
	}{
		"not started":     {ending{err: errors.New("no memory")}, wire.Unavailable},
		"too many wait":   {ending{err: fmt.Errorf("start: %w", wire.ErrBusy)}, wire.Busy},
		"too much output": {ending{exit: wire.Exit{Cause: "exit", Stdout: make([]byte, wire.MaxBody)}}, wire.TooLarge},
	} {
		h, r := l.child(a, wire.Spawn{}, "True %% True")
		r.end <- tt.end
		if _, err := a.waits(h, 0, 0); !errors.Is(err, wire.Error{Code: tt.want}) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	// Its time is up.
	id := a.ask(wire.OpSpawn, "sandbox", 20*time.Millisecond, (&wire.Spawn{Result: at("True %% True")}).Append(nil))
	told, err := a.told(id)
	if err != nil {
		t.Fatal(err)
	}
	<-l.spawner.next(t).ctx.Done()
	if _, err := a.waits(told.Handles[0], 0, 0); err != wire.ErrDeadline {
		t.Errorf("too late: %v, want %v", err, wire.ErrDeadline)
	}
}

// A child that rises above its result is withheld from then on, and its end is not
// to be seen in anything.
func TestWithheld(t *testing.T) {
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: *at("alice & bob %% True")}}}))
	secret := *at("alice %% True")
	var views []string
	for i, life := range []func(child owner, r *run){
		func(owner, *run) {},
		func(child owner, r *run) { r.end <- ending{exit: wire.Exit{Cause: "exit", Stdout: []byte("1")}} },
		func(child owner, r *run) {
			child.does(wire.OpRaise, wire.Ask{Label: *at("alice & bob %% True")})
			r.end <- ending{exit: wire.Exit{Cause: "oom", Code: 137}}
			l.m.Remove(child.env)
		},
		func(child owner, r *run) { // of its own, it comes back down
			child.does(wire.OpLower, wire.Ask{Label: label.Public, Out: label.MustParseFormula("alice")})
			r.end <- ending{exit: wire.Exit{Cause: "exit", Stdout: []byte("the secret")}}
		},
		func(child owner, r *run) { r.end <- ending{err: errors.New("never began")} },
	} {
		a, b := l.public(fmt.Sprint("a-", i), "alice"), l.public(fmt.Sprint("b-", i), "True")
		h, r := l.child(a, wire.Spawn{Gives: []label.Formula{secret.Secrecy()}}, "True %% True")
		atB := a.gives(h, b)
		e := r.begins(l, fmt.Sprint("sandbox-", i))
		child := owner{l.connect(e), e}
		id := a.ask(wire.OpWait, "", 0, (&wire.Ask{Handles: []uint64{h}}).Append(nil, wire.OpWait))
		a.quiet()
		child.does(wire.OpRaise, wire.Ask{Label: secret})
		_, err := a.told(id) // at the latest now
		if err != wire.ErrWithheld {
			t.Errorf("when it rises: %v, want %v", err, wire.ErrWithheld)
		}
		life(child, r)
		var view strings.Builder
		for _, o := range []owner{a, b} {
			own := map[bool]uint64{true: h, false: atB}[o == a]
			for _, op := range []wire.Op{wire.OpWait, wire.OpLabels, wire.OpKill, wire.OpWait} {
				ask := wire.Ask{}
				if op != wire.OpLabels {
					ask.Handles = []uint64{own}
				}
				o.ask(op, "", 0, ask.Append(nil, op))
				f := o.next()
				fmt.Fprintf(&view, "%v %d %q\n", f.Code, f.ID, f.Body)
			}
			o.drops(own)
		}
		views = append(views, view.String())
	}
	for i, v := range views {
		if v != views[0] {
			t.Errorf("life %d looks like\n%s\nand life 0 like\n%s", i, v, views[0])
		}
	}
}

// Who waits in place is told so too; and a child that is above its result from
// the start is withheld from the start.
func TestWithheldInPlace(t *testing.T) {
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: *at("alice %% True")}}}))
	a := l.public("a", "True")
	id := a.ask(wire.OpSpawn, "sandbox", 0, nil)
	r := l.spawner.next(t)
	e := r.begins(l, "sandbox-1")
	child := owner{l.connect(e), e}
	a.quiet()
	child.does(wire.OpRaise, wire.Ask{Label: *at("alice %% True")})
	a.want(id, wire.Withheld, "")
	if r.killed() {
		t.Error("it was killed: it may have work to do there")
	}
	r.end <- ending{exit: wire.Exit{Cause: "exit", Stdout: []byte("the secret")}}
	a.quiet()

	h, r := l.child(a, wire.Spawn{Label: at("alice %% True")}, "True %% True")
	r.begins(l, "sandbox-2")
	if _, err := a.waits(h, 0, 0); err != wire.ErrWithheld {
		t.Errorf("from the start: %v, want %v", err, wire.ErrWithheld)
	}
}

// A child that was withheld from who waited in place counts on, whether it ends or
// not, and is ended in the end: nobody else could.
func TestWithheldInPlaceCounts(t *testing.T) {
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: *at("alice %% True")}}}))
	l.m.unseen = 200 * time.Millisecond
	a := l.public("a", "True")
	var runs []*run
	for i := range MaxSpawns {
		id := a.ask(wire.OpSpawn, "sandbox", 0, nil)
		r := l.spawner.next(t)
		e := r.begins(l, fmt.Sprint("sandbox-", i))
		e.change(false, func(s guard.State) (guard.State, error) { return s.Raise(*at("alice %% True")) })
		a.want(id, wire.Withheld, "")
		if i%2 == 0 {
			r.end <- ending{exit: wire.Exit{Cause: "exit"}}
			l.m.Remove(e)
		}
		runs = append(runs, r)
	}
	eventually(t, "those that are left are killed", func() bool {
		for i, r := range runs {
			if i%2 == 1 && !r.killed() {
				return false
			}
		}
		return true
	})
	eventually(t, "there is room again", func() bool {
		a.env.mu.Lock()
		defer a.env.mu.Unlock()
		return a.env.spawns == 0 && len(a.env.children) == 0
	})

	l.m.unseen = time.Hour
	for i := range MaxSpawns {
		id := a.ask(wire.OpSpawn, "sandbox", 0, nil)
		r := l.spawner.next(t)
		e := r.begins(l, fmt.Sprint("sandbox-", MaxSpawns+i))
		e.change(false, func(s guard.State) (guard.State, error) { return s.Raise(*at("alice %% True")) })
		a.want(id, wire.Withheld, "")
		r.end <- ending{exit: wire.Exit{Cause: "exit"}}
		l.m.Remove(e)
	}
	a.want(a.ask(wire.OpSpawn, "sandbox", 0, nil), wire.Busy, "") // all have ended, unseen
	l.m.Remove(a.env)
}

// kill ends a child at whose label its asker may write, and says nothing.
func TestKill(t *testing.T) {
	secret := *at("alice %% True")
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: secret}}}))
	a, b := l.public("a", "alice"), l.public("b", "True")

	h, r := l.child(a, wire.Spawn{}, "True %% True")
	a.kills(h) // before it is a subject
	eventually(t, "it is killed", r.killed)
	if _, err := a.waits(h, 0, 0); err != wire.ErrCanceled {
		t.Errorf("never begun: %v, want %v", err, wire.ErrCanceled)
	}
	a.kills(h) // nothing is left of it

	h, r = l.child(a, wire.Spawn{Label: &secret}, "alice %% True")
	r.begins(l, "sandbox-1")
	b.kills(a.gives(h, b)) // up, by another one who has the handle
	eventually(t, "it is killed", r.killed)

	// Down is not allowed, and looks the same; with the privilege it is.
	h, r = l.child(a, wire.Spawn{}, "alice %% True")
	e := r.begins(l, "sandbox-2")
	atB := a.gives(h, b)
	b.does(wire.OpRaise, wire.Ask{Label: secret})
	b.kills(atB)
	b.drops(atB)
	if r.killed() {
		t.Error("it was killed from above")
	}
	child := owner{l.connect(e), e}
	child.does(wire.OpRaise, wire.Ask{Label: secret}) // it need not stay below
	atB = a.gives(h, b)
	b.kills(atB)
	eventually(t, "it is killed", r.killed)

	h, r = l.child(a, wire.Spawn{}, "alice %% True")
	r.begins(l, "sandbox-3")
	a.does(wire.OpRaise, wire.Ask{Label: secret})
	a.kills(h)
	if r.killed() {
		t.Error("it was killed from above")
	}
	a.does(wire.OpKill, wire.Ask{Handles: []uint64{h}, Out: label.MustParseFormula("alice")})
	eventually(t, "it is killed", r.killed)
	b.fails(wire.OpKill, wire.Ask{Handles: []uint64{atB}, Out: label.MustParseFormula("alice")}, wire.Label, "does not imply")
	b.fails(wire.OpKill, wire.Ask{Handles: []uint64{atB + 1}}, wire.Denied, "")
	value := a.does(wire.OpSeal, wire.Ask{Label: secret}).Handles[0]
	a.fails(wire.OpKill, wire.Ask{Handles: []uint64{value}}, wire.Denied, "")
}

// What a child is given it has from the start, and for as long as its spawner has the
// result.
func TestGiven(t *testing.T) {
	l := newLab(t, nursery(Service{Flow: Flow{Owns: label.MustParseFormula("carol")}}))
	a, c := l.public("a", "alice & bob"), l.public("c", "True")
	value := a.does(wire.OpSeal, wire.Ask{Data: []byte("x")}).Handles[0]
	h, r := l.child(a, wire.Spawn{Handles: []uint64{value, value}, Gives: []label.Formula{label.MustParseFormula("alice"), label.MustParseFormula("bob | carol")}}, "True %% True")
	e := r.begins(l, "sandbox-1")
	child := owner{l.connect(e), e}
	told := child.does(wire.OpLabels, wire.Ask{})
	if len(told.Handles) != 4 || told.Owns != label.MustParseFormula("alice & carol") {
		t.Fatalf("it starts with %+v", told)
	}
	if got := child.does(wire.OpUnseal, wire.Ask{Handles: told.Handles[:1]}); string(got.Data) != "x" {
		t.Errorf("its first handle is of %q", got.Data)
	}
	child.gives(told.Handles[2], c)
	c.owns("alice")
	// Its spawner has it back and lets go of that: nothing to do with the spawn.
	a.drops(child.gives(told.Handles[2], a))
	c.owns("alice")
	r.end <- ending{exit: wire.Exit{Cause: "exit"}}
	if _, err := a.waits(h, 0, 0); err != nil {
		t.Fatal(err)
	}
	c.owns("alice")
	a.drops(h)
	c.owns("True")
	if owns := child.does(wire.OpLabels, wire.Ask{}).Owns; owns != label.MustParseFormula("carol") {
		t.Errorf("it still owns %s", owns)
	}

	// Together more than one may own: it does not run.
	names := make([]string, label.MaxClauses)
	for i := range names {
		names[i] = fmt.Sprintf("p%02d", i)
	}
	b := l.public("b", strings.Join(names, "&"))
	h, r = l.child(b, wire.Spawn{Gives: []label.Formula{label.MustParseFormula(strings.Join(names, "&"))}}, "True %% True")
	r.begins(l, "sandbox-2")
	if _, err := b.waits(h, 0, 0); err != wire.ErrUnavailable || !r.killed() {
		t.Errorf("given too much: %v", err)
	}
}

// A child ends with its spawner, and when that has let go of the result.
func TestChildIsLeft(t *testing.T) {
	secret := *at("alice %% True")
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: secret}}}))
	a, b := l.public("a", "True"), l.public("b", "True")
	h, dropped := l.child(a, wire.Spawn{}, "True %% True")
	dropped.begins(l, "sandbox-1")
	back := b.gives(a.gives(h, b), a)
	a.drops(h)
	if dropped.killed() {
		t.Error("it was killed, and its spawner has a handle of it")
	}
	a.drops(back)
	eventually(t, "it is killed", dropped.killed)

	_, ended := l.child(a, wire.Spawn{}, "alice %% True")
	child := ended.begins(l, "sandbox-2")
	l.m.Remove(a.env)
	eventually(t, "it is killed", ended.killed)
	l.m.Remove(child)

	// From above it is not told that its spawner is gone.
	h, below := l.child(b, wire.Spawn{}, "alice %% True")
	below.begins(l, "sandbox-3")
	b.does(wire.OpRaise, wire.Ask{Label: secret})
	b.drops(h)
	l.m.Remove(b.env)
	if below.killed() {
		t.Error("it was killed from above")
	}
	below.end <- ending{exit: wire.Exit{Cause: "exit"}}
}

// How many children one may have, and how much of them, depends on nothing that the
// children do.
func TestChildrenCount(t *testing.T) {
	l := newLab(t, nursery(Service{Output: 1000}))
	a := l.public("a", "True")
	var handles []uint64
	for i := range MaxSpawns {
		h, r := l.child(a, wire.Spawn{}, "True %% True")
		handles = append(handles, h)
		if i%2 == 0 {
			r.end <- ending{exit: wire.Exit{Cause: "exit", Stdout: make([]byte, 1000)}}
			if _, err := a.waits(h, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kept, want := a.env.flow.kept.bytes.Load(), int64(MaxSpawns*(1000+handleBytes)); kept != want {
		t.Errorf("%d bytes are kept for it, want %d", kept, want)
	}
	if _, err := a.spawns(wire.Spawn{Result: at("True %% True")}); err != wire.ErrBusy {
		t.Errorf("one more: %v, want %v", err, wire.ErrBusy)
	}
	a.want(a.ask(wire.OpSpawn, "sandbox", 0, nil), wire.Busy, "")
	a.drops(handles[:2]...)
	eventually(t, "there is room", func() bool {
		told, err := a.spawns(wire.Spawn{Result: at("True %% True")})
		return err == nil && len(told.Handles) == 1
	})
	// What waits to be given to a child is its spawner's to keep.
	l = newLab(t, nursery(Service{Output: 1000}))
	b := l.public("b", "True")
	big := b.does(wire.OpSeal, wire.Ask{Data: make([]byte, maxValue/2)}).Handles[0]
	give := wire.Spawn{}
	for range wire.MaxHandles {
		give.Handles = append(give.Handles, big)
	}
	var runs []*run
	for range 3 {
		b.ask(wire.OpSpawn, "sandbox", 0, give.Append(nil))
		runs = append(runs, l.spawner.next(t))
	}
	b.want(b.ask(wire.OpSpawn, "sandbox", 0, give.Append(nil)), wire.Busy, "") // the value itself has room, too
	if _, err := b.spawns(wire.Spawn{Handles: give.Handles, Result: at("True %% True")}); err != wire.ErrBusy {
		t.Errorf("a fourth: %v, want %v", err, wire.ErrBusy)
	}
	runs[0].end <- ending{exit: wire.Exit{Cause: "exit"}}
	b.next()
	eventually(t, "there is room", func() bool {
		told, err := b.spawns(wire.Spawn{Handles: give.Handles, Result: at("True %% True")})
		if err == nil {
			b.drops(told.Handles[0], big)
		}
		return err == nil
	})
	for _, r := range runs[1:] {
		r.end <- ending{exit: wire.Exit{Cause: "exit"}}
		b.next()
	}
	eventually(t, "nothing is kept for it", func() bool { return b.env.flow.kept.bytes.Load() == 0 })
	// As a rule its output is longer.
	l = newLab(t, bank())
	a = l.public("a", "True")
	for n := 0; ; n++ {
		if _, err := a.spawns(wire.Spawn{Result: at("True %% True")}); err != nil {
			if err != wire.ErrBusy || n < 16 {
				t.Errorf("after %d: %v", n, err)
			}
			break
		}
	}
}

// While somebody waits for a child or a result, a label at which he could not is
// refused, or ends the wait before.
func TestWaitLasts(t *testing.T) {
	secret := *at("alice %% True")
	l := newLab(t, nursery(Service{Flow: Flow{State: guard.State{Clearance: secret}}}))
	a := l.public("a", "alice")
	id := a.ask(wire.OpSpawn, "sandbox", 0, nil)
	r := l.spawner.next(t)
	a.fails(wire.OpRaise, wire.Ask{Label: secret}, wire.Label, "the instance of sandbox that you wait for")
	raise := a.ask(wire.OpRaise, "", 0, (&wire.Ask{Label: secret, Mode: wire.ModeForce}).Append(nil, wire.OpRaise))
	a.want(id, wire.Canceled, "")
	if _, err := a.told(raise); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is killed", r.killed)

	h, r := l.child(a, wire.Spawn{}, "alice %% True")
	r.begins(l, "sandbox-1")
	id = a.ask(wire.OpWait, "", 0, (&wire.Ask{Handles: []uint64{h}}).Append(nil, wire.OpWait))
	down := wire.Ask{Label: label.Public, Out: secret.Secrecy()}
	a.fails(wire.OpLower, down, wire.Label, "the wait for a result")
	down.Mode = wire.ModeForce
	lower := a.ask(wire.OpLower, "", 0, down.Append(nil, wire.OpLower))
	a.want(id, wire.Canceled, "")
	if _, err := a.told(lower); err != nil {
		t.Fatal(err)
	}
	r.end <- ending{exit: wire.Exit{Cause: "exit"}}
	a.quiet()

	// With a privilege that goes, so does the wait.
	b := l.public("b", "True")
	h, r = l.child(a, wire.Spawn{Label: &secret}, "alice %% True")
	r.begins(l, "sandbox-2")
	power := a.delegates("alice")
	a.gives(power, b)
	atB := a.gives(h, b)
	id = b.ask(wire.OpWait, "", 0, (&wire.Ask{Handles: []uint64{atB}, Out: secret.Secrecy()}).Append(nil, wire.OpWait))
	b.quiet()
	a.revokes(power)
	b.want(id, wire.Canceled, "")
	for h := range uint64(8) {
		a.drops(h)
		b.drops(h)
	}
	l.booksAreEmpty()
}

// Whatever comes when, every request ends once, and nothing is left.
func TestChildrenRace(t *testing.T) {
	secret := *at("alice %% True")
	l := newLab(t, nursery(Service{Output: 1000, Flow: Flow{State: guard.State{Clearance: secret}}}))
	stop := make(chan struct{})
	var spawner, users sync.WaitGroup
	spawner.Go(func() {
		for n := 0; ; n++ {
			select {
			case r := <-l.spawner.asked:
				spawner.Go(func() {
					id := wire.Identity{Service: "sandbox", Instance: fmt.Sprint("sandbox-", n)}
					e, err := l.m.AdmitAt(id, r.flow)
					if err != nil {
						t.Error(err)
						return
					}
					r.admit(e)
					if rand.IntN(2) == 0 {
						e.change(true, func(s guard.State) (guard.State, error) { return s.Raise(secret) })
					}
					r.end <- ending{exit: wire.Exit{Cause: "exit"}}
					l.m.Remove(e)
				})
			case <-stop:
				return
			}
		}
	})
	var envs []*Env
	for i := range 4 {
		a := l.public(fmt.Sprint("a-", i), "alice")
		envs = append(envs, a.env)
		users.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			asked := 0
			for range 200 {
				a.last++
				id := a.last
				frame := wire.Frame{Header: wire.Header{Op: wire.OpSpawn, ID: id}, NameBytes: []byte("sandbox")}
				req := wire.Spawn{Gives: []label.Formula{secret.Secrecy()}}
				if random.IntN(2) == 0 {
					req.Result = &label.Public
				}
				frame.Body = req.Append(nil)
				a.send(frame)
				asked++
				for range random.IntN(4) {
					h := []uint64{uint64(random.IntN(200))}
					op := []wire.Op{wire.OpWait, wire.OpKill, wire.OpDrop}[random.IntN(3)]
					a.last++
					timeout := time.Duration(0)
					if op == wire.OpWait {
						timeout = time.Millisecond
					}
					a.send(wire.Frame{Header: wire.Header{Op: op, ID: a.last, Timeout: timeout}, Body: (&wire.Ask{Handles: h}).Append(nil, op)})
					asked++
				}
				for random.IntN(3) != 0 && asked > 0 {
					a.next()
					asked--
				}
			}
			for ; asked > 0; asked-- {
				a.next()
			}
		})
	}
	users.Wait()
	for _, e := range envs {
		l.m.Remove(e)
	}
	close(stop)
	spawner.Wait()
	for _, e := range envs {
		eventually(t, "nothing is left of "+e.id.Instance, func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.flow.mu.Lock()
			defer e.flow.mu.Unlock()
			return e.spawns == 0 && len(e.children) == 0 && len(e.flow.lasting) == 0 && e.flow.kept.bytes.Load() == 0 && e.inFlight.Load() == 0
		})
	}
}
