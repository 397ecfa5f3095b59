package cofferdam_test

import (
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTrustedLines holds what docs/SECURITY.md says of how much has to be trusted against a
// count: each figure to a twentieth, so that it is set anew when it matters.
func TestTrustedLines(t *testing.T) {
	out, err := exec.Command("scripts/count").Output()
	if err != nil {
		t.Fatal(err)
	}
	var counted []int
	for line := range strings.Lines(string(out)) {
		n, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatalf("scripts/count says %q", line)
		}
		counted = append(counted, n)
	}
	text, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## How much has to be trusted\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var said []int
	for _, m := range regexp.MustCompile(`(?m)^\|.*\| ([0-9,]+) \|$`).FindAllStringSubmatch(section, -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, n)
	}
	near := func(a, b int) bool { return math.Abs(float64(a-b)) <= float64(b)/20 }
	if len(said) < 3 || len(said) > len(counted) || !slices.EqualFunc(said, counted[:len(said)], near) {
		t.Errorf("docs/SECURITY.md says %d lines have to be trusted; scripts/count says %d", said, counted)
	}
}
