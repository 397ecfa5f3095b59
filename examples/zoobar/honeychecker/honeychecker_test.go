package honeychecker_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/honeychecker"
	"cofferdam/examples/zoobar/zoobartest"
)

func TestCheck(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "index.db"), honeychecker.Schema)
	h := honeychecker.New(db, func() time.Time { return time.Unix(1000, 0) })
	if err := h.Set(t.Context(), calls.Sugar{Username: "alice", Position: 7}); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(t.Context(), calls.Sugar{Username: "bob", Position: 7}); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(t.Context(), calls.Sugar{Username: "bob", Position: 3}); err != nil {
		t.Fatal(err)
	}
	alarms := 0
	for _, tt := range []struct {
		user     string
		position int
		want     bool
	}{
		{"alice", 7, true}, {"alice", 8, false}, {"bob", 3, true}, {"bob", 7, false}, {"carol", 0, false}, {"alice", 7, true},
	} {
		got, err := h.Check(t.Context(), calls.Sugar{Username: tt.user, Position: tt.position})
		if got != tt.want || err != nil {
			t.Errorf("Check(%s, %d) = %v, %v, want %v", tt.user, tt.position, got, err, tt.want)
		}
		if !tt.want {
			alarms++
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM alarm WHERE time = 1000`).Scan(&n); err != nil || n != alarms {
			t.Errorf("%d alarms, %v, want %d", n, err, alarms)
		}
	}
}

func TestRefusals(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "index.db"), honeychecker.Schema)
	h := honeychecker.New(db, time.Now)
	for _, s := range []calls.Sugar{
		{Username: "", Position: 1}, {Username: "a\nb", Position: 1}, {Username: strings.Repeat("a", 1000), Position: 1},
		{Username: "alice", Position: -1}, {Username: "alice", Position: honeychecker.MaxPosition},
	} {
		if err := h.Set(t.Context(), s); err == nil {
			t.Errorf("Set(%.20q, %d) is taken", s.Username, s.Position)
		}
		if ok, err := h.Check(t.Context(), s); ok || err == nil {
			t.Errorf("Check(%.20q, %d) = %v, %v", s.Username, s.Position, ok, err)
		}
	}
	var n int
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM alarm) + (SELECT count(*) FROM sugar)`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows of what was refused, %v", n, err)
	}
}
