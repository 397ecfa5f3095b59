package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cofferdam/bench/own"
)

// TestMain makes the test binary play the programs inside, as the command does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == own.PlayRole {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestEveryScenario runs the whole harness in its smallest form: nothing is timed, but
// every answer is compared, of ours and of each peer that is there.
func TestEveryScenario(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "../cmd/cofferdam")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary = filepath.Join(dir, "cofferdam")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	found := report{Machine: thisMachine()}
	for _, sc := range scenarios() {
		if sc.asked || strings.HasPrefix(sc.name, "memory") { // one takes the built example, one the machine
			continue
		}
		r, err := sc.run(settings{rounds: 1, count: 2})
		if err != nil {
			t.Errorf("%s: %v", sc.name, err)
			continue
		}
		if len(r.Entries) != len(sc.contestants) {
			t.Errorf("%s: %d entries of %d contestants", sc.name, len(r.Entries), len(sc.contestants))
		}
		for _, e := range r.Entries {
			switch {
			case e.Missing == "" && e.Median <= 0:
				t.Errorf("%s: %s has neither a figure nor a reason why not", sc.name, e.Name)
			case e.Missing != "" && strings.HasPrefix(e.Name, "cofferdam"):
				t.Errorf("%s: ours is missing: %s", sc.name, e.Missing)
			case e.Missing != "" && !strings.Contains(e.Missing, "not installed"):
				t.Errorf("%s: %s is missing: %q", sc.name, e.Name, e.Missing)
			}
		}
		found.Scenarios = append(found.Scenarios, r)
	}
	for _, w := range sweeps() {
		w.at = w.at[:1] // the others differ in size alone
		c, err := w.run(settings{rounds: 1, count: 2})
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		if len(c.Lines) == 0 || c.Lines[0].Name != "cofferdam" {
			t.Errorf("%s: the curve has no line of ours first: %+v", w.name, c.Lines)
		}
		found.Curves = append(found.Curves, c)
	}
	var out bytes.Buffer
	for _, format := range []string{"table", "json", "jsonl"} {
		print, err := printerOf(format)
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := print(&out, found); err != nil {
			t.Errorf("--format %s: %v", format, err)
		}
		if format == "json" {
			var again report
			if err := json.Unmarshal(out.Bytes(), &again); err != nil || len(again.Scenarios) != len(found.Scenarios) {
				t.Errorf("--format json reads back as %d scenarios, %v", len(again.Scenarios), err)
			}
		}
	}
}

// TestPairsAreContestants: a ratio to nobody would silently not be told.
func TestPairsAreContestants(t *testing.T) {
	names := make(map[string]bool)
	for _, sc := range scenarios() {
		if names[sc.name] {
			t.Errorf("two scenarios are called %q", sc.name)
		}
		names[sc.name] = true
		for _, p := range sc.ratios {
			for _, name := range []string{p.of, p.to} {
				if !slices.ContainsFunc(sc.contestants, func(c contestant) bool { return c.name == name }) {
					t.Errorf("%s: a ratio names %q, who does not take part", sc.name, name)
				}
			}
		}
	}
}

// fixed is a contestant that finds the same each time.
func fixed(name string, value float64) contestant {
	return contestant{name: name, open: func() (runner, error) {
		return runner{run: func(int) (own.Reading, error) {
			return own.Reading{Value: value, Samples: []float64{value, value * 3}}, nil
		}}, nil
	}}
}

// TestTargets: a ratio is ours divided by the peer's, whichever way is better, and a
// peer that is missing has none.
func TestTargets(t *testing.T) {
	gone := contestant{name: "gone", open: func() (runner, error) { return runner{}, found("no-such-program") }}
	r, err := scenario{
		name: "x", rounds: 2, count: 1,
		contestants: []contestant{fixed("a", 1), fixed("b", 2), gone},
		ratios: []pair{
			{of: "a", to: "b", most: 0.5}, {of: "a", to: "b", most: 0.4}, {of: "b", to: "a", least: 2}, {of: "b", to: "a", least: 2.1},
			{of: "b", to: "a", p99: true}, {of: "a", to: "gone", most: 1},
		},
	}.run(settings{})
	if err != nil {
		t.Fatal(err)
	}
	want := []ratio{
		{Of: "a", To: "b", Ratio: 0.5, Low: 0.5, High: 0.5, Most: 0.5, Met: true},
		{Of: "a", To: "b", Ratio: 0.5, Low: 0.5, High: 0.5, Most: 0.4},
		{Of: "b", To: "a", Ratio: 2, Low: 2, High: 2, Least: 2, Met: true},
		{Of: "b", To: "a", Ratio: 2, Low: 2, High: 2, Least: 2.1},
		{Of: "b", To: "a", P99: true, Ratio: 2, Low: 2, High: 2, Met: true},
	}
	if !slices.Equal(r.Ratios, want) {
		t.Errorf("ratios are\n%+v, want\n%+v", r.Ratios, want)
	}
	if got := r.entry("gone").Missing; got != "not installed (no-such-program)" {
		t.Errorf("who is missing is told as %q", got)
	}
}

// TestWrongAnswer: what is fast and wrong has no figure.
func TestWrongAnswer(t *testing.T) {
	if err := execute("42\n", "/bin/echo", "41"); err == nil {
		t.Error("execute takes 41 for 42")
	}
	wrong := checks("wrong", "", func(*labelled) bool { return true })
	r, err := wrong.open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.run(1); err == nil {
		t.Errorf("labels that all flow have the figure %v", got.Value)
	}
}

// TestWrite: what is measured again takes the place of what there was, on the same
// machine, and the page keeps what others wrote.
func TestWrite(t *testing.T) {
	docs := t.TempDir()
	page := filepath.Join(docs, "BENCHMARKS.md")
	if err := os.WriteFile(page, []byte("before\n"+tablesBegin+"outdated\n"+tablesEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	one := func(cpu, name string, median float64) report {
		r := report{Scenarios: []result{{Name: name, Entries: []entry{{Name: "cofferdam", Median: median}}}}}
		r.Machine.CPU = cpu
		return r
	}
	for _, r := range []report{one("x", "call", 1), one("x", "start-cold", 2), one("x", "call", 3)} {
		if err := write(docs, r); err != nil {
			t.Fatal(err)
		}
	}
	medians := func() (all []string) {
		text, err := os.ReadFile(filepath.Join(docs, "benchmarks", "latest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Scenarios {
			all = append(all, fmt.Sprint(s.Name, " ", s.Entries[0].Median))
		}
		return all
	}
	if got, want := medians(), []string{"start-cold 2", "call 3"}; !slices.Equal(got, want) {
		t.Errorf("latest.json has %q, want %q", got, want)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); !strings.HasPrefix(s, "before\n"+tablesBegin) || !strings.HasSuffix(s, tablesEnd+"after\n") || strings.Contains(s, "outdated") {
		t.Errorf("the page is\n%s", s)
	}
	if err := write(docs, one("y", "call", 4)); err != nil {
		t.Fatal(err)
	}
	if got, want := medians(), []string{"call 4"}; !slices.Equal(got, want) {
		t.Errorf("after another machine latest.json has %q, want %q", got, want)
	}
}
