package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/monitor"
)

const labelledApp = `
principals: [alice, auth, {person: carol}]
gateway:
  listen: 127.0.0.1:0
  authenticate: auth.check
  routes:
    - {path: /, to: page}
    - {path: /open, to: front, request: 'True %% True', answer: 'True %% True'}
mailboxes: [{name: news, label: 'alice %% True', owner: auth, messages: 3, size: 1K, rate: {messages: 5/min burst 9 per principal}}, {name: jobs}]
services:
  auth:
    runtime: host
    command: [/bin/true]
    label: 'auth %% auth'
    clearance: 'auth & alice %% True'
    owns: auth
    provides: [{call: check, request: 'True %% True', answer: 'True %% True'}, {call: own}]
    uses: [{post: jobs, out: auth}, {egress: 'example.com:443', request: 'True %% auth', answer: 'True %% auth', out: auth, in: auth}]
  front: {runtime: host, command: [/bin/true], http: 80, tcp: [{port: 81, rate: {bytes: 1M/s}}], uses: [{call: auth.check}]}
  page:
    runtime: host
    command: [/bin/true]
    instances: per-principal
    label: 'True %% {principal}'
    owns: '{principal} | auth'
    http: {port: 80, request: 'True %% {principal}', answer: 'True %% True'}
    volumes: [{name: 'of-{principal}', to: /data, label: 'True %% {principal}'}]
    uses: [{call: auth.check, out: '{principal} | auth'}]
    provides: [{call: whose}]
  each: {runtime: host, command: [/bin/true], instances: per-label, http: 80}
  gate: {runtime: host, command: [/bin/true], stdio: lines, owns: alice, clearance: 'alice %% True', provides: [{call: ask, gate: {shows: alice, integrity: auth, input: 'alice %% True', output: 'True %% True', bits: 3}}]}
`

