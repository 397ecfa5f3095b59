package protocol_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	. "cofferdam/examples/isabelle/protocol"
)

// TestValue: "" is refused.
func TestValue(t *testing.T) {
	deep := strings.Repeat("[", 32) + strings.Repeat("]", 32)
	for _, tt := range []struct{ in, want string }{
		{`1`, `1`}, {`-0`, `0`}, {`1.0`, `1`}, {`1.5`, `1.5`}, {`1e3`, `1000`}, {`1E-2`, `0.01`}, {`123456789012345`, `123456789012345`},
		{`1e999`, ``}, {`01`, ``}, {`1.`, ``}, {`.5`, ``}, {`+1`, ``}, {`-`, ``}, {`1e`, ``}, {`NaN`, ``}, {`0x10`, ``},
		{`true`, `true`}, {`false`, `false`}, {`null`, `null`}, {`True`, ``}, {`nul`, ``},
		{`[]`, `[]`}, {` [ 1 , "a" ] `, `[1,"a"]`}, {`[1,]`, ``}, {`[,1]`, ``}, {`[1 2]`, ``}, {`[`, ``}, {`]`, ``}, {deep, deep}, {`[` + deep + `]`, ``},
		{`{}`, `{}`}, {`{"b":1,"a":{}}`, `{"b":1,"a":{}}`}, {`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`}, {`{"a":1,}`, ``}, {`{a:1}`, ``}, {`{"a" 1}`, ``}, {`{"a"}`, ``}, {`{`, ``}, {`{1:1}`, ``},
		{`1 1`, ``}, {`{}{}`, ``}, {`// no`, ``}, {`1 // no`, ``}, {`'a'`, ``}, {"\ufeff1", ``}, {"\u00a01", ``},
		{`"é∀😀"`, `"é∀😀"`}, {`"\u00e9\u2200\ud83d\ude00"`, `"é∀😀"`}, {`"\/\"\\\b\f\n\r\t\u0000\u001F"`, `"/\"\\\b\f\n\r\t\u0000\u001f"`},
		{"\"\u007f\u0080\u009f\u00a0\"", `"\u007f\u0080\u009f` + "\u00a0" + `"`}, {`"<&>\u2028"`, "\"<&>\u2028\""},
		{`"\ud800"`, `"` + "\ufffd" + `"`}, {`"\ud800\u0041"`, `"` + "\ufffd" + `A"`}, {`"\udc00\ud800"`, `"` + "\ufffd\ufffd" + `"`}, {"\"\ufffd\"", "\"\ufffd\""},
		{`"`, ``}, {`"\"`, ``}, {`"\x"`, ``}, {`"\u12"`, ``}, {`"\u12g4"`, ``}, {"\"\x1f\"", ``}, {"\"a\nb\"", ``}, {"\"\xff\"", ``}, {"\"a", ``}, {`"\u`, ``},
		{"\x05\x06a\x05\x05\x06\x05", "\x05\x06a\x05\x05\x06\x05"}, {"\x05\x06a\x06k=v\x05text\x05\x06b\x05\x05\x06\x05\x05\x06\x05", "\x05\x06a\x06k=v\x05text\x05\x06b\x05\x05\x06\x05\x05\x06\x05"},
		{"\x05\x06a\x05", ``}, {"\x05\x06\x05", ``}, {"\x05\x06a\x06v\x05\x05\x06\x05", ``}, {"\x05\x06a\x05\x05\x06\x05rest", ``}, {"\x05\x06a\x05\x05\x06\x05\x05\x06a\x05\x05\x06\x05", ``},
	} {
		v, err := (Message{"echo", tt.in}).Value(Bounds{})
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("Value of %q: %v, want an error", tt.in, v)
		case tt.want != "" && (err != nil || string(Encode(nil, v)) != tt.want):
			t.Errorf("Value of %q: %q, %v; want %q", tt.in, Encode(nil, v), err, tt.want)
		}
	}
	if v, err := (Message{"echo", ""}).Value(Bounds{}); v != (Unit{}) || err != nil {
		t.Errorf("Value of nothing: %v, %v", v, err)
	}
	if _, err := ParseJSON("["+strings.Repeat("0,", 1000)+"0]", Bounds{Values: 1000}); err == nil {
		t.Error("1002 values pass a bound of 1000")
	}
	if got, want := string(Encode(nil, "\xff\"a")), "\"\ufffd\\\"a\""; got != want {
		t.Errorf("Encode: %q, want %q", got, want)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, name, argument string }{
		{"", "", ""}, {"help", "help", ""}, {"help ", "help", ""}, {"echo 1", "echo", "1"}, {"echo{}", "echo", "{}"}, {"echo \t\v\f\r\n[ 1 ] ", "echo", "[ 1 ] "},
		{"a.b_9-x", "a.b_9", "-x"}, {" help", "", "help"}, {"é", "", "é"}, {"echo\u00a01", "echo", "\u00a01"}, {"17", "17", ""}, {"\x05\x06a", "", "\x05\x06a"},
	} {
		if m := Parse([]byte(tt.in)); m != (Message{tt.name, tt.argument}) {
			t.Errorf("Parse(%q) = %+v", tt.in, m)
		}
	}
}

