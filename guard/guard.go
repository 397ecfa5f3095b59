// Package guard says whether an operation may happen at these labels.
//
// It knows of an environment only its [State] (its label and its clearance),
// of an object only its fixed label, and of authority only the privileges that
// are named for one operation. Each method is one row of the table of LIO's
// monitor (Stefan et al., "Flexible Dynamic Information Flow Control in
// Haskell", 2011) or of its extension to objects that environments share. It
// returns nil or a [*Refusal], and the state after it, and changes nothing: the
// monitor enforces with it, and the manifest's report explains with it.
//
// In all of it a privilege is two: the one that releases secrets and the one
// that vouches for what is received, named apart, because the authority to send
// something out says nothing about what comes back.
//
// What depends on more than these (does the mailbox exist, is anybody there)
// is not decided here, and must not be told to whom may not know it.
//
// Trusted: yes. It is the whole of what labels forbid.
package guard

import (
	"fmt"
	"strings"

	"cofferdam/label"
)

// State is what an environment may know and touch: its label bounds from below
// what it may write, its clearance from above what it may read or write. Label
// flows to Clearance, always.
//
// The zero State is public in both: it holds no secret and may get none.
type State struct {
	Label, Clearance label.Label
}

// Refusal is why an operation is forbidden: all of it is what the environment
// knows about itself, or a fixed label that it may read.
type Refusal struct {
	Rule string      // the relation that does not hold, as "label ⊑ object"
	From label.Label // the smaller side of it, as it would have to flow
	To   label.Label // the larger
	With label.Privileges

	// Missing are the least privileges that it would take to name besides With:
	// none if no privilege would do.
	Missing label.Privileges

	// Fix is what else would allow it, in words; "" if nothing that one
	// environment could do would.
	Fix string
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s: %s cannot flow to %s", r.Rule, r.From, r.To)
	if with := named(r.With, "releasing with %s", "vouching with %s"); with != "" {
		text += " (" + with + ")"
	}
	needs := named(r.Missing, "release it with a privilege (out) that implies %s", "vouch for it with a privilege (in) that implies %s")
	switch {
	case needs != "" && r.Fix != "":
		text += "; " + needs + ", or " + r.Fix
	case needs+r.Fix != "":
		text += "; " + needs + r.Fix
	}
	return text
}

// named puts those of two privileges in words that have any power.
func named(p label.Privileges, out, in string) string {
	var parts []string
	if p.Out != label.True {
		parts = append(parts, fmt.Sprintf(out, p.Out))
	}
	if p.In != label.True {
		parts = append(parts, fmt.Sprintf(in, p.In))
	}
	return strings.Join(parts, " and ")
}

// use is which of two privileges a check takes. What it does not take is not
// looked at, so that what was named for one side of an operation has no power on
// the other.
type use uint8

const (
	releasing use = 1 << iota
	vouching

	neither use = 0
	either      = releasing | vouching
)

func (u use) of(p label.Privileges) label.Privileges {
	if u&releasing == 0 {
		p.Out = label.True
	}
	if u&vouching == 0 {
		p.In = label.True
	}
	return p
}

// flows is from ⊑ₚ to with what u takes of p, or a refusal.
func flows(rule string, from label.Label, u use, p label.Privileges, to label.Label, fix string) error {
	if from == to {
		return nil
	}
	p = u.of(p)
	if from.FlowsUnder(p, to) {
		return nil
	}
	r := &Refusal{Rule: rule, From: from, To: to, With: p, Fix: fix}
	if missing := from.Missing(p, to); missing == u.of(missing) {
		r.Missing = missing
	}
	return r
}

// Alloc is for creating an object with this label, or writing to one blindly:
// cur ⊑ₚ t ⊑ clr. Privileges never reach above the clearance.
func (s State) Alloc(p label.Privileges, t label.Label) error { return s.alloc(either, p, t) }

