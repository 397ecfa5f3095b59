package cofferdam_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cofferdam/executor/executortest"
)

// TestClaims holds docs/SECURITY.md against the tests: each row of a table whose last
// column is "tested by" names at least one, and whatever it names, a test or a case of the suite, exists.
func TestClaims(t *testing.T) {
	text, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	for _, c := range executortest.Cases() {
		tests = append(tests, c.Name)
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+|[a-z]+/[a-z0-9-]+)`")
	claims, inTable := 0, false
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 4 {
			inTable = false
			continue
		}
		last := strings.TrimSpace(cells[len(cells)-2])
		switch {
		case last == "tested by":
			inTable = true
		case !inTable || strings.HasPrefix(last, "---"):
		default:
			claims++
			named := name.FindAllStringSubmatch(last, -1)
			if len(named) == 0 {
				t.Errorf("docs/SECURITY.md: the claim %q names no test", strings.TrimSpace(cells[1]))
			}
			for _, n := range named {
				if !slices.Contains(tests, n[1]) {
					t.Errorf("docs/SECURITY.md: the claim %q names %s, which does not exist", strings.TrimSpace(cells[1]), n[1])
				}
			}
		}
	}
	if claims < 20 {
		t.Errorf("docs/SECURITY.md makes %d claims that name a test; has its form changed?", claims)
	}
}

// testNames are the tests and fuzz targets of all packages.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	walkGo(t, func(file string) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	})
	return names
}
