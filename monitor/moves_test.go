package monitor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// The principals of a world: alice and bob own themselves in some services, and
// carol in none. The secret is what is above an observer who may know everything
// but what is carol's, or who believes nothing but what she vouches for.
var (
	worldFormulas = formulas("True", "alice", "bob", "carol", "alice & bob", "alice & carol", "bob & carol",
		"alice | bob", "alice | carol", "alice & (bob | carol)", "alice & bob & carol")
	worldPowers = formulas("True", "alice", "bob", "alice & bob", "alice | carol", "alice | bob")

	knowsNothingOfCarols = label.MustParse("alice & bob %% True")
	hearsOnlyCarol       = label.MustParse("False %% carol")
)

func formulas(texts ...string) (all []label.Formula) {
	for _, s := range texts {
		all = append(all, label.MustParseFormula(s))
	}
	return all
}

func one[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// someOf is a random label; half of them have only one half.
func someOf(r *rand.Rand) label.Label {
	l := label.New(one(r, worldFormulas), one(r, worldFormulas))
	switch r.IntN(4) {
	case 0:
		return label.New(l.Secrecy(), label.True)
	case 1:
		return label.New(label.True, l.Integrity())
	}
	return l
}

// above is a random label that l flows to.
func above(r *rand.Rand, l label.Label) label.Label {
	return must(l.Join(someOf(r)))
}

// must is for labels, of which there are too few here for one to be over the bounds.
func must(l label.Label, err error) label.Label {
	if err != nil {
		panic(err)
	}
	return l
}

const worldServices = 4

// palette are the labels that a world is made of, for otherwise hardly anything in
// it would flow to anything else: two that the observer may know of, one above the
// other, and the same above it.
func palette(r *rand.Rand, observer label.Label) []label.Label {
	low := must(someOf(r).Meet(observer))
	mid := must(above(r, low).Meet(observer))
	secret := label.MustParse("carol %% True")
	if observer == hearsOnlyCarol {
		secret = label.New(label.True, one(r, formulas("alice", "bob", "True")))
	}
	return []label.Label{low, mid, must(low.Join(secret)), must(mid.Join(secret))}
}

// someWorld is a policy with random labels.
func someWorld(r *rand.Rand, labels []label.Label) Policy {
	var p Policy
	all := label.Bottom
	for _, l := range labels {
		all = must(all.Join(l))
	}
	for i := range worldServices {
		s := Service{Name: fmt.Sprintf("s%d", i), Methods: []Method{{Name: "m", Idempotent: r.IntN(2) == 0}}}
		s.Flow.Label = one(r, labels)
		s.Flow.Clearance = must(all.Join(s.Flow.Label))
		if r.IntN(4) == 0 {
			s.Flow.Clearance = above(r, one(r, labels))
		}
		s.Flow.Clearance = must(s.Flow.Clearance.Join(s.Flow.Label))
		s.Flow.Owns = one(r, worldPowers)
		s.Methods[0].Endpoint = s.someEndpoint(r, labels)
		p.Services = append(p.Services, s)
	}
	for _, from := range p.Services {
		for _, to := range p.Services {
			if r.IntN(6) > 0 {
				g := Grant{From: from.Name, Kind: KindCall, To: to.Name + ".m", Rule: "m.yaml:1"}
				if r.IntN(3) == 0 {
					g.Out, g.In = from.Flow.Owns, one(r, []label.Formula{label.True, from.Flow.Owns})
				}
				p.Grants = append(p.Grants, g)
			}
		}
	}
	// The template has the same labels as the others, and what is spawned of it
	// may call them.
	p.Services = append(p.Services, Service{Name: template, Flow: Flow{State: guard.State{Label: labels[0], Clearance: all}, Owns: one(r, worldPowers)}})
	for _, s := range p.Services[:worldServices] {
		p.Grants = append(p.Grants,
			Grant{From: s.Name, Kind: KindSpawn, To: template, Rule: "m.yaml:2"},
			Grant{From: template, Kind: KindCall, To: s.Name + ".m", Rule: "m.yaml:3"})
	}
	for i := range worldMailboxes {
		b := Mailbox{Name: fmt.Sprintf("b%d", i), Label: one(r, labels), Messages: 1 + r.IntN(3)}
		if r.IntN(2) == 0 {
			b.Owner = fmt.Sprintf("s%d", r.IntN(worldServices))
		}
		p.Mailboxes = append(p.Mailboxes, b)
		for _, s := range p.Services {
			for _, kind := range []Kind{KindPost, KindPut, KindTake} {
				if r.IntN(6) == 0 || b.Owner != "" && kind != KindPost {
					continue
				}
				g := Grant{From: s.Name, Kind: kind, To: b.Name, Rule: "m.yaml:4"}
				if r.IntN(3) == 0 {
					g.Out = s.Flow.Owns
				}
				p.Grants = append(p.Grants, g)
			}
		}
	}
	return p
}

// template is what children are made of.
const template = "t"

const worldMailboxes = 3

// gifts are the kinds of objects that actors give to others.
var gifts = []string{"value", "privilege", "mailbox", "capsule", "sealer", "unsealer", "tester", "result"}

// someEndpoint is one that s can serve, or none.
func (s *Service) someEndpoint(r *rand.Rand, labels []label.Label) *guard.Endpoint {
	for range 3 {
		e := guard.Endpoint{Request: one(r, labels), Answer: one(r, labels)}
		if s.Flow.Serve(allOf(s.Flow.Owns), e) == nil {
			return &e
		}
	}
	return nil
}

// move is something that an actor can do: an operation on labels, or whatever else
// frame makes.
type move struct {
	weight int
	make   func(a *actor, r *rand.Rand) (wire.Op, wire.Ask)
	frame  func(a *actor, r *rand.Rand) wire.Frame
}

var moves = []move{
	{weight: 4, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) { return wire.OpLabels, wire.Ask{} }},
	{weight: 3, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRaise, wire.Ask{Label: a.nearby(r), Mode: a.force(r)}
	}},
	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpLower, a.with(r, wire.Ask{Label: a.nearby(r), Mode: a.force(r)})
	}},
	{weight: 1, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpClearance, a.with(r, wire.Ask{Label: above(r, a.state.Label)})
	}},
	{weight: 6, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpSeal, a.with(r, wire.Ask{Label: a.nearby(r), Data: a.data(r)})
	}},
	{weight: 4, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpUnseal, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Mode: a.raising(r)})
	}},
	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRelabel, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Label: a.nearby(r)})
	}},
	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpTaint, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "value")}, Label: someOf(r)})
	}},
	{weight: 1, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpDrop, wire.Ask{Handles: []uint64{a.some(r)}}
	}},
	{weight: 4, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpDelegate, a.with(r, wire.Ask{Privilege: one(r, append(worldPowers, a.owns, a.owns, a.owns))})
	}},
	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpRevoke, wire.Ask{Handles: []uint64{a.some(r, "privilege")}}
	}},
	{weight: 4, frame: func(a *actor, r *rand.Rand) wire.Frame {
		return wire.Frame{Header: wire.Header{Op: wire.OpServe}, Body: methodFields("m")}
	}},
	{weight: 10, frame: func(a *actor, r *rand.Rand) wire.Frame {
		ask := a.with(r, wire.Ask{Shown: one(r, []label.Formula{label.True, a.owns})})
		if r.IntN(3) == 0 {
			ask.Handles = []uint64{a.some(r, gifts...)}
		}
		f := wire.Frame{Header: wire.Header{Op: wire.OpCall}, NameBytes: fmt.Appendf(nil, "s%d.m", r.IntN(worldServices)), Body: a.data(r)}
		return withFields(r, f, ask)
	}},
	{weight: 12, frame: func(a *actor, r *rand.Rand) wire.Frame {
		if len(a.calls) == 0 {
			return wire.Frame{}
		}
		i := r.IntN(len(a.calls))
		f := wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: a.calls[i], Code: wire.Code(r.IntN(4))}, Body: a.data(r)}
		a.calls = slices.Delete(a.calls, i, i+1)
		var ask wire.Ask
		if r.IntN(3) == 0 {
			ask.Handles = []uint64{a.some(r, gifts...)}
		}
		return withFields(r, f, ask)
	}},
	{weight: 2, frame: func(a *actor, r *rand.Rand) wire.Frame {
		return wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: a.last - min(r.Uint64N(8), a.last)}}
	}},

	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpMailbox, a.with(r, wire.Ask{Label: a.nearby(r)})
	}},
	{weight: 10, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) { return a.sends(r, wire.OpPost) }},
	{weight: 5, frame: func(a *actor, r *rand.Rand) wire.Frame { return patient(r)(a.sends(r, wire.OpPut)) }},
	{weight: 10, frame: func(a *actor, r *rand.Rand) wire.Frame { return patient(r)(a.receives(r, wire.OpRecv)) }},
	{weight: 5, frame: func(a *actor, r *rand.Rand) wire.Frame { return patient(r)(a.receives(r, wire.OpTake)) }},

	{weight: 1, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) { return wire.OpNewSeal, wire.Ask{} }},
	{weight: 2, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpEnclose, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "sealer")}, Label: a.nearby(r), Data: a.data(r)})
	}},
	{weight: 3, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpDisclose, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "unsealer"), a.some(r, "capsule")}, Mode: a.raising(r)})
	}},
	{weight: 1, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpAuthenticate, wire.Ask{Handles: []uint64{a.some(r, "unsealer", "tester"), a.some(r, "capsule")}}
	}},

	{weight: 8, frame: spawns},
	{weight: 4, frame: func(a *actor, r *rand.Rand) wire.Frame {
		return patient(r)(wire.OpWait, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "result")}, Mode: a.raising(r)}))
	}},
	{weight: 1, make: func(a *actor, r *rand.Rand) (wire.Op, wire.Ask) {
		return wire.OpKill, a.with(r, wire.Ask{Handles: []uint64{a.some(r, "result")}})
	}},
}

