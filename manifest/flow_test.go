package manifest

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestFlowText holds the report of a manifest against what a reviewer read.
func TestFlowText(t *testing.T) {
	for _, f := range append(corpus(t, "valid").manifests(), corpus(t, "flow").manifests()...) {
		a := mustParse(t, f.text)
		if !a.Labelled() {
			continue
		}
		report, err := a.Flow()
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		var b strings.Builder
		if err := report.Text(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/"+strings.TrimSuffix(f.name, ".yaml")+".flow", []byte(b.String()))
	}
}

func TestFlowIsForLabels(t *testing.T) {
	for _, f := range corpus(t, "valid").manifests() {
		a := mustParse(t, f.text)
		if a.Labelled() != strings.Contains(f.text, "principals:") {
			t.Errorf("%s: Labelled is %v", f.name, a.Labelled())
		}
	}
}

// pairs of a source and a sink, and what the report of the manifest must say.
func TestFlowVerdicts(t *testing.T) {
	const services = `version: 1
principals: [alice, bob, {person: carol}]
`
	for _, tt := range []struct {
		name, text, from, to string
		want                 Verdict
		through              string
	}{
		{"a secret has no way out", `
services:
  a: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], uses: [{egress: 'example.com:80'}]}
`, "v", "example.com:80", CannotReach, ""},
		{"but for where it may be known", `
services:
  a: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], uses: [{egress: 'example.com:80', request: 'alice %% True'}]}
`, "v", "example.com:80", Reaches, ""},
		{"or if its owner lets go", `
services:
  a: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', owns: alice, volumes: [{name: v, to: /v}], uses: [{egress: 'example.com:80', out: alice}]}
`, "v", "example.com:80", OnlyThrough, "a"},
		{"half of what it takes is not enough", `
services:
  a: {runtime: host, command: [/a], files: [a:/a], label: 'alice & bob %% True', owns: alice, volumes: [{name: v, to: /v}], uses: [{egress: 'example.com:80', out: alice}]}
`, "v", "example.com:80", CannotReach, ""},
		{"a privilege that is given away", `
mailboxes: [{name: m, owner: b}]
services:
  a: {runtime: host, command: [/a], files: [a:/a], owns: alice, uses: [{post: m}]}
  b: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %% True', uses: [{call: c.m}, {egress: 'example.com:80'}]}
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
`, "v", "example.com:80", OnlyThrough, "a"},
		{"who raised itself does not get back", `
services:
  b: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %% True', uses: [{call: c.m}, {egress: 'example.com:80'}]}
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
`, "v", "example.com:80", CannotReach, ""},
		{"two owners, each of them enough", `
services:
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  a: {runtime: host, command: [/a], files: [a:/a], owns: alice, clearance: 'alice %% True', uses: [{call: c.m}, {egress: 'example.com:80'}]}
  b: {runtime: host, command: [/a], files: [a:/a], owns: alice, clearance: 'alice %% True', uses: [{call: c.m}, {egress: 'example.com:80'}]}
`, "v", "example.com:80", OnlyThrough, "a b"},
		{"a gate", `
services:
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  a: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %% True', uses: [{call: c.m}, {call: g.ask}, {egress: 'example.com:80'}]}
  g: {runtime: host, command: [/a], files: [a:/a], stdio: lines, owns: alice, provides: [{call: ask, gate: {integrity: 'True', input: 'alice %% True', output: 'True %% True'}}]}
`, "v", "example.com:80", OnlyThrough, "g.ask"},
		{"a gate that wants more trust than the secret has", `
services:
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  a: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %% True', uses: [{call: c.m}, {call: g.ask}, {egress: 'example.com:80'}]}
  g: {runtime: host, command: [/a], files: [a:/a], stdio: lines, owns: alice, provides: [{call: ask, gate: {input: 'alice %% True', output: 'True %% True'}}]}
`, "v", "example.com:80", CannotReach, ""},
		{"what nobody vouches for", `
services:
  a: {runtime: host, command: [/a], files: [a:/a], label: 'True %% alice', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  b: {runtime: host, command: [/a], files: [a:/a], uses: [{call: a.m}, {egress: 'example.com:80'}]}
`, "example.com:80", "v", CannotReach, ""},
		{"one principal's page", `
gateway: {listen: '127.0.0.1:0', authenticate: who.is, routes: [{path: /, to: page}]}
services:
  who: {runtime: host, command: [/a], files: [a:/a], provides: [{call: is}]}
  page: {runtime: host, command: [/a], files: [a:/a], instances: per-principal, label: '{principal} %% True', http: 80, volumes: [{name: 'v-{principal}', to: /v}]}
`, "v-{principal}", "people as {principal}", Reaches, ""},
		{"is not another's", `
gateway: {listen: '127.0.0.1:0', authenticate: who.is, routes: [{path: /, to: page}]}
services:
  who: {runtime: host, command: [/a], files: [a:/a], provides: [{call: is}]}
  page: {runtime: host, command: [/a], files: [a:/a], instances: per-principal, label: '{principal} %% True', http: 80, volumes: [{name: 'v-{principal}', to: /v}]}
`, "v-{principal}", "people as another {principal}", CannotReach, ""},
		{"nor that of a person by name", `
gateway: {listen: '127.0.0.1:0', authenticate: who.is, routes: [{path: /, to: page}]}
services:
  who: {runtime: host, command: [/a], files: [a:/a], provides: [{call: is}]}
  page: {runtime: host, command: [/a], files: [a:/a], instances: per-principal, label: '{principal} %% True', http: 80, volumes: [{name: 'v-{principal}', to: /v}]}
`, "v-{principal} of carol", "people as {principal}", CannotReach, ""},
		{"a child carries what its spawner may not read", `
mailboxes: [{name: m, owner: c, label: 'alice %% True'}]
services:
  a: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %% True', uses: [{spawn: t}]}
  t: {template: true, command: [/t], uses: [{call: b.m}, {post: m}]}
  b: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True'}
`, "v", "m", Reaches, ""},
		{"a child knows no more than its spawner may", `
mailboxes: [{name: m, owner: c, label: 'alice %% True'}]
services:
  a: {runtime: host, command: [/a], files: [a:/a], uses: [{spawn: t}]}
  t: {template: true, command: [/t], clearance: 'alice %% True', uses: [{call: b.m}, {post: m}]}
  b: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True', volumes: [{name: v, to: /v}], provides: [{call: m}]}
  c: {runtime: host, command: [/a], files: [a:/a], label: 'alice %% True'}
`, "v", "m", CannotReach, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := mustParse(t, services+tt.text[1:]).Flow()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range report.Sources {
				for _, to := range s.Sinks {
					if s.Name != tt.from || to.Name != tt.to {
						continue
					}
					if got := strings.Join(to.Through, " "); to.Verdict != tt.want || got != tt.through {
						t.Errorf("%s %s %s %q by %s, want %s %q", s.Name, to.Verdict, to.Name, got, pathText(to.Path), tt.want, tt.through)
					}
					return
				}
			}
			text, _ := json.MarshalIndent(report, "", " ")
			t.Errorf("nothing is said of %s and %s\n%s", tt.from, tt.to, text)
		})
	}
}

