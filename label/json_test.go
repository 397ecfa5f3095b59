package label

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestFormulaJSON(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{`[]`, `[]`},
		{`[[]]`, `[[]]`},
		{`[["b","a","b"],["a","b","c"]]`, `[["a","b"]]`},
		{`[[""]]`, `[[""]]`},
		{`[["\ud83d\ude00"]]`, `[["😀"]]`},
		{`[["\\ud83d"]]`, `[["\\ud83d"]]`}, // a backslash, and letters
		{`[["\u0000\n"]]`, `[["\u0000\n"]]`},
		{`[["�"]]`, `[["�"]]`},
	} {
		var f Formula
		if err := json.Unmarshal([]byte(tt.in), &f); err != nil {
			t.Errorf("%s: %v", tt.in, err)
		}
		if out, err := json.Marshal(f); err != nil || string(out) != tt.out {
			t.Errorf("%s became %s, %v; want %s", tt.in, out, err, tt.out)
		}
	}
	for _, in := range []string{
		`null`, `[null]`, `[[null]]`, `"a"`, `{}`, `[["a"],"b"]`, `[[["a"]]]`, `[[1]]`, `[["a"`, `[["a"]] []`, ``,
		"[[\"\xc5\"]]", `[["\ud83d"]]`, `[["\ude00"]]`, `[["\ud83d\ud83d"]]`, `[["\ud83dx\ude00"]]`, `[["\udE00\uD83d"]]`, `[["\\\ud83d"]]`,
		`[["` + strings.Repeat("n", MaxName+1) + `"]]`,
		`[["` + strings.ReplaceAll(join(MaxNames+1, " "), " ", `","`) + `"]]`,
		`[["` + strings.ReplaceAll(join(MaxClauses+1, " "), " ", `"],["`) + `"]]`,
		`[` + strings.Repeat(" ", MaxText) + `]`,
	} {
		f := MustParseFormula("before")
		if err := f.UnmarshalJSON([]byte(in)); err == nil || f != MustParseFormula("before") {
			t.Errorf("%.60q was read, as %v", in, f)
		}
	}
}

func TestLabelJSON(t *testing.T) {
	l := MustParse(`alice & (b | c) %% False`)
	const want = `{"secrecy":[["alice"],["b","c"]],"integrity":[[]]}`
	if out, err := json.Marshal(l); err != nil || string(out) != want {
		t.Errorf("%s, %v", out, err)
	}
	for _, in := range []string{want, `{"integrity": [[]], "secrecy": [["c","b"],["alice"],["alice","x"]]}`} {
		var again Label
		if err := json.Unmarshal([]byte(in), &again); err != nil || again != l {
			t.Errorf("%s: %v, %v", in, again, err)
		}
	}
	for _, in := range []string{
		`null`, `{}`, `[]`, `"a %% b"`, `{"secrecy":[]}`, `{"integrity":[]}`, `{"secrecy":[],"integrity":null}`,
		`{"secrecy":[],"integrity":[],"secrecy":[["a"]]}`, `{"Secrecy":[],"integrity":[]}`, `{"secrecy":[],"integrity":[],"x":1}`,
		`{"secrecy":[],"integrity":[]}{}`, `{"secrecy":[],"integrity":[]`,
	} {
		l := Top
		if err := l.UnmarshalJSON([]byte(in)); err == nil || l != Top {
			t.Errorf("%s was read, as %v", in, l)
		}
	}
	// As text where JSON wants text.
	if out, err := json.Marshal(map[Label]int{l: 1}); err != nil || string(out) != `{"\"alice\" /\\ (\"b\" \\/ \"c\") %% False":1}` {
		t.Errorf("%s, %v", out, err)
	}
}
