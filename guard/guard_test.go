package guard

import (
	"errors"
	"strings"
	"testing"

	"cofferdam/label"
)

func parse(t testing.TB, s string) label.Label {
	t.Helper()
	l, err := label.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A refusal says what does not flow where, with what, and what would help.
func TestRefusal(t *testing.T) {
	s := State{Label: parse(t, "True %% alice"), Clearance: parse(t, "alice %% alice")}
	err := s.Read(label.Privileges{}, parse(t, "bob %% True"))
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"object ⊑ label", `"bob" %% True`, `True %% "alice"`, "clearance"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
