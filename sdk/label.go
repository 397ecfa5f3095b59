package sdk

import (
	"cofferdam/label"
	"cofferdam/wire"
)

// Label says what is known of data: its secrecy names whose authority it takes to
// make it public, its integrity whose authority vouches for it. See package label.
type Label = label.Label

// Formula says whose authority something takes: half of a label, or a privilege.
type Formula = label.Formula

// The corners of the lattice.
var (
	Public = label.Public // anybody may read it and nobody vouches for it: all that no label was written for
	Bottom = label.Bottom // flows to everything
	Top    = label.Top    // everything flows to it
)

// ParseLabel reads SECRECY %% INTEGRITY, as in `alice & (bob | carol) %% True`.
func ParseLabel(text string) (Label, error) { return label.Parse(text) }

// MustLabel is ParseLabel of a text that is part of the program.
func MustLabel(text string) Label { return label.MustParse(text) }

// ParseFormula reads a formula, as in `alice & (bob | carol)`. True asks nothing.
func ParseFormula(text string) (Formula, error) { return label.ParseFormula(text) }

// MustFormula is ParseFormula of a text that is part of the program.
func MustFormula(text string) Formula { return label.MustParseFormula(text) }

// NewLabel is the label with these two halves.
func NewLabel(secrecy, integrity Formula) Label { return label.New(secrecy, integrity) }

// Principal is the formula of one principal with this name, whatever characters it
// has: for names that come from elsewhere.
func Principal(name string) (Formula, error) { return label.NewFormula([]string{name}) }

// Options say how an operation is done. The zero value names no privilege and
// changes no label. To give an operation what it has no use for is ErrMalformed.
//
// Privileges must be implied by what we own (see [Client.Labels]), and help with
// this one operation. They are two, because to send with a privilege is not to
// vouch for what comes back.
type Options struct {
	Out     Formula  // the privilege that releases secrets
	In      Formula  // the privilege that vouches for what is received
	Shown   Formula  // calls: the privilege that is described to who is called, who does not get it
	Handles []Handle // calls, Post, Put: what goes with the message; we keep ours
	Raise   bool     // whatever reads: first raise our label as far as it takes
	Force   bool     // whatever raises or lowers: cut the connections that stand in the way
	Now     bool     // whatever waits: look, and do not
}

// ask is what the monitor is asked with to do so to objects.
func (o *Options) ask(objects ...Handle) *wire.Ask {
	a := &wire.Ask{Out: o.Out, In: o.In, Shown: o.Shown, Handles: append(numbers(objects), numbers(o.Handles)...)}
	if o.Raise {
		a.Mode |= wire.ModeRaise
	}
	if o.Force {
		a.Mode |= wire.ModeForce
	}
	return a
}
