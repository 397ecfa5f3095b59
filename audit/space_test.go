package audit

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// While the disk is nearly full nothing is permitted, refusals and ends are still
// recorded, and the log goes on once there is room.
func TestNearlyFull(t *testing.T) {
	free := uint64(reserveBytes)
	l, err := Open(filepath.Join(t.TempDir(), "audit.jsonl"), Options{
		Disk: func() (uint64, uint64) { return free, 100 * reserveBytes },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	denied, start, end := decision, decision, decision
	denied.Verdict = Deny
	start.Kind, start.Verdict = KindStart, ""
	end.Kind, end.Verdict = KindExit, ""
	add := func(r Record, want error) {
		t.Helper()
		if _, err := l.Append(r); !errors.Is(err, want) {
			t.Errorf("%s %s: %v, want %v", r.Kind, r.Verdict, err, want)
		}
	}
	add(decision, nil)
	l.Flush()
	free--
	add(end, nil) // after this one the log knows
	add(decision, ErrFull)
	add(start, ErrFull)
	add(denied, nil)
	add(end, nil)
	free++
	add(decision, nil)
	add(start, nil)

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if text := read(t, l.Path()); strings.Count(text, `"op":"full"`) != 1 || strings.Count(text, "\n") != 9 {
		t.Errorf("the log:\n%s", text)
	}
}

// A small disk is not all reserve, and one that cannot be asked is none.
func TestReserve(t *testing.T) {
	for _, tt := range []struct {
		free, total uint64
		want        bool
	}{
		{reserveBytes, 1 << 40, false},
		{reserveBytes - 1, 1 << 40, true},
		{5 << 20, 100 << 20, false},
		{5<<20 - 1, 100 << 20, true},
		{1, 0, false},
	} {
		l := &Log{disk: func() (uint64, uint64) { return tt.free, tt.total }}
		if got := l.nearlyFull(); got != tt.want {
			t.Errorf("%d of %d bytes free: nearly full %v", tt.free, tt.total, got)
		}
	}
}
