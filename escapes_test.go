package cofferdam_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cofferdam/executor/executortest"
)

// TestEscapes holds docs/ESCAPES.md against the code: what a row names exists, a row
// without a name says why, and no case of the suite is left out.
func TestEscapes(t *testing.T) {
	text, err := os.ReadFile("docs/ESCAPES.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	cases := map[string]bool{}
	for _, c := range executortest.Cases() {
		cases[c.Name] = false
		if _, test, _ := strings.Cut(c.Audited, "."); c.Audited != "" && !slices.Contains(tests, test) {
			t.Errorf("case %s says that %s asserts its audit record, which does not exist", c.Name, c.Audited)
		}
	}
	name := regexp.MustCompile("`([a-z]+/[a-z0-9-]+|(?:Test|Fuzz)[A-Za-z0-9]+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "---") || cells[2] == " what happened " || cells[2] == " what it tells " {
			continue
		}
		rows++
		last := strings.TrimSpace(cells[3])
		named := name.FindAllStringSubmatch(last, -1)
		if len(named) == 0 && (!strings.HasPrefix(last, "– ") || len(last) < 12) {
			t.Errorf("docs/ESCAPES.md: row %q names nothing that tries it, and does not say why", cells[1])
		}
		for _, n := range named {
			_, isCase := cases[n[1]]
			if !isCase && !slices.Contains(tests, n[1]) {
				t.Errorf("docs/ESCAPES.md: row %q names %s, which does not exist", cells[1], n[1])
			}
			if isCase {
				cases[n[1]] = true
			}
		}
	}
	if rows < 80 {
		t.Errorf("docs/ESCAPES.md has %d rows; has its form changed?", rows)
	}
	for c, named := range cases {
		if !named {
			t.Errorf("docs/ESCAPES.md does not name the case %s", c)
		}
	}
}