func (s State) alloc(u use, p label.Privileges, t label.Label) error {
	if err := flows("label ⊑ object", s.Label, u, p, t, "write to an object that your label flows to"); err != nil {
		return err
	}
	return flows("object ⊑ clearance", t, neither, p, s.Clearance, "get a higher clearance first")
}

// Read is for reading an object with this label without being changed by it:
// ↓ₚ t ⊑ cur.
func (s State) Read(p label.Privileges, t label.Label) error { return s.read(either, p, t) }

func (s State) read(u use, p label.Privileges, t label.Label) error {
	err := flows("object ⊑ label", t, u, p, s.Label, "")
	if r, refused := err.(*Refusal); refused {
		r.Fix = s.raised(t.DowngradeUnder(u.of(p)))
	}
	return err
}

// raised says in words what s would have to be to read an object with this label.
func (s State) raised(t label.Label) string {
	need, err := s.Label.Join(t)
	switch {
	case err != nil:
		return ""
	case need.FlowsTo(s.Clearance):
		return fmt.Sprintf("raise your label to %s first", need)
	}
	return fmt.Sprintf("be at a label of %s, for which your clearance, %s, is too low", need, s.Clearance)
}

// Write is for what both tells and changes an object with this label: Alloc, and
// Read.
func (s State) Write(p label.Privileges, t label.Label) error {
	if err := s.Alloc(p, t); err != nil {
		return err
	}
	return s.Read(p, t)
}

// Taint is the state in which s may read an object with this label:
// cur ⊔ ↓ₚ t, which must flow to clr.
func (s State) Taint(p label.Privileges, t label.Label) (State, error) {
	to, err := s.Label.Join(t.DowngradeUnder(p))
	if err != nil {
		return s, fmt.Errorf("label ⊔ object: %w", err)
	}
	if err := flows("label ⊔ object ⊑ clearance", to, neither, p, s.Clearance, "get a higher clearance first"); err != nil {
		return s, err
	}
	return State{to, s.Clearance}, nil
}

// Raise sets the label: cur ⊑ t ⊑ clr.
func (s State) Raise(t label.Label) (State, error) { return s.become(neither, label.Privileges{}, t) }

// Lower sets the label, and may declassify all that the environment holds:
// cur ⊑ₚ t ⊑ clr.
func (s State) Lower(p label.Privileges, t label.Label) (State, error) { return s.become(either, p, t) }

func (s State) become(u use, p label.Privileges, t label.Label) (State, error) {
	if err := flows("label ⊑ new label", s.Label, u, p, t, ""); err != nil {
		return s, err
	}
	if err := flows("new label ⊑ clearance", t, neither, p, s.Clearance, "get a higher clearance first"); err != nil {
		return s, err
	}
	return State{t, s.Clearance}, nil
}

// SetClearance sets the clearance: cur ⊑ c ⊑ₚ clr. Lowering it is free.
func (s State) SetClearance(p label.Privileges, c label.Label) (State, error) {
	if err := flows("label ⊑ new clearance", s.Label, neither, p, c, "no clearance is below the label"); err != nil {
		return s, err
	}
	if err := flows("new clearance ⊑ clearance", c, either, p, s.Clearance, "ask for a lower one"); err != nil {
		return s, err
	}
	return State{s.Label, c}, nil
}

// Relabel is for a new object that holds what one with the label old does:
// old ⊑ₚ t, t ⊑ₚ old, t ⊑ clr and, because the new one may be visible to
// others, cur ⊑ₚ t.
func (s State) Relabel(p label.Privileges, old, t label.Label) error {
	return all(p, []check{
		{"old ⊑ new", old, either, t},
		{"new ⊑ old", t, either, old},
		{"new ⊑ clearance", t, neither, s.Clearance},
		{"label ⊑ new", s.Label, either, t},
	})
}

// check is one of several that must all hold.
type check struct {
	rule string
	from label.Label
	use  use
	to   label.Label
}

func all(p label.Privileges, checks []check) error {
	for _, c := range checks {
		if err := flows(c.rule, c.from, c.use, p, c.to, ""); err != nil {
			return err
		}
	}
	return nil
}

