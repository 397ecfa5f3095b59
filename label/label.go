// Package label says what may flow where.
//
// A principal is a name: a person, a service, an origin. A [Formula] over
// principals says whose agreement something takes: `alice & (bob | carol)`. A
// [Label] is two of them. Secrecy says whose authority it takes to make the data
// public; integrity says whose authority vouches for it. [Label.FlowsTo] is the one
// question that everything else is built on: data goes to where it is as secret as
// before or more, and is vouched for by no more than before.
//
//	inbox := label.MustParse(`alice %% alice`) // alice's to publish, and alice's word
//	inbox.FlowsTo(label.Public)                // false: it would be published
//	label.Public.FlowsTo(inbox)                // false: nobody vouches for what comes in
//
// What has been in touch with two labels has their [Label.Join], which is secret to
// both and vouched for by either. A privilege is a formula too, the authority that
// its owner has: with that of alice, inbox flows to what is public
// ([Label.FlowsToWith]). Sending with a privilege need not mean vouching for
// the answer with it, so the monitor names the two apart ([Privileges]). One
// privilege stands in for another if its formula implies the other's: it speaks
// for it ([Formula.Implies]).
//
// True is a formula that asks nothing: as secrecy, public; as integrity, nobody
// vouches; as a privilege, no power. It is what a Formula is before it is set, and
// [Public] is what a Label is, so that what was forgotten grants nothing. False asks
// more than anybody has.
//
// Formulas and labels are values: they never change, equal ones are ==, any
// number of goroutines may use them, and they can be keys of a map. They are in
// normal form, and at most of [MaxClauses] clauses of [MaxNames] names of [MaxName] bytes.
// The semantics are those of DC labels, as the LIO library has them
// (Stefan, Russo, Mazières, Mitchell: Disjunction Category Labels, 2011).
//
// Trusted: yes. A wrong answer here is a leak everywhere.
package label

// Label is what is known of data, or of who may have touched it. The zero Label
// is [Public].
type Label struct{ secrecy, integrity Formula }

// The corners of the lattice. They are not to be assigned to.
var (
	Public = Label{}          // anybody may read it, nobody vouches for it: the Internet
	Bottom = New(True, False) // flows to everything
	Top    = New(False, True) // everything flows to it
)

// New returns the label with these two halves.
func New(secrecy, integrity Formula) Label { return Label{secrecy, integrity} }

// Secrecy says whose authority it takes to make the data public.
func (l Label) Secrecy() Formula { return l.secrecy }

// Integrity says whose authority vouches for the data.
func (l Label) Integrity() Formula { return l.integrity }

// FlowsTo tells whether data of label l may go to where the label is m.
func (l Label) FlowsTo(m Label) bool {
	// As m.secrecy.Implies(l.secrecy) && l.integrity.Implies(m.integrity), but that
	// what is known takes no call.
	secrecy := m.secrecy.recall(l.secrecy)
	if secrecy == no {
		return false
	}
	integrity := l.integrity.recall(m.integrity)
	if integrity == no {
		return false
	}
	return (secrecy == yes || m.secrecy.n.find(l.secrecy.n)) && (integrity == yes || l.integrity.n.find(m.integrity.n))
}

// Join returns the lowest label that l and m both flow to: that of what was made
// of the two. Its integrity is an or, which can be far larger than either; over
// the bounds it is [ErrBound].
func (l Label) Join(m Label) (Label, error) {
	return halves(both(l.secrecy, m.secrecy))(l.integrity.Or(m.integrity))
}

// Meet returns the highest label that flows to l and to m, or [ErrBound].
func (l Label) Meet(m Label) (Label, error) {
	return halves(l.secrecy.Or(m.secrecy))(both(l.integrity, m.integrity))
}

// both is the and of two formulas, within the bounds.
func both(f, g Formula) (Formula, error) {
	h := f.And(g)
	return h, h.bounded()
}

// halves makes a label of two results.
func halves(secrecy Formula, err error) func(Formula, error) (Label, error) {
	return func(integrity Formula, also error) (Label, error) {
		if err == nil {
			err = also
		}
		if err != nil {
			return Label{}, err
		}
		return New(secrecy, integrity), nil
	}
}