// What the manifest says of labels is what the monitor is told, with the principal
// put in.
func TestPolicyHasLabels(t *testing.T) {
	app := parsed(t, labelledApp)
	p, err := policyOf(app, nil)
	if err != nil {
		t.Fatal(err)
	}
	services := make(map[string]monitor.Service)
	for _, s := range p.Services {
		services[s.Name] = s
	}
	auth := services["auth"]
	same(t, "auth", auth.Flow, flow("auth %% auth", "auth & alice %% True", "auth"))
	if check, own := auth.Methods[0].Endpoint, auth.Methods[1].Endpoint; check == nil || *check != (guard.Endpoint{}) || own != nil {
		t.Errorf("auth's methods: %v, %v", check, own)
	}
	if got := services["front"]; got.Flow != (monitor.Flow{}) || got.PortEndpoints != nil || got.Instances != monitor.Shared {
		t.Errorf("front: %+v", got)
	}
	if got := services["each"].Instances; got != monitor.PerLabel {
		t.Errorf("each has its instances %v", got)
	}
	ask := services["gate"].Methods[0]
	if want := (guard.Gate{Shows: label.MustParseFormula("alice"), Integrity: label.MustParseFormula("auth"), Input: label.MustParse("alice %% True")}); ask.Gate == nil || *ask.Gate != want || ask.Bits != 3 || ask.Endpoint != nil {
		t.Errorf("the gate: %+v, %+v", ask, ask.Gate)
	}
	if got := p.Mailboxes; len(got) != 2 || got[0] != (monitor.Mailbox{Name: "news", Label: label.MustParse("alice %% True"), Owner: "auth", Messages: 3, MessageBytes: 1 << 10,
		Rates: monitor.Rates{Messages: monitor.Rate{Amount: 5, Per: time.Minute, Burst: 9, Each: true}, Rule: "m.yaml:11"}}) {
		t.Errorf("mailboxes: %+v", got)
	}
	want := map[int]monitor.Rates{81: {Bytes: monitor.Rate{Amount: 1 << 20, Per: time.Second, Burst: 1 << 20}, Rule: "m.yaml:21"}}
	if got := services["front"].PortRates; !maps.Equal(got, want) {
		t.Errorf("rates of ports: %+v, want %+v", got, want)
	}
	grants := make(map[string]monitor.Grant)
	for _, g := range p.Grants {
		grants[g.From+" "+string(g.Kind)+" "+g.To] = g
	}
	byAuth, a := label.MustParseFormula("auth"), label.MustParse("True %% auth")
	if g := grants["auth egress example.com:443"]; g.Out != byAuth || g.In != byAuth || g.Request != a || g.Answer != a {
		t.Errorf("a way out: %+v", g)
	}
	if g := grants["auth post jobs"]; g.Out != byAuth || g.In != label.True {
		t.Errorf("a post: %+v", g)
	}
	if _, ok := grants["gateway call auth.check"]; !ok {
		t.Error("the gateway may not ask who it is")
	}

	page := services["page"]
	if page.For == nil || page.Instances != monitor.PerPrincipal {
		t.Fatalf("page: %+v", page)
	}
	for _, who := range []string{"bob", "carol", "a b"} {
		got, err := page.For(who)
		own, ownErr := page.Granted(who)
		if err = errors.Join(err, ownErr); err != nil {
			t.Errorf("page for %s: %v", who, err)
			continue
		}
		q := fmt.Sprintf("%q", who)
		same(t, "page for "+who, got.Flow, flow("True %% "+q, "True %% "+q, q+" | auth"))
		if e := got.PortEndpoints[80]; e != (guard.Endpoint{Request: label.MustParse("True %% " + q)}) {
			t.Errorf("page's port for %s: %+v", who, e)
		}
		if v := got.Volumes; len(v) != 1 || v[0].Label != label.MustParse("True %% "+q) {
			t.Errorf("page's volumes for %s: %+v", who, v)
		}
		if len(own) != 1 || own[0].To != "auth.check" || own[0].Out != label.MustParseFormula(q+" | auth") {
			t.Errorf("grants of page for %s: %+v", who, own)
		}
	}
	for who, why := range map[string]string{"": "nobody", "auth": "declared"} {
		if _, err := page.For(who); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("page for %q: %v, want %q in the error", who, err, why)
		}
	}

	people := p.Door.People
	if people == nil {
		t.Fatal("nobody is told apart")
	}
	bob := label.MustParseFormula("bob")
	number := func(i int) int {
		if i < 0 || i >= len(app.Gateway.Routes) {
			return i
		}
		return app.Gateway.Routes[i].Number
	}
	for _, tt := range []struct {
		route int
		to    string
		who   string
		want  guard.Endpoint
		ok    bool
	}{
		{0, "page", "bob", guard.Endpoint{Request: label.New(label.True, bob), Answer: label.New(bob, label.True)}, true},
		{0, "page", "", guard.Endpoint{}, true},
		{0, "page", "auth", guard.Endpoint{}, false},
		{1, "front", "bob", guard.Endpoint{}, true},
		{1, "page", "bob", guard.Endpoint{}, false}, // it leads elsewhere
		{0, "front", "bob", guard.Endpoint{}, false},
		{2, "front", "bob", guard.Endpoint{}, false},
		{-1, "front", "bob", guard.Endpoint{}, false},
	} {
		if got, err := people(number(tt.route), tt.to, tt.who); (err == nil) != tt.ok || err == nil && got != tt.want {
			t.Errorf("route %d to %s for %q: %+v, %v, want %+v", tt.route, tt.to, tt.who, got, err, tt.want)
		}
	}
}

// Without labels the monitor is told of none, and to nobody it makes a difference who he is.
func TestPolicyWithoutLabels(t *testing.T) {
	app := parsed(t, `
gateway: {listen: '127.0.0.1:0', routes: [{path: /, to: page}]}
services:
  page: {runtime: host, command: [/bin/true], http: 80, volumes: [{name: v, to: /data}], provides: [{call: c}]}
  t: {runtime: host, command: [/bin/true], template: true}
`)
	p, err := policyOf(app, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Door.People(app.Gateway.Routes[0].Number, "page", ""); err != nil || got != (guard.Endpoint{}) {
		t.Errorf("nobody in particular: %+v, %v", got, err)
	}
	for _, s := range p.Services {
		if s.Flow != (monitor.Flow{}) || s.PortEndpoints != nil || len(s.Methods) > 0 && s.Methods[0].Endpoint != nil {
			t.Errorf("%+v", s)
		}
	}
}

func flow(l, clearance, owns string) monitor.Flow {
	return monitor.Flow{State: guard.State{Label: label.MustParse(l), Clearance: label.MustParse(clearance)}, Owns: label.MustParseFormula(owns)}
}

func same(t *testing.T, what string, got, want monitor.Flow) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v %v %v, want %v %v %v", what, got.Label, got.Clearance, got.Owns, want.Label, want.Clearance, want.Owns)
	}
}
