package supervisor

import (
	"testing"

	"cofferdam/manifest"
)

// Whoever has instances started one after the other does not see from their names
// how many others were started meanwhile.
func TestNamesDoNotCount(t *testing.T) {
	svc := &manifest.Service{Name: "box"}
	first, second := nameOf(svc, 0), nameOf(svc, 0)
	if len(first) != len("box-00000000") || len(second) != len(first) || first == second || first[:10] == second[:10] {
		t.Errorf("%q, then %q", first, second)
	}
	if kept := nameOf(svc, 3); kept != "box-3" {
		t.Errorf("the third of those that are kept running is %q", kept)
	}
}