// sends is a message to a mailbox of the manifest, or one that a has a handle of.
func (a *actor) sends(r *rand.Rand, op wire.Op) (wire.Op, wire.Ask) {
	ask := a.with(r, a.mailbox(r, op))
	ask.Data = a.data(r)
	for range r.IntN(3) {
		ask.Handles = append(ask.Handles, a.some(r, gifts...))
	}
	return op, ask
}

func (a *actor) receives(r *rand.Rand, op wire.Op) (wire.Op, wire.Ask) {
	ask := a.with(r, a.mailbox(r, op))
	ask.Mode = a.raising(r)
	return op, ask
}

// mailbox is one with which a may do op, more often than not.
func (a *actor) mailbox(r *rand.Rand, op wire.Op) wire.Ask {
	var may []string
	for i := range worldMailboxes {
		name := fmt.Sprintf("b%d", i)
		granted := a.env.rights.Load().grants.decide(mailOps[op], name, false).Allowed
		if granted || op == wire.OpRecv && a.env.m.policy.Load().mailboxes[name].owner == a.env.id.Service {
			may = append(may, name)
		}
	}
	switch {
	case r.IntN(20) == 0:
		return wire.Ask{Name: fmt.Sprintf("b%d", r.IntN(worldMailboxes+1))}
	case len(may) > 0 && (op == wire.OpPut || op == wire.OpTake || r.IntN(3) > 0):
		return wire.Ask{Name: one(r, may)}
	}
	return wire.Ask{Handles: []uint64{a.some(r, "mailbox")}}
}

