package manifest

import (
	"errors"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
)

// forPrincipal is a template with the labels that are asked about.
func forPrincipal(t *testing.T, text string) Label {
	t.Helper()
	return mustParse(t, `version: 1
principals: [alice, server, {person: bob}]
services:
  t: {template: true, command: [/t], label: '`+text+`', clearance: 'False %% True'}
`).Services[0].Label
}

func TestLabelFor(t *testing.T) {
	for _, tt := range []struct{ name, text, principal, want string }{
		{"fixed", `alice %% server`, "", `alice %% server`},
		{"fixed, for whomever", `alice %% server`, "carol", `alice %% server`},
		{"a name of an application's own", `{principal} %% True`, "carol", `carol %% True`},
		{"in quotes", `"{principal}" %% True`, "carol", `carol %% True`},
		{"both halves", `{principal} & alice %% {principal} | server`, "carol", `carol & alice %% carol | server`},
		{"a person", `{principal} %% True`, "bob", `bob %% True`},
		{"one that makes a clause redundant", `{principal} & (bob | alice) %% True`, "bob", `bob %% True`},
		{"any text, as one name", `{principal} %% True`, `x | True %% "`, `"x | True %% \"" %% True`},
		{"the mark itself", `{principal} %% True`, `{principal}`, `"{principal}" %% True`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := forPrincipal(t, tt.text)
			if got, err := l.For(tt.principal); err != nil || got != label.MustParse(tt.want) {
				t.Errorf("%v.For(%q) = %v, %v; want %v", l, tt.principal, got, err, tt.want)
			}
		})
	}
}

// TestLabelForNobodyElse: somebody who signs up under the name of a part of the
// application is not that part.
func TestLabelForNobodyElse(t *testing.T) {
	l := forPrincipal(t, `{principal} %% True`)
	for _, name := range []string{"alice", "server"} {
		if got, err := l.For(name); err == nil {
			t.Errorf("For(%q), which is declared and no person, gave %v", name, got)
		}
	}
	if got, err := l.For(""); !errors.Is(err, ErrNobody) {
		t.Errorf("For nobody gave %v, %v", got, err)
	}
	if got, err := l.For("\xff"); err == nil {
		t.Errorf("For what is not UTF-8 gave %v", got)
	}
}

func TestRouteLabels(t *testing.T) {
	const head = `version: 1
gateway:
  listen: 127.0.0.1:80
  authenticate: a.who
  routes:
`
	const services = `
services:
  a: {runtime: host, command: [/bin/true], http: 80, provides: [{call: who}]}
`
	carol := guard.Endpoint{Request: label.MustParse(`True %% carol`), Answer: label.MustParse(`carol %% True`)}
	for _, tt := range []struct {
		name, route, principal string
		want                   guard.Endpoint
		refused                bool
	}{
		{"somebody", `{path: /, to: a}`, "carol", carol, false},
		{"not recognised", `{path: /, to: a}`, "", guard.Endpoint{}, false},
		{"public for everybody", `{path: /, to: a, request: 'True %% True', answer: 'True %% True'}`, "carol", guard.Endpoint{}, false},
		{"for the recognised only", `{path: /, to: a, answer: '{principal} %% True'}`, "", guard.Endpoint{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustParse(t, head+"    - "+tt.route+services).Gateway.Routes[0]
			got, err := r.Labels(tt.principal)
			if (err != nil) != tt.refused || got != tt.want {
				t.Errorf("Labels(%q) = %v, %v; want %v", tt.principal, got, err, tt.want)
			}
		})
	}
}

// TestLabelDefaults: what has no label has that of its service; what has none
// anywhere is public.
func TestLabelDefaults(t *testing.T) {
	a := mustParse(t, `version: 1
principals: [alice, bob]
mailboxes: [{name: m}]
services:
  plain: {runtime: host, command: [/bin/true], http: 80, tcp: 81, provides: [{call: m}], volumes: [{name: p, to: /p}]}
  secret:
    runtime: host
    command: [/bin/true]
    label: 'alice %% True'
    owns: alice
    http: 80
    tcp: [{port: 81, answer: 'True %% True'}]
    provides: [{call: m, request: 'True %% True'}]
    volumes: [{name: s, to: /s}]
    uses: [{egress: 'example.com:80'}]
  gate:
    runtime: host
    command: [/bin/cat]
    stdio: lines
    owns: bob
    provides: [{call: g, gate: {input: 'bob %% bob'}}]
`)
	alice := label.MustParse(`alice %% True`)
	plain, secret, gate := a.Service("plain"), a.Service("secret"), a.Service("gate").Provides[0].Gate
	for what, pair := range map[string][2]label.Label{
		"plain.label":          {plain.Label.text, label.Public},
		"plain.clearance":      {plain.Clearance.text, label.Public},
		"plain's port":         {plain.PortLabels[80].Answer.text, label.Public},
		"plain's volume":       {plain.Volumes[0].Label.text, label.Public},
		"plain.m":              {plain.Provides[0].Answer.text, label.Public},
		"secret.clearance":     {secret.Clearance.text, alice},
		"secret:80":            {secret.PortLabels[80].Answer.text, alice},
		"secret:81, requests":  {secret.PortLabels[81].Request.text, alice},
		"secret:81, answers":   {secret.PortLabels[81].Answer.text, label.Public},
		"secret.m, requests":   {secret.Provides[0].Request.text, label.Public},
		"secret.m, answers":    {secret.Provides[0].Answer.text, alice},
		"secret's volume":      {secret.Volumes[0].Label.text, alice},
		"secret's way out":     {secret.Uses[0].Request.text, label.Public},
		"the mailbox":          {a.Mailboxes[0].Label, label.Public},
		"the output of a gate": {gate.Output, label.MustParse(`bob %% bob`)},
		"who vouches for it":   {label.New(label.True, gate.Integrity), label.MustParse(`True %% bob`)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", what, pair[0], pair[1])
		}
	}
	if plain.PortLabels != nil {
		t.Errorf("the ports of a service without labels have some: %v", plain.PortLabels)
	}
}
