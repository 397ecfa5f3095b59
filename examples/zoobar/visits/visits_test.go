package visits_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/visits"
	"cofferdam/examples/zoobar/zoobartest"
)

func service(t *testing.T) (*zoobartest.Monitor, *sql.DB) {
	t.Helper()
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "visits.db"), visits.Schema)
	var clock int64
	m := zoobartest.NewMonitor()
	m.Serve("visits", visits.New(db, func() time.Time { clock++; return time.Unix(clock, 0) }).Methods())
	return m, db
}

func note(t *testing.T, m *zoobartest.Monitor, visitor, owner string) {
	t.Helper()
	if err := m.As("profile").CallJSON(t.Context(), calls.VisitsNote, calls.Visit{Owner: owner, Visitor: visitor}, nil); err != nil {
		t.Fatalf("note that %s visits %s: %v", visitor, owner, err)
	}
}

func share(t *testing.T, m *zoobartest.Monitor, owner string, on bool) {
	t.Helper()
	if err := m.AsSandbox(calls.Bound{Owner: owner, Visitor: "x"}).CallJSON(t.Context(), calls.VisitsShare, calls.Sharing{On: on}, nil); err != nil {
		t.Fatalf("share(%s, %v): %v", owner, on, err)
	}
}

// seen is what a profile of owner sees, as "from to times last".
func seen(t *testing.T, m *zoobartest.Monitor, owner string) (lines []string) {
	t.Helper()
	var all []calls.Visited
	if err := m.AsSandbox(calls.Bound{Owner: owner, Visitor: "x"}).CallJSON(t.Context(), calls.VisitsGet, struct{}{}, &all); err != nil {
		t.Fatalf("get(%s): %v", owner, err)
	}
	for _, v := range all {
		lines = append(lines, fmt.Sprintf("%s %s %d %d", v.From, v.To, v.Times, v.Last))
	}
	return lines
}

func TestWhoSeesWhom(t *testing.T) {
	m, _ := service(t)
	note(t, m, "bob", "alice")   // 1
	note(t, m, "carol", "alice") // 2
	note(t, m, "bob", "alice")   // 3
	note(t, m, "alice", "alice") // is none
	note(t, m, "dan", "bob")     // 4
	note(t, m, "dan", "carol")   // 5
	note(t, m, "eve", "dan")     // 6
	own := []string{"bob alice 2 3", "carol alice 1 2"}
	for _, tt := range []struct {
		what  string
		share string
		on    bool
		want  []string
	}{
		{"nobody shares", "", false, own},
		{"bob shares", "bob", true, append(slices.Clone(own), "dan bob 1 4")},
		{"dan, who is no visitor", "dan", true, append(slices.Clone(own), "dan bob 1 4")},
		{"carol, twice", "carol", true, append(slices.Clone(own), "dan carol 1 5", "dan bob 1 4")},
		{"bob no more", "bob", false, append(slices.Clone(own), "dan carol 1 5")},
	} {
		if tt.share != "" {
			share(t, m, tt.share, tt.on)
		}
		if got := seen(t, m, "alice"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: alice sees %q, want %q", tt.what, got, tt.want)
		}
	}
	if got := seen(t, m, "eve"); got != nil {
		t.Errorf("eve, whom nobody visits, sees %q", got)
	}
}

func TestBounds(t *testing.T) {
	m, db := service(t)
	_, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO visit(owner, visitor, times, last) SELECT 'alice', 'v' || i, 1, -i FROM n`, visits.MaxVisitors+10)
	if err != nil {
		t.Fatal(err)
	}
	note(t, m, "bob", "alice")
	if got := seen(t, m, "alice"); len(got) != visits.MaxShown || got[0] != "bob alice 1 1" || got[1] != "v1 alice 1 -1" {
		t.Errorf("%d are shown, first %q", len(got), got[:2])
	}
	var n, oldest int
	if err := db.QueryRow(`SELECT count(*), min(last) FROM visit`).Scan(&n, &oldest); err != nil || n != visits.MaxVisitors || oldest != 1-n {
		t.Errorf("%d visits are kept, %v, the oldest of %d", n, err, oldest)
	}
}

func TestRefusals(t *testing.T) {
	m, _ := service(t)
	for _, v := range []calls.Visit{{}, {Owner: "a"}, {Visitor: "a"}, {Owner: "a\nb", Visitor: "c"}} {
		if err := m.As("profile").CallJSON(t.Context(), calls.VisitsNote, v, nil); err == nil {
			t.Errorf("%+v is noted", v)
		}
	}
	// A program cannot note, and says nothing of whose visits it asks for.
	alice := m.AsSandbox(calls.Bound{Owner: "alice", Visitor: "bob"})
	visit, _ := json.Marshal(calls.Visit{Owner: "alice", Visitor: "carol"})
	if _, err := alice.Call(t.Context(), calls.VisitsNote, visit); err == nil {
		t.Error("a profile invents a visit")
	}
	if got, err := alice.Call(t.Context(), calls.VisitsGet, []byte(`{"owner":"bob"}`)); err == nil {
		t.Errorf("get of another owner = %s", got)
	}
	if got, err := m.AsSandbox(calls.Bound{}).Call(t.Context(), calls.VisitsGet, []byte(`{}`)); err == nil {
		t.Errorf("get of nobody = %s", got)
	}
	if got, err := m.AsSandbox(calls.Bound{}).Call(t.Context(), calls.VisitsShare, []byte(`{"on":true}`)); err == nil {
		t.Errorf("share of nobody = %s", got)
	}
}
