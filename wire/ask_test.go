package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"cofferdam/label"
)

func mustLabel(t testing.TB, s string) label.Label {
	t.Helper()
	l, err := label.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustFormula(t testing.TB, s string) label.Formula {
	t.Helper()
	f, err := label.ParseFormula(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fullAsk is one with all that op takes.
func fullAsk(t testing.TB, op Op) Ask {
	row := asks[op]
	var a Ask
	handles := max(row.handles, 1)
	if row.mailbox {
		a.Name = "moves"
		handles -= max(row.handles, 0)
	}
	if row.takes.has(KeyHandle) {
		for i := range handles {
			a.Handles = append(a.Handles, uint64(i)+7)
		}
	}
	if row.takes.has(KeyLabel) {
		a.Label = mustLabel(t, "alice & (bob | carol) %% True")
	}
	if row.takes.has(KeyGive) {
		a.Privilege = mustFormula(t, "alice | bob")
	}
	if row.takes.has(KeyOut) {
		a.Out, a.In = mustFormula(t, "alice"), mustFormula(t, "bob")
	}
	if row.takes.has(KeyShown) {
		a.Shown = mustFormula(t, "carol")
	}
	if row.takes.has(KeyData) {
		a.Data = []byte("data\x00")
	}
	if row.takes.has(KeyTrace) {
		a.Trace = traced
	}
	a.Mode = row.modes
	return a
}

func TestAskRoundTrip(t *testing.T) {
	for op := range asks {
		want := fullAsk(t, op)
		got, err := ParseAsk(op, want.Append(nil, op))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v became %+v, %v", op, want, got, err)
		}
	}
}

// Every operation on labels that is in the table of operations has a row of what
// it takes, and nothing else has.
func TestAsksAreComplete(t *testing.T) {
	for op := OpReply; int(op) < len(Ops); op++ {
		_, has := asks[op]
		if want := op >= OpLabels && op != OpTurns && op != OpEnd && op != OpDial || Ops[op].Opened; has != want {
			t.Errorf("%v: in the table of asks is %t, want %t", op, has, want)
		}
	}
	if last := int(OpDial); last != len(Ops)-1 {
		t.Errorf("the last operation is %d, not %d", len(Ops)-1, last)
	}
}

func TestBadAsks(t *testing.T) {
	l := AppendField(nil, KeyLabel, "alice %% True")
	h := AppendUint(nil, KeyHandle, 1)
	cat := func(bs ...[]byte) []byte { return bytes.Join(bs, nil) }
	for about, c := range map[string]struct {
		op   Op
		body []byte
	}{
		"no label":             {OpSeal, nil},
		"label twice":          {OpSeal, cat(l, l)},
		"label cut short":      {OpSeal, l[:len(l)-1]},
		"not a label":          {OpSeal, AppendField(nil, KeyLabel, "alice %%")},
		"label not UTF-8":      {OpSeal, AppendField(nil, KeyLabel, "\"\xff\" %% True")},
		"label beyond bounds":  {OpSeal, AppendField(nil, KeyLabel, strings.Repeat("a&", 1000)+"b %% "+strings.Repeat("(a|b)&", 9000)+"c")},
		"label very long":      {OpSeal, AppendField(nil, KeyLabel, strings.Repeat(" ", MaxLabel)+"a %% True")},
		"too many clauses":     {OpSeal, AppendField(nil, KeyLabel, clauses(65)+" %% True")},
		"too many products":    {OpSeal, AppendField(nil, KeyLabel, "("+clauses(40)+") | ("+strings.ReplaceAll(clauses(40), "p", "q")+") %% True")},
		"a field of another":   {OpRaise, cat(l, h)},
		"an unknown field":     {OpRaise, cat(l, AppendField(nil, 200, ""))},
		"a mode of another":    {OpRaise, cat(l, AppendUint(nil, KeyMode, uint64(ModeRaise)))},
		"mode of nothing":      {OpRaise, cat(l, AppendUint(nil, KeyMode, 0))},
		"an unknown mode":      {OpRaise, cat(l, AppendUint(nil, KeyMode, 1<<63))},
		"no handle":            {OpUnseal, nil},
		"two handles":          {OpUnseal, cat(h, h)},
		"a handle of 7 bytes":  {OpUnseal, AppendField(nil, KeyHandle, "1234567")},
		"too many handles":     {OpDrop, bytes.Repeat(h, MaxHandles+1)},
		"no mailbox":           {OpPost, AppendField(nil, KeyData, "x")},
		"name and handle":      {OpRecv, cat(h, AppendField(nil, KeyName, "moves"))},
		"two mailboxes":        {OpTake, cat(h, h)},
		"a name that is none":  {OpPost, AppendField(nil, KeyName, "../moves")},
		"a privilege of none":  {OpDelegate, nil},
		"a formula with %%":    {OpDelegate, AppendField(nil, KeyGive, "alice %% True")},
		"fields of another":    {OpLabels, l},
		"fields where no body": {OpNewSeal, l},
		"no such operation":    {OpSpawn, nil},
	} {
		if a, err := ParseAsk(c.op, c.body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", about, a, err)
		}
	}
}

func clauses(n int) string {
	var all []string
	for i := range n {
		all = append(all, "p"+strings.Repeat("x", i))
	}
	return strings.Join(all, " & ")
}

func TestToldRoundTrip(t *testing.T) {
	for _, want := range []Told{
		{},
		{
			Label: mustLabel(t, "alice %% bob"), Clearance: mustLabel(t, "alice %% True"), Owns: mustFormula(t, "alice"),
			Shown: mustFormula(t, "alice | bob"), Handles: []uint64{1, 2}, Caller: &Identity{Service: "x", Principal: "alice"}, Data: []byte("d"),
		},
	} {
		got, err := ParseTold(want.Append(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
	for about, b := range map[string][]byte{
		"unknown":       AppendField(nil, KeyOut, "alice"),
		"twice":         AppendField(AppendField(nil, KeyData, ""), KeyData, ""),
		"no identity":   AppendField(nil, KeyCaller, ""),
		"many handles":  bytes.Repeat(AppendUint(nil, KeyHandle, 1), MaxHandles+1),
		"a false label": AppendField(nil, KeyLabel, "x"),
		"cut short":     {KeyData},
	} {
		if told, err := ParseTold(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", about, told, err)
		}
	}
}

func TestFields(t *testing.T) {
	fields, rest, err := CutFields(append(AppendFields(nil, []byte("abc")), "rest"...))
	if string(fields) != "abc" || string(rest) != "rest" || err != nil {
		t.Errorf("%q, %q, %v", fields, rest, err)
	}
	for _, b := range []string{"", "\x01\x00\x00", "\x01\x00\x00\x00", "\xff\xff\xff\xffx"} {
		if _, _, err := CutFields([]byte(b)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// What is accepted is written back with the same meaning, in bounds.
func FuzzParseAsk(f *testing.F) {
	for op := range asks {
		a := fullAsk(f, op)
		f.Add(uint8(op), a.Append(nil, op))
	}
	f.Fuzz(func(t *testing.T, op uint8, b []byte) {
		a, err := ParseAsk(Op(op), b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := ParseAsk(Op(op), a.Append(nil, Op(op)))
		if err != nil || !reflect.DeepEqual(normal(again), normal(a)) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
		if len(a.Handles) > MaxHandles || len(a.Label.Secrecy().Clauses()) > 64 {
			t.Errorf("beyond its bounds: %+v", a)
		}
	})
}

// normal makes no data and empty data the same.
func normal(a Ask) Ask {
	a.Data = bound(a.Data)
	return a
}

func FuzzParseTold(f *testing.F) {
	told := Told{Label: mustLabel(f, "alice %% bob"), Owns: mustFormula(f, "alice"), Shown: mustFormula(f, "bob"), Handles: []uint64{1}, Caller: &Identity{Service: "x"}, Data: []byte("d"), Trace: traced}
	f.Add(told.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		told, err := ParseTold(b)
		if err != nil {
			return
		}
		again, err := ParseTold(told.Append(nil))
		told.Data = bound(told.Data)
		if err != nil || !reflect.DeepEqual(again, told) {
			t.Errorf("%+v became %+v, %v", told, again, err)
		}
	})
}
