package label

// Privileges are what an operation may use of its owner's authority, apart for
// each half of a label: whoever sends with a privilege does not thereby vouch for
// what comes back. The zero Privileges have no power.
type Privileges struct {
	Out Formula // releases: takes clauses out of the secrecy
	In  Formula // vouches: adds to the integrity
}

// FlowsToWith tells whether data of label l may go to where the label is m, for
// somebody who has privilege p and uses it both to release and to vouch.
func (l Label) FlowsToWith(p Formula, m Label) bool { return l.FlowsUnder(Privileges{p, p}, m) }

// FlowsUnder tells whether data of label l may go to where the label is m, for
// somebody who uses p.
func (l Label) FlowsUnder(p Privileges, m Label) bool {
	return m.secrecy.impliesWith(p.Out, l.secrecy) && l.integrity.impliesWith(p.In, m.integrity)
}

// Downgrade returns the lowest label that l can be brought to with privilege p,
// used both to release and to vouch: l flows to m with p if it flows to m without.
func (l Label) Downgrade(p Formula) Label { return l.DowngradeUnder(Privileges{p, p}) }

// DowngradeUnder returns the lowest label that l can be brought to with p. A
// clause of the secrecy that p.Out implies is gone whole, and any other stays
// whole; p.In is added to the integrity, which may then be over the bounds, as
// with [Formula.And].
func (l Label) DowngradeUnder(p Privileges) Label {
	return New(l.secrecy.less(p.Out, True), l.integrity.And(p.In))
}

// Missing returns the least further privileges with which data of label l may
// go to where the label is m, for somebody who uses p already. If they
// are none, it may as it is.
func (l Label) Missing(p Privileges, m Label) Privileges {
	return Privileges{
		Out: l.secrecy.less(p.Out, m.secrecy),
		In:  m.integrity.less(p.In, l.integrity),
	}
}
