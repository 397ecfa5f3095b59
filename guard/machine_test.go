package guard

import (
	"math/rand/v2"
	"os"
	"testing"

	"cofferdam/label"
)

// row is one operation: what this package says of it and what the oracle does. x
// and y are the labels that it is about; one that needs no y has one alone. made
// is the label of what it makes, or the zero label.
type row struct {
	name string
	two  bool // it needs y
	real func(s State, p label.Privileges, x, y label.Label) (after State, made label.Label, err error)
	want func(n now, p, x, y pair) (ok bool, after now, made pair)
}

// checks is a row of an operation that changes nothing.
func checks(name string, real func(s State, p label.Privileges, x label.Label) error, want func(n now, p, x pair) bool) row {
	return row{
		name: name,
		real: func(s State, p label.Privileges, x, _ label.Label) (State, label.Label, error) {
			return s, label.Label{}, real(s, p, x)
		},
		want: func(n now, p, x, _ pair) (bool, now, pair) { return want(n, p, x), n, none },
	}
}

// checks2 is checks with two labels.
func checks2(name string, real func(s State, p label.Privileges, x, y label.Label) error, want func(n now, p, x, y pair) bool) row {
	return row{
		name: name, two: true,
		real: func(s State, p label.Privileges, x, y label.Label) (State, label.Label, error) {
			return s, label.Label{}, real(s, p, x, y)
		},
		want: func(n now, p, x, y pair) (bool, now, pair) { return want(n, p, x, y), n, none },
	}
}

// changes is a row of an operation that changes the state.
func changes(name string, real func(s State, p label.Privileges, x label.Label) (State, error), want func(n now, p, x pair) (bool, now)) row {
	return row{
		name: name,
		real: func(s State, p label.Privileges, x, _ label.Label) (State, label.Label, error) {
			after, err := real(s, p, x)
			return after, label.Label{}, err
		},
		want: func(n now, p, x, _ pair) (bool, now, pair) {
			ok, after := want(n, p, x)
			return ok, after, none
		},
	}
}