// FuzzJSON holds the parser against the one of the standard library, which
// takes the same but for what is not UTF-8, depth, and numbers that it rounds
// to infinity.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"\u00e9\ud83d\ude00\n"],"b":null,"a":true}`, `[]`, `"\ud800x"`, `-0.0`, `[[[]]]`, ` 1 `, "\"\x7f\u0085\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseJSON(s, Bounds{Depth: 1000})
		var want any
		wantErr := json.Unmarshal([]byte(s), &want)
		if (err == nil) != (wantErr == nil && utf8.ValidString(s)) && strings.Count(s, "[")+strings.Count(s, "{") < 1000 {
			t.Fatalf("ParseJSON(%q): %v, json: %v", s, err, wantErr)
		}
		if err != nil {
			return
		}
		if got := plain(v); !reflect.DeepEqual(got, want) {
			t.Fatalf("ParseJSON(%q) = %#v, json: %#v", s, got, want)
		}
		text := Encode(nil, v)
		again, err := ParseJSON(string(text), Bounds{Depth: 1000})
		if err != nil || !bytes.Equal(Encode(nil, again), text) {
			t.Fatalf("ParseJSON(%q) is printed as %q, and read as %v, %v", s, text, again, err)
		}
		for _, c := range text {
			if c < ' ' || c == 0x7f {
				t.Fatalf("%q is printed with a control character", s)
			}
		}
	})
}

// plain is v as the standard library has it.
func plain(v any) any {
	switch v := v.(type) {
	case Object:
		m := map[string]any{}
		for _, f := range v {
			m[f.Name] = plain(f.Value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return v
}

// FuzzMessage: no message makes it panic, and what is understood is understood
// in the same way when it is sent on.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		`help`, `echo {"a":1}`, `cancel {"task":"` + task + `"}`, `session_start {"session":"HOL","dirs":["/a"],"options":["a=b"],"print_mode":[]}`,
		`use_theories {"session_id":"` + session + `","theories":["A"],"master_dir":"/a","check_delay":null,"check_limit":2.5,"pretty_margin":80}`,
		`purge_theories {"session_id":"` + session + `","all":true}`, "echo \x05\x06a\x05\x05\x06\x05",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := Parse(b)
		v, err := m.Value(Bounds{})
		if err != nil {
			return
		}
		a, ok := m.Arguments(v)
		if !ok {
			return
		}
		if o, is := a.(interface{ Object() Object }); is {
			v = o.Object()
		}
		sent := Parse(Message{m.Name, string(Encode(nil, v))}.Bytes())
		again, err := sent.Value(Bounds{})
		if err != nil {
			t.Fatalf("%q is sent as %+v: %v", b, sent, err)
		}
		if b, ok := sent.Arguments(again); !ok || !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v is sent as %+v, understood as %+v", a, sent, b)
		}
	})
}
