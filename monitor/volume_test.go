package monitor

import (
	"strings"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// An environment has no label at which it could not be shown what it is shown: not
// even by force, because nobody can take away what is mapped.
func TestVolumesHoldTheLabel(t *testing.T) {
	alice, both := label.MustParse("alice %% True"), label.MustParse("alice & bob %% True")
	for _, tt := range []struct {
		name   string
		volume Volume
		shows  bool
		raise  bool // to both
		lower  bool // to public, with alice's privilege
	}{
		{"to read, of its label", Volume{"v", alice, false}, true, true, false},
		{"to write, of its label", Volume{"v", alice, true}, true, false, false},
		{"to read, below", Volume{"v", label.Public, false}, true, true, true},
		{"to write, below", Volume{"v", label.Public, true}, false, true, true},
		{"to read, above", Volume{"v", both, false}, false, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, Policy{Services: []Service{{Name: "keeper"}}})
			e, err := l.m.AdmitAt(wire.Identity{Service: "keeper", Instance: "keeper-1"}, Flow{
				State: guard.State{Label: alice, Clearance: label.MustParse("alice & bob %% True")},
				Owns:  label.MustParseFormula("alice"),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.m.Remove(e) })
			if err := e.Shows(tt.volume); (err == nil) != tt.shows {
				t.Fatalf("Shows = %v", err)
			}
			for _, mode := range []wire.Mode{0, wire.ModeForce} {
				_, err := e.lower(&wire.Ask{Label: label.Public, Out: label.MustParseFormula("alice"), Mode: mode})
				if (err == nil) != tt.lower {
					t.Errorf("lower, mode %d: %v", mode, err)
				}
				if err != nil && !strings.Contains(err.Error(), "volume v") {
					t.Errorf("lower, mode %d: %q does not name the volume", mode, err)
				}
				if err == nil {
					if _, err := e.raise(&wire.Ask{Label: alice}); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, mode := range []wire.Mode{0, wire.ModeForce} {
				if _, err := e.raise(&wire.Ask{Label: both, Mode: mode}); (err == nil) != tt.raise {
					t.Errorf("raise, mode %d: %v", mode, err)
				}
			}
		})
	}
}
