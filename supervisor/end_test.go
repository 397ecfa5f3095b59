package supervisor_test

import (
	"slices"
	"testing"

	"cofferdam/audit"
)

// The audit record of an end has the cause, the limit with the key to change, and
// what was used.
func TestEndIsRecorded(t *testing.T) {
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: long}, {spawn: flood}, {spawn: full}, {spawn: fails}]}
  long: {{program}deaf], template: true, limits: {wall: 200ms}}
  flood: {{program}flood], template: true, limits: {output: 4K, wall: 10s}}
  full: {{program}fill], template: true, volumes: [{name: 'v-{principal}', to: /data, size: 1M}], limits: {wall: 20s}}
  fails: {{program}exit, '3'], template: true}
`)
	for _, template := range []string{"long", "flood", "full", "fails"} {
		a.exec("host", "spawn", template, "x")
	}
	ends := map[string]audit.Record{}
	if err := audit.Scan(a.dirs.State, func(r audit.Record) error {
		if r.Kind == audit.KindExit {
			ends[r.Subject] = r
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		template, cause, limit, key string
		codes                       []int
	}{
		{"long", "wall", "200ms", "limits.wall", []int{137}},
		{"flood", "output", "4KiB", "limits.output", []int{137}},
		{"full", "disk", "1MiB", "volumes.size", []int{1, 137}},
		{"fails", "exit", "", "", []int{3}},
	} {
		r := ends[tt.template]
		if r.Object != tt.cause || r.End == nil || r.End.Limit != tt.limit || r.End.Key != tt.key || !slices.Contains(tt.codes, r.End.Code) || r.End.WallNS <= 0 {
			t.Errorf("%s: %+v with %+v, want %+v", tt.template, r, r.End, tt)
		}
	}
}
