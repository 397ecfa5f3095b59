package supervisor

import (
	"regexp"
	"testing"
)

// What waits for one service is not taken for what waits for another, whose name looks the same in that of a host.
func TestWaitsUnder(t *testing.T) {
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$`)
	by := map[string]string{}
	for _, service := range []string{"a", "ab", "a-b", "a_b", "a--b", "a-_b", "a_-b", "a__b", "b_a", "a_b-c", "a-b_c", "a-b-c", "a123456789_123456789-123456789_12"} {
		name := waitsUnder(service)
		if other, taken := by[name]; taken || !label.MatchString(name) {
			t.Errorf("what waits for %q waits for %q, as for %q", service, name, other)
		}
		by[name] = service
	}
	for name, service := range by {
		if service != name && !(name[0] == '0') {
			t.Errorf("what waits for %q waits for %q, which a service can be called", service, name)
		}
	}
}
