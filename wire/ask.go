package wire

import (
	"encoding/binary"

	"cofferdam/label"
)

// Bounds of an Ask and a Told.
const (
	MaxHandles = 16       // of one message, call, reply or spawn
	MaxGives   = 16       // privileges of one spawn
	MaxLabel   = 64 << 10 // the text of one label or formula
)

// Mode says how an operation on labels is to be done, as bits.
type Mode uint64

// The modes.
const (
	ModeRaise Mode = 1 << iota // unseal, recv, take, wait: first raise my label as far as it takes
	ModeForce                  // raise, lower, and with ModeRaise: cut what would stand in the way
	modes
)

// Ask is what an operation on labels is asked with. Which of it an operation
// takes, and which it needs, is in the table of asks.
type Ask struct {
	Name      string        // a mailbox of the manifest: a word as a service's
	Handles   []uint64      // at most MaxHandles; of a mailbox without a name the first is its own
	Label     label.Label   // of what is made
	Privilege label.Formula // of delegate
	Out, In   label.Formula // the privileges that release and that vouch
	Shown     label.Formula // the privilege that is described to who is called
	Data      []byte        // a view
	Mode      Mode
	Trace     Trace // that a call is part of
}

// Privileges are those that are named for this operation.
func (a *Ask) Privileges() label.Privileges { return label.Privileges{Out: a.Out, In: a.In} }

// askRow says what an operation takes.
type askRow struct {
	takes, needs fieldSet
	handles      int // how many it needs, -1 for any number up to MaxHandles
	modes        Mode

	// mailbox: it is of one, which is named, or otherwise the first of the handles.
	mailbox bool
}

type fieldSet uint64

func fields(keys ...uint8) (s fieldSet) {
	for _, k := range keys {
		s |= 1 << k
	}
	return s
}

func (s fieldSet) has(key uint8) bool { return s&(1<<key) != 0 }

var privileges = fields(KeyOut, KeyIn)

// asks is the table of what each operation on labels takes. OpCall and OpReply
// stand for the fields that a body begins with, see FlagFields.
var asks = map[Op]askRow{
	OpCall:         {takes: privileges | fields(KeyShown, KeyHandle, KeyTrace), handles: -1},
	OpReply:        {takes: fields(KeyHandle), handles: -1},
	OpLabels:       {takes: fields(KeyHandle), handles: -1},
	OpRaise:        {takes: fields(KeyLabel, KeyMode), needs: fields(KeyLabel), modes: ModeForce},
	OpLower:        {takes: privileges | fields(KeyLabel, KeyMode), needs: fields(KeyLabel), modes: ModeForce},
	OpClearance:    {takes: privileges | fields(KeyLabel), needs: fields(KeyLabel)},
	OpSeal:         {takes: privileges | fields(KeyLabel, KeyData), needs: fields(KeyLabel)},
	OpUnseal:       {takes: privileges | fields(KeyHandle, KeyMode), handles: 1, modes: ModeRaise | ModeForce},
	OpRelabel:      {takes: privileges | fields(KeyHandle, KeyLabel), needs: fields(KeyLabel), handles: 1},
	OpTaint:        {takes: privileges | fields(KeyHandle, KeyLabel), needs: fields(KeyLabel), handles: 1},
	OpDrop:         {takes: fields(KeyHandle), handles: -1},
	OpMailbox:      {takes: privileges | fields(KeyLabel), needs: fields(KeyLabel)},
	OpPost:         {takes: privileges | fields(KeyName, KeyHandle, KeyData), handles: -1, mailbox: true},
	OpPut:          {takes: privileges | fields(KeyName, KeyHandle, KeyData), handles: -1, mailbox: true},
	OpRecv:         {takes: privileges | fields(KeyName, KeyHandle, KeyMode), handles: 1, modes: ModeRaise | ModeForce, mailbox: true},
	OpTake:         {takes: privileges | fields(KeyName, KeyHandle, KeyMode), handles: 1, modes: ModeRaise | ModeForce, mailbox: true},
	OpWait:         {takes: privileges | fields(KeyHandle, KeyMode), handles: 1, modes: ModeRaise | ModeForce},
	OpKill:         {takes: privileges | fields(KeyHandle), handles: 1},
	OpDelegate:     {takes: privileges | fields(KeyGive), needs: fields(KeyGive)},
	OpRevoke:       {takes: fields(KeyHandle), handles: 1},
	OpNewSeal:      {},
	OpEnclose:      {takes: privileges | fields(KeyHandle, KeyLabel, KeyData), needs: fields(KeyLabel), handles: 1},
	OpDisclose:     {takes: privileges | fields(KeyHandle, KeyMode), handles: 2, modes: ModeRaise | ModeForce},
	OpAuthenticate: {takes: fields(KeyHandle), handles: 2},
}

// Append appends a as a list of fields. Empty values are left out, but for the
// label of an operation that needs one.
func (a *Ask) Append(dst []byte, op Op) []byte {
	if a.Name != "" {
		dst = AppendField(dst, KeyName, a.Name)
	}
	for _, h := range a.Handles {
		dst = AppendUint(dst, KeyHandle, h)
	}
	if asks[op].needs.has(KeyLabel) {
		dst = AppendField(dst, KeyLabel, a.Label.String())
	}
	if asks[op].needs.has(KeyGive) {
		dst = AppendField(dst, KeyGive, a.Privilege.String())
	}
	dst = appendFormula(dst, KeyOut, a.Out)
	dst = appendFormula(dst, KeyIn, a.In)
	dst = appendFormula(dst, KeyShown, a.Shown)
	if a.Mode != 0 {
		dst = AppendUint(dst, KeyMode, uint64(a.Mode))
	}
	if len(a.Data) != 0 {
		dst = AppendField(dst, KeyData, a.Data)
	}
	return appendTrace(dst, a.Trace)
}

