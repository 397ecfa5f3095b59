package zoobar_test

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cofferdam/examples/zoobar/zoobartest"
)

// testHoneywords steals the hashes of passwords, inverts them, and logs in with what
// that gives.
func (s *site) testHoneywords(t *testing.T) {
	victim := zoobartest.NewBrowser(t, s.URL)
	victim.Register("sweet", "7")
	var hashes string
	var salt []byte
	var iterations int
	err := s.database(t, "cred", "cred.db").QueryRow(`SELECT password, salt, iterations FROM cred WHERE username = 'sweet'`).
		Scan(&hashes, &salt, &iterations)
	if err != nil {
		t.Fatal(err)
	}
	var sweet []string
	for word := range strings.SplitSeq("0123456789", "") {
		hash, err := pbkdf2.Key(sha1.New, word, salt, iterations, 32)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(strings.Fields(hashes), fmt.Sprintf("%x", hash)) {
			sweet = append(sweet, word)
		}
	}
	if len(sweet) != 10 {
		t.Fatalf("the thief has %q, want all digits", sweet)
	}
	thief := zoobartest.NewBrowser(t, s.URL)
	if page := thief.Login("sweet", "3"); strings.Contains(page, "Log out") {
		t.Errorf("a honeyword opens the door: %s", page)
	}
	if alarms := s.alarms(t); alarms != 1 {
		t.Errorf("%d alarms, want 1", alarms)
	}
	if page := victim.Get("/"); strings.Contains(page, "Log out sweet") {
		t.Error("sessions go on after the alarm")
	}
	zoobartest.Contains(t, victim.Login("sweet", "7"), "Log out sweet")
	if page := thief.Login("sweet", "x"); strings.Contains(page, "Log out") || s.alarms(t) != 1 {
		t.Error("a wrong password opens the door, or alarms")
	}
	out, err := s.Command("logs", "honeychecker").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "user=sweet") {
		t.Errorf("logs of honeychecker: %v\n%s", err, out)
	}

	// auth cannot see what the honeychecker knows, and nobody else can ask it: that is in
	// testReach and in the manifest. That it is killed is nothing that a login notices.
	pid := s.status(t)["honeychecker"].Pid
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Skipf("needs root: kill the honeychecker from outside: %v", err)
	}
	zoobartest.Contains(t, victim.Login("sweet", "7"), "Log out sweet")
	if s.alarms(t) != 1 {
		t.Error("a replaced honeychecker has forgotten, or alarms")
	}
}

// alarms is how many the honeychecker has written down.
func (s *site) alarms(t *testing.T) (n int) {
	t.Helper()
	if err := s.database(t, "index", "index.db").QueryRow(`SELECT count(*) FROM alarm`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