// rows are all operations, as reference flow.md has them in its chapters 2 and 13.
var rows = []row{
	checks("alloc",
		func(s State, p label.Privileges, x label.Label) error { return s.Alloc(p, x) },
		func(n now, p, x pair) bool { return n.cur.to(p, x) && x.to(none, n.clr) }),
	checks("read",
		func(s State, p label.Privileges, x label.Label) error { return s.Read(p, x) },
		func(n now, p, x pair) bool { return x.down(p).to(none, n.cur) }),
	checks("write",
		func(s State, p label.Privileges, x label.Label) error { return s.Write(p, x) },
		func(n now, p, x pair) bool { return n.alloc(p, x) && n.read(p, x) }),
	changes("taint",
		func(s State, p label.Privileges, x label.Label) (State, error) { return s.Taint(p, x) },
		func(n now, p, x pair) (bool, now) {
			to := n.cur.join(x.down(p))
			return to.to(none, n.clr), now{to, n.clr}
		}),
	// Taint and then Write is what LIO does at once and calls guardWrite.
	changes("taint, then write",
		func(s State, p label.Privileges, x label.Label) (State, error) {
			if err := s.Alloc(p, x); err != nil {
				return s, err
			}
			to, err := s.Taint(p, x)
			if err != nil {
				return s, err
			}
			return to, to.Write(p, x)
		},
		func(n now, p, x pair) (bool, now) {
			return n.cur.to(p, x) && x.to(none, n.clr), now{n.cur.join(x.down(p)), n.clr}
		}),
	changes("raise",
		func(s State, _ label.Privileges, x label.Label) (State, error) { return s.Raise(x) },
		func(n now, _, x pair) (bool, now) {
			return n.cur.to(none, x) && x.to(none, n.clr), now{x, n.clr}
		}),
	changes("lower",
		func(s State, p label.Privileges, x label.Label) (State, error) { return s.Lower(p, x) },
		func(n now, p, x pair) (bool, now) {
			return n.cur.to(p, x) && x.to(none, n.clr), now{x, n.clr}
		}),
	changes("set the clearance",
		func(s State, p label.Privileges, x label.Label) (State, error) { return s.SetClearance(p, x) },
		func(n now, p, x pair) (bool, now) {
			return n.cur.to(none, x) && x.to(p, n.clr), now{n.cur, x}
		}),
	checks2("relabel",
		func(s State, p label.Privileges, x, y label.Label) error { return s.Relabel(p, x, y) },
		func(n now, p, x, y pair) bool {
			return x.to(p, y) && y.to(p, x) && y.to(none, n.clr) && n.cur.to(p, y)
		}),
	{
		name: "taint an object", two: true,
		real: func(s State, p label.Privileges, x, y label.Label) (State, label.Label, error) {
			made, err := s.TaintObject(p, x, y)
			return s, made, err
		},
		want: func(n now, p, x, y pair) (bool, now, pair) {
			return n.alloc(p, x.join(y)), n, x.join(y)
		},
	},
	checks2("spawn, with a result at the child's label",
		func(s State, p label.Privileges, x, y label.Label) error { return s.Spawn(p, State{x, y}, x) },
		func(n now, p, x, y pair) bool {
			return n.cur.to(p, x) && x.to(none, y) && y.to(none, n.clr)
		}),
	checks2("spawn, with the child's clearance its label",
		func(s State, p label.Privileges, x, y label.Label) error { return s.Spawn(p, State{x, x}, y) },
		func(n now, p, x, y pair) bool {
			return n.cur.to(p, x) && x.to(none, n.clr) && n.cur.to(p, y) && y.to(none, n.clr)
		}),
	checks("mount, to read",
		func(s State, _ label.Privileges, x label.Label) error { return s.Mount(x, false) },
		func(n now, _, x pair) bool { return x.to(none, n.cur) }),
	checks("mount, to write",
		func(s State, _ label.Privileges, x label.Label) error { return s.Mount(x, true) },
		func(n now, _, x pair) bool { return x == n.cur }),
	checks2("connect",
		func(s State, p label.Privileges, x, y label.Label) error { return s.Connect(p, Endpoint{x, y}) },
		func(n now, p, x, y pair) bool { return n.alloc(p.outOf(), x) && n.read(p.inOf(), y) }),
	checks2("serve",
		func(s State, p label.Privileges, x, y label.Label) error { return s.Serve(p, Endpoint{x, y}) },
		func(n now, p, x, y pair) bool { return n.read(p, x) && n.cur.to(p, y) }),
	checks("tell",
		func(s State, _ label.Privileges, x label.Label) error { return s.Tell(x) },
		func(n now, _, x pair) bool { return n.cur.to(none, x) }),
	checks("stand in",
		func(s State, p label.Privileges, x label.Label) error { return s.StandIn(p, x) },
		func(n now, p, x pair) bool { return n.cur.to(p, x) }),
	checks("kill",
		func(s State, p label.Privileges, x label.Label) error { return s.Kill(p, x) },
		func(n now, p, x pair) bool { return n.cur.to(p, x) }),
	// The privilege that is shown to a gate stands as the one to release, and the
	// description it asks for as the one to vouch.
	checks2("enter a gate",
		func(s State, p label.Privileges, x, y label.Label) error {
			return s.Enter(p.Out, Gate{Shows: p.In, Integrity: s.Clearance.Secrecy(), Input: x, Output: y})
		},
		func(n now, p, x, y pair) bool {
			return p.s.implies(p.i) && n.cur.i.implies(n.clr.s) && n.cur.to(none, x) && y.to(none, n.cur)
		}),
	changes("be in a gate",
		func(s State, _ label.Privileges, x label.Label) (State, error) { return s.Inside(x) },
		func(n now, _, x pair) (bool, now) {
			cur := n.cur.join(x)
			return true, now{cur, n.clr.join(cur)}
		}),
	checks("release from a gate",
		func(s State, p label.Privileges, x label.Label) error { return s.Release(p.Out, x) },
		func(n now, p, x pair) bool { return n.cur.to(pair{p.s, p.s}, x) }),
}

