package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cofferdam/supervisor"
)

// A table is as wide as the terminal: columns are dropped in their order, then the last one is
// shortened; and with --wide it is whole.
func TestTableFits(t *testing.T) {
	table := func() [][]string {
		return [][]string{
			{"SERVICE", "PID", "CPU", "NOTE"},
			{"bank", "123456", "1m0.123s", "egress: www.example.com:443; the last one: it was killed"},
		}
	}
	for _, tt := range []struct {
		width int
		wide  bool
		want  string
	}{
		{200, false, "SERVICE PID CPU NOTE"},
		{60, false, "SERVICE PID CPU NOTE"},
		{46, false, "SERVICE CPU NOTE"},
		{35, false, "SERVICE NOTE"},
		{35, true, "SERVICE PID CPU NOTE"},
	} {
		t.Run(fmt.Sprint(tt.width, tt.wide), func(t *testing.T) {
			f := format{width: tt.width, wide: tt.wide, drop: []string{"PID", "CPU"}}
			got := f.fit(table())
			if head := strings.Join(got[0], " "); head != tt.want {
				t.Errorf("the columns are %s, want %s", head, tt.want)
			}
			width := -columnGap
			for i := range got[0] {
				width += columnGap + max(len([]rune(got[0][i])), len([]rune(got[1][i])))
			}
			if whole := slices.Equal(got[1], table()[1]); width > tt.width && !tt.wide || whole != (tt.wide || tt.width == 200) {
				t.Errorf("it is %d wide: %q", width, got)
			}
		})
	}
}

// Who waits is shown where he stands, and whatever he calls himself on one line.
func TestTurnsTable(t *testing.T) {
	if got := turnsTable(nil, 80); got != "" {
		t.Errorf("of nobody: %q", got)
	}
	waiting := []supervisor.Status{
		{Service: "server", Principal: "al\nice\x1b[2J", Detail: "number 1 of 2 in the queue for one of 1 places"},
		{Service: "view", Detail: "number 2 of 2 in the queue for the budget"},
	}
	got := turnsTable(waiting, 80)
	want := "\nWAITS FOR  WHO                   PLACE\nserver     al\\u000aice\\u001b[2J  number 1 of 2 in the queue for one of 1 places\n" +
		"view       -                     number 2 of 2 in the queue for the budget\n"
	if got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	if got := turnsTable(slices.Repeat(waiting, 20), 40); !strings.HasSuffix(got, "\nand 20 more\n") || strings.Contains(got, "the queue for one") {
		t.Errorf("of many, on a narrow terminal:\n%s", got)
	}
}