func appendTrace(dst []byte, t Trace) []byte {
	if t.IsZero() {
		return dst
	}
	return AppendField(dst, KeyTrace, t.Append(nil))
}

func appendFormula(dst []byte, key uint8, f label.Formula) []byte {
	if f == label.True {
		return dst
	}
	return AppendField(dst, key, f.String())
}

// ParseAsk reads what op is asked with; Data is a view of b. It returns an
// [ErrMalformed] for a field that op does not take or lacks, a single value given
// twice, more handles than MaxHandles or than op takes, unknown modes, and a label
// or formula that is not one or is beyond the bounds of package label.
func ParseAsk(op Op, b []byte) (Ask, error) {
	row, known := asks[op]
	if !known {
		return Ask{}, malformed("%v takes no such fields", op)
	}
	var a Ask
	l := list{kind: op.String()}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		if key >= keys || !row.takes.has(key) {
			return l.unknown(key)
		}
		switch key {
		case KeyHandle:
			return l.handle(val, &a.Handles)
		case KeyName:
			if a.Name = string(val); !ValidWord(val) {
				err = malformed("%s: %.64q is no name of a mailbox", l.kind, val)
			}
		case KeyLabel:
			a.Label, err = l.label(key, val)
		case KeyGive:
			a.Privilege, err = l.formula(key, val)
		case KeyOut:
			a.Out, err = l.formula(key, val)
		case KeyIn:
			a.In, err = l.formula(key, val)
		case KeyShown:
			a.Shown, err = l.formula(key, val)
		case KeyMode:
			a.Mode, err = l.mode(val, row.modes)
		case KeyData:
			a.Data = val
		case KeyTrace:
			a.Trace, err = l.trace(val)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err == nil {
		err = row.complete(&l, &a)
	}
	if err != nil {
		return Ask{}, err
	}
	return a, nil
}

// complete tells whether all is there that op needs.
func (row askRow) complete(l *list, a *Ask) error {
	for key := uint8(0); key < keys; key++ {
		if row.needs.has(key) && !l.seen[key] {
			return malformed("%s: no field with key %d", l.kind, key)
		}
	}
	n := len(a.Handles)
	if row.mailbox {
		if a.Name != "" {
			n++ // it stands for the first
		}
		if n == 0 {
			return malformed("%s: no mailbox", l.kind)
		}
	}
	if row.handles >= 0 && n != row.handles {
		return malformed("%s: %d handles, wants %d", l.kind, n, row.handles)
	}
	return nil
}

func (l *list) handle(val []byte, all *[]uint64) error {
	h, err := ParseUint(val)
	if err != nil {
		return err
	}
	if len(*all) == MaxHandles {
		return malformed("%s: more than %d handles", l.kind, MaxHandles)
	}
	*all = append(*all, h)
	return nil
}

func (l *list) mode(val []byte, allowed Mode) (Mode, error) {
	n, err := ParseUint(val)
	if err != nil {
		return 0, err
	}
	if n == 0 || Mode(n)&^allowed != 0 {
		return 0, malformed("%s: mode %#x", l.kind, n)
	}
	return Mode(n), nil
}

// label reads the text of a label, with the bounds of package label.
func (l *list) label(key uint8, val []byte) (label.Label, error) {
	if err := l.bytes(key, val, MaxLabel); err != nil {
		return label.Label{}, err
	}
	x, err := label.Parse(string(val))
	if err != nil {
		return label.Label{}, malformed("%s: key %d: %v", l.kind, key, err)
	}
	return x, nil
}

// formula reads the text of a formula.
func (l *list) formula(key uint8, val []byte) (label.Formula, error) {
	if err := l.bytes(key, val, MaxLabel); err != nil {
		return label.True, err
	}
	f, err := label.ParseFormula(string(val))
	if err != nil {
		return label.True, malformed("%s: key %d: %v", l.kind, key, err)
	}
	return f, nil
}

// FlagFields in the header of a call or a reply says that its body begins with
// fields, of which a u32 gives the length, before the bytes that are the program's
// own. An environment sends those of an Ask, and what it gets are those of a Told:
//
//	call, to the monitor   Ask: Out, In, Shown, Handles, Trace
//	call, to the server    Told: Label (of the request), Shown, Handles (the server's own), Trace
//	reply, to the monitor  Ask: Handles
//	reply, to the caller   Told: Label (of the answer), Handles (the caller's own)
//
// Only the reply to a call has them. Without the flag all of it is zero: no
// privilege, Public, no handles.
const FlagFields = 1

// AppendFields appends to dst a length and fields, as the body of a frame with
// FlagFields begins.
func AppendFields(dst, fields []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(fields)))
	return append(dst, fields...)
}

// CutFields divides the body of a frame with FlagFields. It returns an
// [ErrMalformed] if that is cut short.
func CutFields(body []byte) (fields, rest []byte, err error) {
	if len(body) < 4 {
		return nil, nil, malformed("no length of fields")
	}
	n := binary.LittleEndian.Uint32(body)
	body = body[4:]
	if uint64(n) > uint64(len(body)) {
		return nil, nil, malformed("fields of %d bytes announced, %d there", n, len(body))
	}
	return body[:n:n], body[n:], nil
}
