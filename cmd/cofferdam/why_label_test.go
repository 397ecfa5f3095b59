package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/audit"
	"cofferdam/manifest"
)

func TestAskLabels(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "m.yaml")
	if err := os.WriteFile(file, []byte(`version: 1
principals: [alice, bob]
mailboxes: [{name: box, label: 'bob %% True', owner: b}, {name: queue, label: 'alice %% alice'}]
services:
  a:
    runtime: host
    command: [/bin/true]
    label: 'alice %% True'
    owns: bob
    uses: [{post: box}, {put: queue}, {egress: 'example.com:80'}]
  b: {runtime: host, command: [/bin/true], clearance: 'bob %% True'}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	app, err := manifest.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	const alice, bob, public = `"alice" %% True`, `"bob" %% True`, `True %% True`
	for _, tt := range []struct {
		name   string
		record audit.Record
		rule   string // "" if labels do not refuse
		ways   []string
	}{
		{"a post that is not released", audit.Record{Subject: "a", Op: "post", Object: "box", Labels: &audit.Labels{Subject: alice, Clearance: `"alice" /\ "bob" %% True`, Object: bob}},
			"label ⊑ object", []string{`m.yaml:10 services.a.uses[0]: out: '"alice"'` + "\n" + `m.yaml:5 services.a.owns: '"alice" /\ "bob"'`}},
		{"a post above the clearance", audit.Record{Subject: "b", Op: "post", Object: "box", Labels: &audit.Labels{Subject: public, Clearance: public, Object: bob}},
			"object ⊑ clearance", []string{`m.yaml:11 services.b.clearance: '"bob" %% True'`}},
		{"a post that is released", audit.Record{Subject: "a", Op: "post", Object: "box", Labels: &audit.Labels{Subject: alice, Clearance: `"alice" /\ "bob" %% True`, Object: bob, Out: `"alice"`}}, "", nil},
		{"what nobody vouches for", audit.Record{Subject: "a", Op: "put", Object: "queue", Labels: &audit.Labels{Subject: alice, Clearance: alice, Object: `"alice" %% "alice"`}},
			"label ⊑ object", []string{`m.yaml:10 services.a.uses[1]: in: '"alice"'` + "\n" + `m.yaml:5 services.a.owns: '"alice" /\ "bob"'`}},
		{"to receive, it may raise itself", audit.Record{Subject: "b", Op: "recv", Object: "box", Labels: &audit.Labels{Subject: public, Clearance: bob, Object: bob}},
			"object ⊑ label", []string{"in the program: name the privileges out: '\"bob\"'\nm.yaml:11 services.b.owns: '\"bob\"'"}},
		{"an operation of its own", audit.Record{Subject: "a", Op: "lower", Labels: &audit.Labels{Subject: alice, Clearance: alice, Object: public, Out: `"bob"`}},
			"label ⊑ new label", []string{"in the program: name the privileges out: '\"alice\" /\\ \"bob\"'\nm.yaml:5 services.a.owns: '\"alice\" /\\ \"bob\"'"}},
		{"a service that is gone", audit.Record{Subject: "gone", Op: "post", Object: "box", Labels: &audit.Labels{Subject: alice, Object: public}}, "label ⊑ object", nil},
		{"the proxy, which takes no privilege", audit.Record{Subject: "a", Op: "egress", Object: "proxy", Labels: &audit.Labels{Subject: alice, Clearance: alice, Object: public}}, "label ⊑ object", nil},
		{"no labels", audit.Record{Subject: "a", Op: "post", Object: "box"}, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			why, err := askLabels(app, tt.record)
			if err != nil {
				t.Fatal(err)
			}
			if why == nil {
				if tt.rule != "" {
					t.Fatalf("askLabels finds nothing, want %q", tt.rule)
				}
				return
			}
			got := strings.ReplaceAll(strings.Join(why.Ways, "\nor\n"), dir+"/", "")
			if want := strings.Join(tt.ways, "\nor\n"); why.Rule != tt.rule || got != want {
				t.Errorf("askLabels gives %q and\n%s\nwant %q and\n%s", why.Rule, got, tt.rule, want)
			}
		})
	}
	e, err := (&project{file: file}).explain(audit.Record{
		Subject: "a", Kind: audit.KindDecision, Op: "egress", Object: "proxy", Verdict: audit.Deny,
		Labels: &audit.Labels{Subject: alice, Clearance: alice, Object: public},
	})
	if err != nil || e.Labels == nil || e.Now != "" || !strings.Contains(e.Note, "connects by the name that is granted") {
		t.Errorf("of the proxy: %+v, %v", e, err)
	}
	if _, err := askLabels(app, audit.Record{Seq: 7, Op: "post", Labels: &audit.Labels{Subject: "cut…"}}); err == nil {
		t.Error("a label that was cut is taken for one")
	}
}