// patient makes a frame of an operation that may wait, longer than the world lasts.
func patient(r *rand.Rand) func(wire.Op, wire.Ask) wire.Frame {
	return func(op wire.Op, ask wire.Ask) wire.Frame {
		f := wire.Frame{Header: wire.Header{Op: op}, Body: ask.Append(nil, op)}
		if r.IntN(2) == 0 {
			f.Timeout = time.Hour
		}
		return f
	}
}

// spawns asks for a child, the only one that a ever has.
func spawns(a *actor, r *rand.Rand) wire.Frame {
	if a.parent || a.child != nil {
		return wire.Frame{}
	}
	var req wire.Spawn
	ask := a.with(r, wire.Ask{})
	req.Out, req.In = ask.Out, ask.In
	for _, l := range []**label.Label{&req.Label, &req.Clearance, &req.Result} {
		if r.IntN(4) > 0 {
			to := a.nearby(r)
			*l = &to
		}
	}
	if r.IntN(3) == 0 {
		req.Gives = []label.Formula{a.owns}
	}
	for range r.IntN(3) {
		req.Handles = append(req.Handles, a.some(r, gifts...))
	}
	a.parent = !a.lacks
	return wire.Frame{Header: wire.Header{Op: wire.OpSpawn}, NameBytes: []byte(template), Body: req.Append(nil)}
}

