package label

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// vector is a line of testdata/dclabel.jsonl.gz.
type vector struct {
	ID, Kind string
	L1, L2   rawLabel
	P, Q     [][]string
	Want     struct {
		L1, L2, Lub, Glb, DowngradeP wantLabel
		P, Q, PAndQ, POrQ            wantFormula
		CanFlowTo, CanFlowToRev, Eq  bool
		CanFlowToP, CanFlowToPRev    bool
		SpeaksFor, SpeaksForRev      bool
	}
}

type rawLabel struct{ S, I [][]string }

type wantLabel struct {
	S, I [][]string
	Text string
}

type wantFormula struct {
	CNF  [][]string
	Text string
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	f, err := os.Open("testdata/dclabel.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil || len(all) != 2000 {
		t.Fatalf("%d vectors, %v", len(all), err)
	}
	return all
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		formula := func(raw [][]string) Formula {
			t.Helper()
			return must(NewFormula(raw...))
		}
		isFormula := func(what string, got Formula, want wantFormula) {
			t.Helper()
			if !reflect.DeepEqual(got.Clauses(), want.CNF) || got.String() != want.Text {
				t.Errorf("%s: %s = %v, want %s", v.ID, what, got, want.Text)
			}
			if again, err := ParseFormula(want.Text); err != nil || again != got {
				t.Errorf("%s: ParseFormula(%s) = %v, %v", v.ID, want.Text, again, err)
			}
		}
		isLabel := func(what string, got Label, want wantLabel) {
			t.Helper()
			isFormula(what, got.Secrecy(), wantFormula{want.S, formula(want.S).String()})
			isFormula(what, got.Integrity(), wantFormula{want.I, formula(want.I).String()})
			if got.String() != want.Text {
				t.Errorf("%s: %s = %v, want %s", v.ID, what, got, want.Text)
			}
			if again, err := Parse(want.Text); err != nil || again != got {
				t.Errorf("%s: Parse(%s) = %v, %v", v.ID, want.Text, again, err)
			}
		}
		is := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s = %v", v.ID, what, got)
			}
		}
		l, m := New(formula(v.L1.S), formula(v.L1.I)), New(formula(v.L2.S), formula(v.L2.I))
		p, q := formula(v.P), formula(v.Q)
		isLabel("l1", l, v.Want.L1)
		isLabel("l2", m, v.Want.L2)
		isFormula("p", p, v.Want.P)
		isFormula("q", q, v.Want.Q)
		isLabel("join", must(l.Join(m)), v.Want.Lub)
		isLabel("meet", must(l.Meet(m)), v.Want.Glb)
		isLabel("downgrade", l.Downgrade(p), v.Want.DowngradeP)
		isFormula("and", p.And(q), v.Want.PAndQ)
		isFormula("or", must(p.Or(q)), v.Want.POrQ)
		for range 2 { // the second time it may be remembered
			is("l1 flows to l2", l.FlowsTo(m), v.Want.CanFlowTo)
			is("l2 flows to l1", m.FlowsTo(l), v.Want.CanFlowToRev)
			is("l1 flows to l2 with p", l.FlowsToWith(p, m), v.Want.CanFlowToP)
			is("l2 flows to l1 with p", m.FlowsToWith(p, l), v.Want.CanFlowToPRev)
			is("p speaks for q", p.Implies(q), v.Want.SpeaksFor)
			is("q speaks for p", q.Implies(p), v.Want.SpeaksForRev)
		}
		is("l1 == l2", l == m, v.Want.Eq)
	}
}
