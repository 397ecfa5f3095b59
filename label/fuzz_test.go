package label

import (
	"encoding/json"
	"strings"
	"testing"
)

var seeds = []string{
	`True`, `False`, `alice`, `"a" /\ ("b" \/ "c")`, `(a & b) | (c & d)`, `a & (b | (c & (d | e)))`, `"\SO\&H\200\&1"`, `"Ł\197\129"`, `a %% b`, `True %% False`, `(((`,
}

// FuzzParseFormula: what is accepted has one text, which is read again as the same,
// and every formula is within the bounds.
func FuzzParseFormula(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseFormula(s)
		if err != nil {
			return
		}
		if again, err := ParseFormula(g.String()); err != nil || again != g {
			t.Errorf("ParseFormula(%q) = %v, which parses as %v, %v", s, g, again, err)
		}
		clauses := g.Clauses()
		if again, err := NewFormula(clauses...); err != nil || again != g {
			t.Errorf("ParseFormula(%q) = %v, whose clauses are %v, %v", s, g, again, err)
		}
		for _, c := range clauses {
			if len(c) > MaxNames || len(clauses) > MaxClauses {
				t.Errorf("ParseFormula(%q) = %v, which is over the bounds", s, g)
			}
		}
		// More parentheses, and the other spelling, say the same.
		if again, err := ParseFormula("(" + s + ")"); err == nil && again != g {
			t.Errorf("(%s) = %v, want %v", s, again, g)
		}
		if !strings.Contains(s, `"`) {
			other := strings.NewReplacer(`/\`, " & ", `\/`, " | ", "&", ` /\ `, "|", ` \/ `).Replace(s)
			if again, err := ParseFormula(other); err != nil || again != g {
				t.Errorf("%q = %v, %v; want %v", other, again, err, g)
			}
		}
	})
}

// FuzzParse: a label is two formulas, whatever stands in their names.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s+" %% "+s, s)
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, u string) {
		if l, err := Parse(s); err == nil {
			if again, err := Parse(l.String()); err != nil || again != l {
				t.Errorf("Parse(%q) = %v, which parses as %v, %v", s, l, again, err)
			}
			if !l.FlowsTo(l) || !Bottom.FlowsTo(l) || !l.FlowsTo(Top) {
				t.Errorf("Parse(%q) = %v, which is no label", s, l)
			}
		}
		secrecy, err := ParseFormula(s)
		integrity, also := ParseFormula(u)
		l, both := Parse(s + "%%" + u)
		if err == nil && also == nil && (both != nil || l != New(secrecy, integrity)) {
			t.Errorf("Parse(%q %%%% %q) = %v, %v; want %v %%%% %v", s, u, l, both, secrecy, integrity)
		}
	})
}

// FuzzJSON: what is accepted is written as one JSON, which is read again as the
// same; and nothing is read that another reader would take for something else.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`[]`, `[[]]`, `[["a"],["b","c"]]`, `{"secrecy":[["a"]],"integrity":[]}`, `[["\ud83d\ude00"]]`, `[["\ud83d"]]`, `null`, `[null]`, "[[\"\xc5\"]]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var g Formula
		if json.Unmarshal(data, &g) == nil {
			var again Formula
			out := must(json.Marshal(g))
			if err := json.Unmarshal(out, &again); err != nil || again != g {
				t.Errorf("%q was read as %v, written as %s, and read as %v, %v", data, g, out, again, err)
			}
			var plain [][]string
			if err := json.Unmarshal(data, &plain); err != nil || must(NewFormula(plain...)) != g {
				t.Errorf("%q was read as %v, and is %q, %v", data, g, plain, err)
			}
		}
		var l Label
		if json.Unmarshal(data, &l) == nil {
			var again Label
			out := must(json.Marshal(l))
			if err := json.Unmarshal(out, &again); err != nil || again != l {
				t.Errorf("%q was read as %v, written as %s, and read as %v, %v", data, l, out, again, err)
			}
		}
	})
}