// withFields puts what ask says before the body of a call or a reply, more often
// than not.
func withFields(r *rand.Rand, f wire.Frame, ask wire.Ask) wire.Frame {
	if r.IntN(3) > 0 {
		f.Flags = wire.FlagFields
		f.Body = append(wire.AppendFields(nil, ask.Append(nil, f.Op)), f.Body...)
	}
	return f
}

// choose is what a does next: a frame, or one without an operation for nothing. What
// it has not the handles for it mostly leaves.
func (a *actor) choose(r *rand.Rand) (f wire.Frame) {
	for range 4 {
		a.lacks = false
		if f = a.idea(r); !a.lacks {
			break
		}
	}
	if wire.Ops[f.Op].Replied {
		a.last++
		f.ID = a.last
		a.asked[a.last] = f.Op
	}
	return f
}

// idea is something that a may do.
func (a *actor) idea(r *rand.Rand) wire.Frame {
	total := 0
	for _, m := range moves {
		total += m.weight
	}
	n := r.IntN(total)
	i := 0
	for ; n >= moves[i].weight; i++ {
		n -= moves[i].weight
	}
	if m := &moves[i]; m.frame != nil {
		return m.frame(a, r)
	}
	op, ask := moves[i].make(a, r)
	return wire.Frame{Header: wire.Header{Op: op}, Body: ask.Append(nil, op)}
}

// with names privileges, more often than not ones that a owns.
func (a *actor) with(r *rand.Rand, ask wire.Ask) wire.Ask {
	for _, p := range []*label.Formula{&ask.Out, &ask.In} {
		switch r.IntN(6) {
		case 0, 1:
			*p = a.owns
		case 2:
			*p = one(r, worldPowers)
		}
	}
	return ask
}

// nearby is a label that a may well be able to write to, or reach.
func (a *actor) nearby(r *rand.Rand) label.Label {
	switch r.IntN(8) {
	case 0:
		return above(r, a.state.Label)
	case 1:
		return a.state.Clearance
	case 2:
		return a.state.Label.Downgrade(a.owns)
	case 3, 4:
		return a.state.Label
	}
	return one(r, a.w.labels)
}

// some is a handle of the kind that a has, and now and then another one or none.
func (a *actor) some(r *rand.Rand, kinds ...string) uint64 {
	var fit []uint64
	for _, h := range a.handles {
		if slices.Contains(kinds, h.kind) {
			fit = append(fit, h.n)
		}
	}
	switch {
	case r.IntN(20) == 0:
		return r.Uint64N(20)
	case len(fit) > 0 && r.IntN(10) > 0:
		return one(r, fit)
	}
	a.lacks = len(fit) == 0
	if len(a.handles) > 0 {
		return one(r, a.handles).n
	}
	return 1
}

func (a *actor) data(r *rand.Rand) []byte {
	return fmt.Appendf(nil, "%x", r.Uint64()>>r.IntN(60))
}

func (a *actor) force(r *rand.Rand) wire.Mode { return wire.Mode(r.IntN(2)) * wire.ModeForce }

func (a *actor) raising(r *rand.Rand) wire.Mode {
	return one(r, []wire.Mode{0, wire.ModeRaise, wire.ModeRaise | wire.ModeForce})
}
