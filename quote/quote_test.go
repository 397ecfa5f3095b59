package quote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestAppend(t *testing.T) {
	for text, want := range map[string]string{
		"":                         `""`,
		"plain":                    `"plain"`,
		`{"a":"\n"}`:               `"{\"a\":\"\\n\"}"`,
		"<&> ä€😀":                  `"<&> ä€😀"`,
		"\x00\t\n\r\x1b[2J\x7f":    `"\u0000\u0009\n\u000d\u001b[2J\u007f"`,
		"\u0085\u009b2J\u00a0":     `"\u0085\u009b2J\u00a0"`,
		"\u2028\u2029\u202e\ufeff": `"\u2028\u2029\u202e\ufeff"`,
		"\U000e0001":               `"\udb40\udc01"`,
		"a\xff\xfeb\xc3":           `"a\ufffd\ufffdb\ufffd"`,
		"\xed\xa0\x80":             `"\ufffd\ufffd\ufffd"`, // half a pair
		"\xe2\x80":                 `"\ufffd\ufffd"`,       // half a separator
	} {
		if got := string(Append(nil, text)); got != want {
			t.Errorf("Append(%q) = %s, want %s", text, got, want)
		}
		if got := string(Append(nil, []byte(text))); got != want {
			t.Errorf("Append(bytes of %q) = %s, want %s", text, got, want)
		}
	}
}

// Whatever was written prints, and is read again as what it was.
func FuzzAppend(f *testing.F) {
	for _, text := range []string{"", `{"msg":"a \"b\""}`, "\x00\x1f\x7f\t\n", "ä\u009b\U0001F600\u2028\U000e0001", "a\xff\xfe\xc3b\xe2\x82", "\xed\xa0\x80\uFFFD", strings.Repeat("\xff", 70)} {
		f.Add(text, 10)
	}
	f.Fuzz(func(t *testing.T, text string, most int) {
		clean := string([]rune(text)) // each byte that is no UTF-8 is U+FFFD
		read := func(what string, line []byte) (got string) {
			for _, r := range string(line) {
				if !unicode.IsPrint(r) {
					t.Fatalf("%s(%q): %q stands in %q as it is", what, text, r, line)
				}
			}
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%s(%q): %q: %v", what, text, line, err)
			}
			return got
		}
		if got := read("Append", Append(nil, text)); got != clean {
			t.Errorf("Append(%q) is read as %q", text, got)
		}
		document, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := read("AppendPrinting", AppendPrinting(nil, document)); got != clean {
			t.Errorf("AppendPrinting(%q) is read as %q", document, got)
		}
		if most < 3 {
			return
		}
		got := read("AppendMost", AppendMost(nil, text, most))
		kept, short := strings.CutSuffix(got, "…")
		switch {
		case len(clean) <= most && got != clean:
			t.Errorf("AppendMost(%q, %d) is read as %q", text, most, got)
		case len(clean) > most && (len(got) > most || len(got) < most-utf8.UTFMax-2 || !short || !strings.HasPrefix(clean, kept)):
			t.Errorf("AppendMost(%q, %d) is read as %q", text, most, got)
		}
	})
}

// A document keeps its form, and means the same.
func TestAppendPrinting(t *testing.T) {
	document, err := json.MarshalIndent(map[string]any{"a\u009b": []any{1.5, nil, "b\u202e\x1b\nc"}}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := AppendPrinting(nil, document)
	if bytes.Count(got, []byte("\n")) != bytes.Count(document, []byte("\n")) {
		t.Errorf("%q became %q", document, got)
	}
	var want, is any
	if err := json.Unmarshal(document, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &is); err != nil || fmt.Sprint(is) != fmt.Sprint(want) {
		t.Errorf("%q became %q, which is %v (%v), want %v", document, got, is, err, want)
	}
}
