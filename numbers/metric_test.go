package numbers

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table of docs/METRICS.md")

const page = "../docs/METRICS.md"

// table is what docs/METRICS.md says between its two marks.
func table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| metric | kind | labels | what it says |\n|---|---|---|---|\n")
	for _, m := range Metrics() {
		labels := "–"
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	return b.String()
}

// TestPage holds the table of the document against the code.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "<!-- metrics -->\n")
	old, after, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok || !ok2 {
		t.Fatalf("%s lacks its marks", page)
	}
	if old == table() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the code says; go test ./numbers -update", page)
	}
	if err := os.WriteFile(page, []byte(before+"<!-- metrics -->\n"+table()+"<!-- end -->"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// everything is a snapshot in which each metric has a value.
func everything() *Snapshot {
	var h Histogram
	h.Observe(3 * time.Millisecond)
	one := map[string]uint64{"word": 1}
	return &Snapshot{
		Version: "v1", Uptime: time.Second, Records: 1, Conns: 1,
		Budget:    Waiting{1, h.Copy()},
		Traces:    Traces{1, 1},
		Mailboxes: []Mailbox{{"news", 1, 1, 1, 1}},
		Services: []Service{{
			Name: "bank", States: map[string]int{"ready": 1}, Starts: 1, Exits: one, Restarts: one, Denials: one, Limits: one,
			CPU: time.Second, MemoryBytes: 1, MemoryLimit: 1, Pids: 1, OutputBytes: 1, MountRefs: 1,
			Decisions: []Decision{{"call", 1, 1}},
			Links:     []Link{{"db:5432", 1, 1, 1, 1}},
			Methods:   []Method{{Name: "give", Ended: one, Running: 1, Queued: 1, Waits: h.Copy(), Duration: h.Copy(), InBytes: 1, OutBytes: 1}},
			Places:    Waiting{1, h.Copy()},
		}},
	}
}

// TestNames: every metric follows the conventions of Prometheus, has a value where there
// is one, and names nothing of which a program could make many.
func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	name := regexp.MustCompile(`^cofferdam_[a-z]+(_[a-z]+)*$`)
	for _, m := range Metrics() {
		if seen[m.Name] || !name.MatchString(m.Name) || !strings.HasSuffix(m.Help, ".") {
			t.Errorf("%s: stands twice, or is not named or explained as the others are", m.Name)
		}
		seen[m.Name] = true
		if strings.HasSuffix(m.Name, "_total") != (m.Kind == KindCounter) || m.Kind == KindHistogram && !strings.HasSuffix(m.Name, "_seconds") {
			t.Errorf("%s: not the name of a %s", m.Name, m.Kind)
		}
		for _, l := range m.Labels {
			if slices.Contains([]string{"pid", "path", "principal", "instance"}, l) {
				t.Errorf("%s: a label %q has as many values as programs make", m.Name, l)
			}
		}
		n := 0
		for s := range m.Samples(everything()) {
			n++
			if len(s.Labels) != len(m.Labels) {
				t.Errorf("%s: values %q for labels %q", m.Name, s.Labels, m.Labels)
			}
			if s.Value == 0 && s.Histogram.Count() == 0 {
				t.Errorf("%s%q: 0 of what is not", m.Name, s.Labels)
			}
		}
		if n == 0 {
			t.Errorf("%s: no value", m.Name)
		}
		for range m.Samples(everything()) {
			break // who stops early is asked no more
		}
	}
}
