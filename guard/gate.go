package guard

import "cofferdam/label"

// Gate is what a caller must bring to have something released or endorsed that
// neither it nor its data could be otherwise.
type Gate struct {
	Shows     label.Formula // the description it shows implies it
	Integrity label.Formula // its label's integrity implies it: untrusted data must not steer a release
	Input     label.Label   // its label flows to it: what may be put in
	Output    label.Label   // the label of the answer
}

// Enter is for calling a gate with the description shown, which is of
// privileges that the caller owns and keeps.
func (s State) Enter(shown label.Formula, g Gate) error {
	if !shown.Implies(g.Shows) {
		return &Refusal{
			Rule: "shown ⟹ required",
			From: label.New(label.True, shown), To: label.New(label.True, g.Shows),
			Fix: "show a description that implies " + g.Shows.String(),
		}
	}
	vouched := label.New(label.True, s.Label.Integrity())
	if err := flows("integrity ⟹ minimum", vouched, neither, label.Privileges{}, label.New(label.True, g.Integrity), "what steers a gate must be vouched for: call it before you read anything less trusted"); err != nil {
		return err
	}
	if err := flows("label ⊑ input", s.Label, neither, label.Privileges{}, g.Input, "the gate takes nothing more secret"); err != nil {
		return err
	}
	return s.Read(label.Privileges{}, g.Output)
}

// Inside is the state in which a gate of an own state works on the input of a caller
// with this label.
func (g State) Inside(caller label.Label) (State, error) {
	l, err := g.Label.Join(caller)
	if err != nil {
		return g, err
	}
	c, err := g.Clearance.Join(l)
	if err != nil {
		return g, err
	}
	return State{l, c}, nil
}

// Release is for letting the answer of a gate that owns p out at its output label.
func (g State) Release(p label.Formula, output label.Label) error {
	return flows("gate ⊑ output", g.Label, either, label.Privileges{Out: p, In: p}, output, "")
}