// sample is one in how many of the combinations are tried of a row with two
// labels, of which there are 18,662,400. COFFERDAM_TEST_EXHAUSTIVE tries all.
const sample = 64

// Every operation, in every state, with every label and every two privileges, does
// what the oracle says. One that is refused leaves the state as it is, and says why.
func TestEveryRow(t *testing.T) {
	x := translate()
	exhaustive := os.Getenv("COFFERDAM_TEST_EXHAUSTIVE") != ""
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			seconds, step := pairs, func() int { return 1 }
			switch r := rand.New(rand.NewPCG(1, 2)); {
			case !row.two:
				seconds = pairs[:1]
			case !exhaustive:
				step = func() int { return 1 + r.IntN(2*sample-1) }
			}
			allowed, refused := 0, 0
			for at := 0; at < len(states)*len(pairs)*len(pairs)*len(seconds) && !t.Failed(); at += step() {
				i := at
				pick := func(n int) (k int) { k, i = i%n, i/n; return k }
				m, l, p, n := seconds[pick(len(seconds))], pairs[pick(len(pairs))], pairs[pick(len(pairs))], states[pick(len(states))]
				if row.agrees(t, x, n, p, l, m) {
					allowed++
				} else {
					refused++
				}
			}
			if allowed == 0 || refused == 0 && row.name != "be in a gate" {
				t.Errorf("%d allowed, %d refused: nothing was tried", allowed, refused)
			}
		})
	}
}

// agrees tries one combination and tells whether it is allowed.
func (row *row) agrees(t *testing.T, x *translated, n now, p, l, m pair) bool {
	s := x.state(n)
	after, made, err := row.real(s, x.privileges(p), x.label(l), x.label(m))
	ok, then, want := row.want(n, p, l, m)
	if !ok {
		then = n
	}
	at := func() string {
		return "at " + s.Label.String() + ", cleared for " + s.Clearance.String() + ", out " + text[p.s] + ", in " + text[p.i] +
			", of " + x.label(l).String() + ", " + x.label(m).String()
	}
	switch {
	case ok != (err == nil):
		t.Errorf("%s: %v, and it should be %v", at(), err, ok)
	case after != x.state(then):
		t.Errorf("%s: then %v, and it should be %v", at(), after, x.state(then))
	case ok && made != x.label(want):
		t.Errorf("%s: made %v, and it should be %v", at(), made, x.label(want))
	case !after.Label.FlowsTo(after.Clearance):
		t.Errorf("%s: then %v, whose label does not flow to its clearance", at(), after)
	case err != nil:
		if wrong := explains(err); wrong != "" {
			t.Errorf("%s: %v: %s", at(), err, wrong)
		}
	}
	return ok
}

// explains tells what is wrong with what a refusal says: what it says does not
// flow does not, and would with the privileges that it says are missing, and not
// with one of the two alone.
func explains(err error) string {
	r, ok := err.(*Refusal)
	switch {
	case !ok:
		return "it is no Refusal"
	case r.From.FlowsUnder(r.With, r.To):
		return "that flows"
	case r.Missing == (label.Privileges{}):
		return ""
	}
	out, in := r.With.Out.And(r.Missing.Out), r.With.In.And(r.Missing.In)
	switch {
	case !r.From.FlowsUnder(label.Privileges{Out: out, In: in}, r.To):
		return "what is missing does not do"
	case r.Missing.Out != label.True && r.From.FlowsUnder(label.Privileges{Out: r.With.Out, In: in}, r.To):
		return "nothing to release with is missing"
	case r.Missing.In != label.True && r.From.FlowsUnder(label.Privileges{Out: out, In: r.With.In}, r.To):
		return "nothing to vouch with is missing"
	}
	return ""
}
