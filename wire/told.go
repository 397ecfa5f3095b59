package wire

import "cofferdam/label"

// Told is what an operation on labels tells. What it holds depends on the
// operation, see the table of [Ops]; what is not told is zero.
type Told struct {
	Label     label.Label   // of an object, or of the asker
	Clearance label.Label   // of the asker
	Owns      label.Formula // the privileges of the asker
	Shown     label.Formula // the privilege that a caller describes: it has it, and keeps it
	Handles   []uint64      // of what was made, or came with a message, a call or a reply
	Caller    *Identity     // who sent a message, as the monitor knows; nil for none
	Data      []byte        // a view
	Trace     Trace         // that a request is part of: what it causes is caused by that span
}

// Append appends t as a list of fields. Empty values are left out: the reader
// takes them for the zero value, so that nothing has to be said of what has no
// label.
func (t *Told) Append(dst []byte) []byte {
	if t.Label != label.Public {
		dst = AppendField(dst, KeyLabel, t.Label.String())
	}
	if t.Clearance != label.Public {
		dst = AppendField(dst, KeyClearance, t.Clearance.String())
	}
	dst = appendFormula(dst, KeyOwns, t.Owns)
	dst = appendFormula(dst, KeyShown, t.Shown)
	for _, h := range t.Handles {
		dst = AppendUint(dst, KeyHandle, h)
	}
	if t.Caller != nil {
		dst = AppendField(dst, KeyCaller, t.Caller.Append(nil))
	}
	if len(t.Data) != 0 {
		dst = AppendField(dst, KeyData, t.Data)
	}
	return appendTrace(dst, t.Trace)
}

// ParseTold reads a Told, whose Data and Caller are views of b. It returns an
// [ErrMalformed] for a key that it does not know, a single value given twice, and
// values that ParseAsk would refuse.
func ParseTold(b []byte) (Told, error) {
	var t Told
	l := list{kind: "told"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyHandle:
			return l.handle(val, &t.Handles)
		case KeyLabel:
			t.Label, err = l.label(key, val)
		case KeyClearance:
			t.Clearance, err = l.label(key, val)
		case KeyOwns:
			t.Owns, err = l.formula(key, val)
		case KeyShown:
			t.Shown, err = l.formula(key, val)
		case KeyCaller:
			var id Identity
			id, err = ParseIdentity(val)
			t.Caller = &id
		case KeyData:
			t.Data = val
		case KeyTrace:
			t.Trace, err = l.trace(val)
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err != nil {
		return Told{}, err
	}
	return t, nil
}
