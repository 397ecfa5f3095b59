// Package draft_test runs the programs of docs/SDK.md.
package draft_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/apptest"
)

// Each program, in Go and in Python, has a draft counted by the other, which is told
// why it cannot tell the world, and the operator sees that it tried.
func TestDraft(t *testing.T) {
	a := apptest.Start(t, apptest.Options{Programs: []string{"./cmd/..."}, Shown: []string{"draft.py"}})
	for _, who := range []string{"alice", "alice-go"} {
		said := regexp.MustCompile(`(?m)^` + who + ` +\| words: 5 post world: forbidden by a label: label ⊑ object: "alice" %% True cannot flow to True %% True; `)
		logs := ""
		for end := time.Now().Add(time.Minute); !said.MatchString(logs); time.Sleep(50 * time.Millisecond) {
			if logs = a.Output(t, "logs"); time.Now().After(end) {
				t.Fatalf("%s does not say so in a minute:\n%s", who, logs)
			}
		}
	}
	audit := a.Output(t, "audit")
	for _, who := range []string{"counter", "counter-go"} {
		if !regexp.MustCompile(`decision +` + who + ` +post +world +deny `).MatchString(audit) {
			t.Errorf("no record that %s tried to:\n%s", who, audit)
		}
	}
	if strings.Contains(audit, "harbour") || strings.Contains(a.Output(t, "logs"), "harbour") {
		t.Error("the draft has got out")
	}
}