// TaintObject is the label of a new object that holds what one with the label
// old does, with t added: old ⊔ t, for which Alloc must hold.
func (s State) TaintObject(p label.Privileges, old, t label.Label) (label.Label, error) {
	to, err := old.Join(t)
	if err != nil {
		return to, fmt.Errorf("object ⊔ label: %w", err)
	}
	return to, s.Alloc(p, to)
}

// Spawn is for starting an environment with the state child, whose end and
// output are an object with the label result:
// cur ⊑ₚ child.cur ⊑ child.clr ⊑ clr, and Alloc of result.
func (s State) Spawn(p label.Privileges, child State, result label.Label) error {
	err := all(p, []check{
		{"label ⊑ child's label", s.Label, either, child.Label},
		{"child's label ⊑ its clearance", child.Label, neither, child.Clearance},
		{"child's clearance ⊑ clearance", child.Clearance, neither, s.Clearance},
	})
	if err != nil {
		return err
	}
	return s.Alloc(p, result)
}

// Mount is for a directory tree with one fixed label: V ⊑ cur to read it, and
// also cur ⊑ V to write to it, because who writes also reads. No privilege
// helps: the program's own system calls are not asked for one.
func (s State) Mount(v label.Label, writable bool) error {
	fix := "run it at the label of the volume"
	if err := flows("volume ⊑ label", v, neither, label.Privileges{}, s.Label, fix); err != nil {
		return err
	}
	if !writable {
		return nil
	}
	return flows("label ⊑ volume", s.Label, neither, label.Privileges{}, v, fix+", or mount it read-only")
}

// Endpoint is a place where an environment meets another one, or the world:
// what it says there has one fixed label, what it hears another.
type Endpoint struct {
	Request, Answer label.Label
}

// Connect is for whoever calls: Alloc of the request, with what releases, and
// Read of the answer, with what vouches. What a caller named to vouch with is for
// what it hears, and does not make what it says more trusted; what it released is
// what it says, and not what it hears.
func (s State) Connect(p label.Privileges, e Endpoint) error {
	if err := s.alloc(releasing, p, e.Request); err != nil {
		return err
	}
	return s.read(vouching, p, e.Answer)
}

// Serve is for whoever answers: it reads requests and writes answers. Nobody
// asks its clearance: what it writes is bounded by the endpoint.
func (s State) Serve(p label.Privileges, e Endpoint) error {
	if err := s.Read(p, e.Request); err != nil {
		return err
	}
	return s.Answer(p, e.Answer)
}

// Answer is the half of Serve that writes: cur ⊑ₚ t.
func (s State) Answer(p label.Privileges, t label.Label) error {
	return flows("label ⊑ answer", s.Label, either, p, t, "")
}

// Tell is for what is told of an environment without its asking, to those who may
// know what has this label: how it ended. cur ⊑ t.
func (s State) Tell(t label.Label) error {
	return flows("label ⊑ told", s.Label, either, label.Privileges{}, t, "")
}

// StandIn is for being one of several that are asked in each other's place, all of
// which started at one label: what does not come to one of them comes to another, so
// they know of each other. cur ⊑ₚ start.
func (s State) StandIn(p label.Privileges, start label.Label) error {
	return flows("label ⊑ label at the start", s.Label, either, p, start, "start another environment at that label")
}

// Carry is for a door that carries the requests of somebody who may send and be sent
// what the one endpoint says to another endpoint, and its answers back.
func Carry(from, to Endpoint) error {
	if err := flows("request ⊑ request", from.Request, neither, label.Privileges{}, to.Request, ""); err != nil {
		return err
	}
	return flows("answer ⊑ answer", to.Answer, neither, label.Privileges{}, from.Answer, "")
}

// Kill is for ending an environment with this label blindly: cur ⊑ₚ child. The
// answer must be the same if it does not hold.
func (s State) Kill(p label.Privileges, child label.Label) error {
	return flows("label ⊑ child's label", s.Label, either, p, child, "")
}