// TestAsserts: what is asserted holds, or it is an error.
func TestAsserts(t *testing.T) {
	const text = `version: 1
principals: [alice]
assert: ['%s']
services:
  inbox: {runtime: host, command: [/a], files: [a:/a], label: 'alice %%%% True', volumes: [{name: mail, to: /v}], provides: [{call: m}]}
  reader: {runtime: host, command: [/a], files: [a:/a], clearance: 'alice %%%% True', owns: alice, uses: [{call: inbox.m}, {egress: 'example.com:80'}]}
  other: {runtime: host, command: [/a], files: [a:/a], uses: [{egress: 'example.org:80'}]}
`
	for assert, holds := range map[string]bool{
		"mail -/-> internet":                    false,
		"mail -/-> example.com:80":              false,
		"mail -/-> example.org:80":              true,
		"inbox -/-> example.com:80":             false,
		"mail -/-> example.com:80 except other": false,
		"mail -/-> internet except reader":      true,
		"mail -/-> reader":                      false,
		"mail -/-> other":                       true,
		"internet -/-> mail":                    false, // the reader asks in other words
		"example.org:80 -/-> mail":              true,
		"mail -/-> people":                      true,
	} {
		_, err := parse("m.yaml", strings.ReplaceAll(strings.Replace(text, "%s", assert, 1), "%%%%", "%%"))
		if (err == nil) != holds {
			t.Errorf("%s: %v, want that it holds: %v", assert, err, holds)
		}
		if err != nil && !strings.Contains(err.Error(), "m.yaml:3:10 assert[0]: ") {
			t.Errorf("%s: %v is at the wrong place", assert, err)
		}
	}
}
