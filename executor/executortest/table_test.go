package executortest

import (
	"regexp"
	"testing"
)

// Every case says what is recorded of it, in one way, and has a name of its own.
func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^(proc|path|kernel|ipc|res|platform|side)/[a-z0-9-]+$`)
	seen := map[string]bool{}
	for _, c := range Cases() {
		if !name.MatchString(c.Name) || seen[c.Name] {
			t.Errorf("case %q: not a name of the suite, or there twice", c.Name)
		}
		seen[c.Name] = true
		if c.Row == "" || c.Inside == nil && c.Outside == nil {
			t.Errorf("case %q has no row or does nothing", c.Name)
		}
		said := 0
		for _, s := range []string{string(c.Ends), c.Audited, c.Invisible} {
			if s != "" {
				said++
			}
		}
		if said != 1 {
			t.Errorf("case %q says in %d ways what is recorded of it, want 1", c.Name, said)
		}
	}
}
