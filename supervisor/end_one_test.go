package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"cofferdam/supervisor"
)

// A service that connects for anyone ends the instance of whom it names, with all who are connected
// to it, and nobody else's; the next visitor gets another one. Whoever may not ends none.
func TestEndOfSomebodysInstance(t *testing.T) {
	a := start(t, `
  guide: {{program}deaf], stop_grace_period: 100ms, uses: [{connect: server, for: anyone}]}
  other: {{program}deaf], stop_grace_period: 100ms}
  server: {{program}linger], instances: per-principal, tcp: 4711, stop_grace_period: 100ms, uses: [{connect: 'shared:4711'}]}
  shared: {{program}linger], tcp: 4711, stop_grace_period: 100ms}
`)
	instance := func(who string) string {
		for _, st := range a.sup.Status() {
			if st.Service == "server" && st.Principal == who && st.State == supervisor.Ready {
				return st.Instance
			}
		}
		return ""
	}
	for _, who := range []string{"alice", "bob"} {
		if got := a.exec("guide", "visit", who); got != "hello <nil>" {
			t.Fatalf("visit of %s: %q", who, got)
		}
	}
	alices, bobs := instance("alice"), instance("bob")

	for _, by := range []string{"other", alices, "shared"} {
		for _, service := range []string{"server", "shared", "guide", "absent"} {
			got := a.exec(by, "end", service, "alice", "bob")
			if want := strings.ReplaceAll("alice end X: denied\nbob end X: denied", "X", service); got != want {
				t.Errorf("%s ends %s: %q, want %q", by, service, got, want)
			}
		}
	}
	if got := a.exec("guide", "end", "shared", "alice"); got != "alice end shared: denied" {
		t.Errorf("of a service that it may not connect to: %q", got)
	}
	if instance("alice") != alices || instance("bob") != bobs {
		t.Error("whoever may not has ended somebody's instance")
	}

	cut := make(chan string, 1)
	go func() { cut <- a.exec("guide", "visit", "alice", "long") }()
	for end := time.Now().Add(time.Minute); strings.Count(a.audit(), `"op":"connect"`) < 3 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if got := a.exec("guide", "end", "server", "alice", "carol"); got != "alice <nil>\ncarol <nil>" {
		t.Errorf("guide ends alice's, and that of carol, who has none: %q", got)
	}
	if got := <-cut; got != "hello <nil>\n0 EOF" {
		t.Errorf("who was at alice's: %q", got)
	}
	if got := a.exec("guide", "visit", "alice"); got != "hello <nil>" {
		t.Errorf("the next visit of alice: %q", got)
	}
	if now := instance("alice"); now == alices || now == "" {
		t.Errorf("alice has %q, and had %q", now, alices)
	}
	if now := instance("bob"); now != bobs {
		t.Errorf("bob has %q, and had %q", now, bobs)
	}
	if log := a.audit(); !strings.Contains(log, `"principal":"alice","op":"end","object":"server","verdict":"allow"`) {
		t.Errorf("it is not in the log:\n%s", log)
	}
}
