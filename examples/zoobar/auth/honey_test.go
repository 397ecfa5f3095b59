package auth_test

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/zoobartest"
	"cofferdam/sdk"
)

// invert does what who has stolen the hashes of somebody does: it tries words until it
// has the sweetwords.
func invert(t *testing.T, db *sql.DB, username string, words []string) (sweet []string) {
	t.Helper()
	var hashes string
	var salt []byte
	var iterations int
	if err := db.QueryRow(`SELECT password, salt, iterations FROM cred WHERE username = ?`, username).Scan(&hashes, &salt, &iterations); err != nil {
		t.Fatal(err)
	}
	for _, word := range words {
		hash, err := pbkdf2.Key(sha1.New, word, salt, iterations, 32)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(strings.Split(hashes, " "), fmt.Sprintf("%x", hash)) {
			sweet = append(sweet, word)
		}
	}
	return sweet
}

var digits = strings.Split("0123456789", "")

func TestStolenHashes(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	peers := &fakePeers{}
	a := auth.New(db, peers, auth.Options{Iterations: 10})
	session := register(t, a, "alice", "7")
	sweet := invert(t, db, "alice", digits)
	if len(sweet) != 10 {
		t.Fatalf("the thief finds %q, want all digits", sweet)
	}
	if login(t, a, "alice", "x") != "" || len(peers.alarmed()) != 0 {
		t.Errorf("a wrong password alarms: %q", peers.alarmed())
	}
	if !valid(t, a, "alice", session) {
		t.Error("a wrong password has ended the session")
	}
	for _, word := range sweet {
		if word == "7" {
			continue
		}
		if login(t, a, "alice", word) != "" {
			t.Errorf("the honeyword %q opens the door", word)
		}
	}
	if got := peers.alarmed(); len(got) != 9 {
		t.Errorf("%d alarms, want 9", len(got))
	}
	if valid(t, a, "alice", session) {
		t.Error("sessions go on after an alarm")
	}
	if login(t, a, "alice", "7") == "" || len(peers.alarmed()) != 9 {
		t.Error("the password does not open the door, or alarms")
	}
}

// Without the honeychecker everybody gets in who knows a sweetword, and what could not
// be asked is asked later.
func TestHoneycheckerIsAway(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	peers := &fakePeers{}
	a := auth.New(db, peers, auth.Options{Iterations: 10})
	register(t, a, "alice", "7")
	register(t, a, "bob", "8")

	peers.away(sdk.ErrUnavailable)
	thief := login(t, a, "alice", "3")
	bob := login(t, a, "bob", "8")
	if !valid(t, a, "alice", thief) || !valid(t, a, "bob", bob) {
		t.Fatal("nobody gets in while the honeychecker is away")
	}
	if token, err := a.Register(t.Context(), "carol", "x"); err == nil || token != "" {
		t.Errorf("Register without a honeychecker = %q, %v", token, err)
	}
	peers.away(nil)
	if login(t, a, "bob", "8") == "" {
		t.Error("bob cannot log in")
	}
	for end := time.Now().Add(10 * time.Second); valid(t, a, "alice", thief); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the thief's session goes on; alarms %q", peers.alarmed())
		}
	}
	if got := peers.alarmed(); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("alarms %q, want one of alice", got)
	}
	if register(t, a, "carol", "x") == "" {
		t.Error("half a registration has burnt the name")
	}

	// A refusal is not absence.
	peers.away(sdk.ErrDenied)
	if token, err := a.Login(t.Context(), "bob", "8"); token != "" || !errors.Is(err, sdk.ErrDenied) {
		t.Errorf("Login against a refusal = %q, %v", token, err)
	}
}

// A password that was stored when there were no honeywords gets them with the next login.
func TestUpgrade(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	peers := &fakePeers{}
	a := auth.New(db, peers, auth.Options{Iterations: 10})
	salt := []byte("0123456789abcdef")
	hash, err := pbkdf2.Key(sha1.New, "7", salt, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO cred VALUES('alice', ?, 'none', ?, 10)`, fmt.Sprintf("%x", hash), salt); err != nil {
		t.Fatal(err)
	}
	if login(t, a, "alice", "3") != "" || len(peers.alarmed()) != 0 {
		t.Error("a wrong password opens the door, or alarms")
	}
	peers.away(sdk.ErrBroken)
	if login(t, a, "alice", "7") == "" {
		t.Error("the login needs the honeychecker")
	}
	peers.away(nil)
	for range 2 {
		if login(t, a, "alice", "7") == "" {
			t.Error("the password does not open the door")
		}
	}
	if sweet := invert(t, db, "alice", digits); len(sweet) != 10 {
		t.Errorf("sweetwords %q, want all digits", sweet)
	}
	if login(t, a, "alice", "3") != "" || len(peers.alarmed()) != 1 {
		t.Errorf("alarms %q, want one", peers.alarmed())
	}
}
