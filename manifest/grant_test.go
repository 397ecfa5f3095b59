package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cofferdam/address"

	"go.yaml.in/yaml/v4"
)

// checkGrants holds the grants of any accepted manifest against its lines.
func checkGrants(t testing.TB, a *App) {
	t.Helper()
	seen := make(map[Grant]bool)
	for _, g := range a.Grants() {
		id := g
		id.Rule, id.Bound = "", false
		if seen[id] {
			t.Errorf("grant %+v stands twice", g)
		}
		seen[id] = true
		if g.Kind == "egress" {
			checkWayOut(t, a, g)
			continue
		}
		if g.Kind == "post" || g.Kind == "put" || g.Kind == "take" {
			checkMailbox(t, a, g)
			continue
		}
		to := a.Service(g.To)
		if to == nil || g.From != "gateway" && a.Service(g.From) == nil {
			t.Errorf("grant %+v between services that are not there", g)
			continue
		}
		switch g.Kind {
		case "call":
			p := to.provide(g.Name)
			if p == nil {
				t.Errorf("grant %+v of a method that is not there", g)
			} else if p.From != nil && !slices.Contains(p.From, g.From) {
				t.Errorf("grant %+v past the list %v", g, p.From)
			} else if g.From == gatewayName && (a.Gateway == nil || a.Gateway.Authenticate == nil || a.Gateway.Authenticate.Call != g.To+"."+g.Name) {
				t.Errorf("grant %+v to the gateway, which does not need it", g)
			} else if g.From != gatewayName && p.From == nil && a.Service(g.From).calls()[g.To+"."+g.Name] == nil {
				t.Errorf("grant %+v that nobody wrote", g)
			}
		case "spawn":
			if !to.Template {
				t.Errorf("grant %+v of what is no template", g)
			}
		case "http", "tcp":
			if !slices.Contains(to.Ports(), atoi(g.Name)) || to.Template {
				t.Errorf("grant %+v of a port that is not declared", g)
			}
		case "share":
			uses := a.Service(g.From).Uses
			if a.Share(g.Name) == nil || !slices.ContainsFunc(uses, func(u Use) bool {
				return u.Share == g.Name && (u.Into == g.To || u.Into == itself && g.To == g.From)
			}) {
				t.Errorf("grant %+v that nobody wrote", g)
			}
		default:
			t.Errorf("grant %+v of an unknown kind", g)
		}
		if got := a.GrantFor(g.From, g.Kind, g.To, g.Name); got != "" {
			t.Errorf("GrantFor what is granted, %+v, = %q", g, got)
		}
	}
}

// checkWayOut finds the line of a grant that leads outside.
func checkWayOut(t testing.TB, a *App, g Grant) {
	t.Helper()
	e, err := address.ParseEndpoint(g.Object())
	if err != nil || e.String() != g.Object() {
		t.Errorf("grant %+v of what is no endpoint: %v", g, err)
	}
	if class := address.ClassOf(e.Addr); e.Name == "" && (class == address.Reserved || class != address.Public && !g.Private) {
		t.Errorf("grant %+v of an address that is %s", g, class)
	}
	from := a.Service(g.From)
	if from == nil || !slices.ContainsFunc(from.Uses, func(u Use) bool { return u.Egress == g.Object() && u.Private == g.Private && u.Rate == g.Rate }) {
		t.Errorf("grant %+v that nobody wrote", g)
	}
	if g.Rate.Bytes == (Rate{}) || g.Rate.Connections == (Rate{}) {
		t.Errorf("grant %+v has no rate", g)
	}
	if got := a.GrantFor(g.From, g.Kind, g.To, g.Name); got != "" {
		t.Errorf("GrantFor what is granted, %+v, = %q", g, got)
	}
}

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

func grants(a *App) map[string]bool {
	out := make(map[string]bool)
	for _, g := range a.Grants() {
		out[g.From+" "+g.Kind+" "+g.Object()] = true
		if g.Private {
			out[g.From+" "+g.Kind+" "+g.Object()+" wherever it leads"] = true
		}
	}
	return out
}

// access is all that a manifest gives: its grants, and what each service has of
// the host and of storage. Bound and read_only are not counted: they narrow what
// another key gives.
func access(a *App) map[string]bool {
	out := grants(a)
	for _, name := range a.AllowDegraded {
		out["may lack "+name] = true
	}
	if a.Gateway != nil {
		out["listens on "+a.Gateway.Listen] = true
	}
	for _, s := range a.Shares {
		out["share "+s.Name+" is "+s.From] = true
		if s.Writable {
			out["share "+s.Name+" is writable"] = true
		}
	}
	for _, s := range a.Services {
		if s.Runtime != "" {
			out[s.Name+" sees the host's programs"] = true
		}
		for _, f := range s.Files {
			out[s.Name+" sees "+f.From] = true
		}
		for _, v := range s.Volumes {
			out[s.Name+" keeps "+v.Name] = true
		}
		if s.Owns != (Formula{}) {
			out[s.Name+" owns "+s.Owns.String()] = true
		}
	}
	return out
}

// checkMailbox tells that g is written among the uses of whoever has it.
func checkMailbox(t testing.TB, a *App, g Grant) {
	t.Helper()
	s, m := a.Service(g.From), a.Mailbox(g.To)
	if s == nil || m == nil || m.Owner != "" && g.Kind != "post" {
		t.Errorf("grant %+v of what is not there", g)
		return
	}
	want := map[string]Use{"post": {Post: g.To}, "put": {Put: g.To}, "take": {Take: g.To}}[g.Kind]
	if !slices.ContainsFunc(s.Uses, func(u Use) bool { return u.object() == want }) {
		t.Errorf("grant %+v that nobody wrote", g)
	}
}

func TestGrants(t *testing.T) {
	const services = `version: 1
gateway:
  listen: 127.0.0.1:0
  routes:
    - {path: /a, to: web}
    - {path: /b, to: web}
services:
  web: {runtime: host, command: [/bin/true], http: 80, %s}
  bank:
    runtime: host
    command: [/bin/true]
    http: 80
    tcp: 81
    provides: [%s]
  box: {template: true, command: [/bin/true], %s}
`
	for _, tt := range []struct {
		name, web, provides, box string
		want                     []string
	}{
		{"nobody asks", ``, `{call: pay}`, ``, nil},
		{"uses without from", `uses: [{call: bank.pay}]`, `{call: pay}`, ``, []string{"web call bank.pay m.yaml:8"}},
		{"from without uses", ``, `{call: pay, from: [web, box]}`, ``, []string{"box call bank.pay m.yaml:14", "web call bank.pay m.yaml:14"}},
		{"both", `uses: [{call: bank.pay}]`, `{call: pay, from: [web]}`, ``, []string{"web call bank.pay m.yaml:14"}},
		{"an empty from is nobody", ``, `{call: pay, from: []}`, ``, nil},
		{"empty uses are nothing", `uses: []`, `{call: pay}`, `uses: []`, nil},
		{"bound", ``, `{call: pay}`, `uses: [{call: bank.pay, bound: true}]`, []string{"box call bank.pay m.yaml:15 bound"}},
		{"bound stays bound with from", ``, `{call: pay, from: [box]}`, `uses: [{call: bank.pay, bound: true}]`, []string{"box call bank.pay m.yaml:14 bound"}},
		{"spawn", `uses: [{spawn: box}]`, ``, ``, []string{"web spawn box m.yaml:8"}},
		{"http and tcp", `uses: [{connect: 'bank:80'}, {connect: 'bank:81'}]`, ``, ``, []string{"web http bank:80 m.yaml:8", "web tcp bank:81 m.yaml:8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := mustParse(t, fmt.Sprintf(services, tt.web, tt.provides, tt.box))
			checkGrants(t, a)
			var got []string
			for _, g := range a.Grants() {
				line := g.From + " " + g.Kind + " " + g.Object() + " " + g.Rule
				if g.Bound {
					line += " bound"
				}
				got = append(got, line)
			}
			want := append([]string{"gateway http web:80 m.yaml:5"}, tt.want...)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("Grants() =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestEmptyNeverGrants gives every key of the key tables, wherever a valid manifest
// has or could have it, an empty value of each sort, and takes it away: what is
// still accepted gives nothing that was not given before. An empty list that meant
// everything was CVE-2025-66479.
func TestEmptyNeverGrants(t *testing.T) {
	rows := make(map[string][]row) // by the path of the mapping
	left := make(map[string]bool)  // keys that nothing was tried with
	for _, s := range sections() {
		path := s.title
		if s.name == "app" {
			path = ""
		}
		rows[path] = s.keys
		for _, k := range s.keys {
			left[strings.TrimPrefix(path+"."+k.name, ".")] = true
		}
	}
	tried := 0
	for _, f := range corpus(t, "valid").manifests() {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(f.text), &doc); err != nil {
			t.Fatal(err)
		}
		before := access(mustParse(t, f.text))
		try := func(key, what string) {
			text, err := yaml.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			delete(left, key)
			a, err := parse("m.yaml", string(text))
			if err != nil {
				return
			}
			tried++
			for g := range access(a) {
				if !before[g] {
					t.Errorf("%s: %s %s gives: %s", f.name, what, key, g)
				}
			}
		}
		// each changes one key of a mapping that is at path.
		each := func(n *yaml.Node, path string, keys []row) {
			for _, k := range keys {
				key := strings.TrimPrefix(path+"."+k.name, ".")
				kept := n.Content
				without := slices.Clone(kept)
				for i := 0; i < len(without); i += 2 {
					if without[i].Value == k.name {
						without = slices.Delete(without, i, i+2)
						break
					}
				}
				n.Content = without
				try(key, "no")
				for what, empty := range map[string]*yaml.Node{
					"an empty list at":    {Kind: yaml.SequenceNode, Style: yaml.FlowStyle},
					"an empty mapping at": {Kind: yaml.MappingNode, Style: yaml.FlowStyle},
					"an empty text at":    {Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle},
					"no value at":         {Kind: yaml.ScalarNode, Value: "null"},
				} {
					n.Content = append(slices.Clone(without), &yaml.Node{Kind: yaml.ScalarNode, Value: k.name}, empty)
					try(key, what)
				}
				n.Content = kept
			}
		}
		var walk func(n *yaml.Node, path string)
		walk = func(n *yaml.Node, path string) {
			switch n.Kind {
			case yaml.DocumentNode, yaml.SequenceNode:
				for _, c := range n.Content {
					walk(c, path)
				}
			case yaml.MappingNode:
				each(n, path, rows[path])
				for i := 0; i < len(n.Content); i += 2 {
					name := n.Content[i].Value
					if path == "services" {
						name = "NAME"
					}
					walk(n.Content[i+1], strings.TrimPrefix(path+"."+name, "."))
				}
			}
		}
		walk(&doc, "")
	}
	for key := range left {
		t.Errorf("no valid manifest of the corpus has a place for %s", key)
	}
	if tried < 500 {
		t.Errorf("only %d changed manifests were accepted: the test tests little", tried)
	}
}

var fixLine = regexp.MustCompile(`^m\.yaml:(\d+) ([a-z_.0-9-]+): (.+)$`)

// apply does what the lines of GrantFor say.
func apply(t *testing.T, doc *yaml.Node, fix string) {
	t.Helper()
	for line := range strings.SplitSeq(fix, "\n") {
		m := fixLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("cannot read the fix %q", line)
		}
		var val yaml.Node
		if err := yaml.Unmarshal([]byte(m[3]), &val); err != nil {
			t.Fatal(err)
		}
		at := doc.Content[0]
		var last *yaml.Node
		for key := range strings.SplitSeq(m[2], ".") {
			last = nil
			for i := 0; i < len(at.Content); i += 2 {
				if at.Content[i].Value == key {
					last = at.Content[i+1]
				}
			}
			if last == nil {
				last = &yaml.Node{Kind: yaml.SequenceNode}
				at.Content = append(at.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, last)
			}
			at = last
		}
		if strings.HasSuffix(m[2], ".tcp") {
			*last = *val.Content[0]
			continue
		}
		item := val.Content[0].Content[0]
		replaced := false
		for i, c := range last.Content { // a method that is there already is written anew
			if strings.HasSuffix(m[2], ".provides") && c.Content[1].Value == item.Content[1].Value {
				last.Content[i], replaced = item, true
			}
		}
		if !replaced {
			last.Content = append(last.Content, item)
		}
	}
}

// TestGrantForGrants asks for everything that anybody could want, does what
// the answer says, and finds it granted, and nothing else with it.
func TestGrantForGrants(t *testing.T) {
	fixes := 0
	for _, f := range corpus(t, "valid").manifests() {
		a := mustParse(t, f.text)
		before := grants(a)
		for _, from := range a.Services {
			for _, host := range []string{"host.example", "2620:fe::9", "10.9.8.7"} {
				fixes++
				checkFix(t, f, before, from.Name, "egress", host, "443")
			}
			for _, to := range a.Services {
				wants := [][2]string{{"spawn", ""}, {"connect", "4242"}, {"call", "new_method"}}
				for _, s := range a.Shares {
					wants = append(wants, [2]string{"share", s.Name})
				}
				for _, p := range to.Provides {
					wants = append(wants, [2]string{"call", p.Call})
				}
				for _, p := range to.Ports() {
					wants = append(wants, [2]string{"connect", fmt.Sprint(p)})
				}
				for _, w := range wants {
					fix := a.GrantFor(from.Name, w[0], to.Name, w[1])
					if fix == "" {
						continue
					}
					fixes++
					checkFix(t, f, before, from.Name, w[0], to.Name, w[1])
				}
			}
		}
	}
	if fixes < 50 {
		t.Errorf("only %d fixes: the test tests little", fixes)
	}
}

// checkFix does what GrantFor says for one wish.
func checkFix(t *testing.T, f entry, before map[string]bool, from, kind, to, name string) {
	t.Helper()
	fix := mustParse(t, f.text).GrantFor(from, kind, to, name)
	a, err := parseFixed(t, f.text, fix)
	if err != nil && strings.Contains(err.Error(), "write peer:PORT") {
		return // a second port makes another's {connect: peer} ambiguous
	}
	if err != nil {
		if strings.Contains(err.Error(), " does reach ") {
			return // a grant that breaks what is asserted is refused
		}
		t.Errorf("%s: after %q: %v", f.name, fix, err)
		return
	}
	added := maps.Clone(grants(a))
	for g := range before {
		if !added[g] {
			t.Errorf("%s: %q takes %s away", f.name, fix, g)
		}
		delete(added, g)
	}
	want := 1
	if to == "10.9.8.7" {
		want = 2 // and wherever it leads, for it is private
	}
	if len(added) != want {
		t.Errorf("%s: %q adds %v, want one grant", f.name, fix, slices.Collect(maps.Keys(added)))
	}
	if again := a.GrantFor(from, kind, to, name); again != "" {
		t.Errorf("%s: after %q it is still to do: %q", f.name, fix, again)
	}
}

func parseFixed(t *testing.T, text, fix string) (*App, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	apply(t, &doc, fix)
	fixed, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return parse("m.yaml", string(fixed))
}

func TestGrantFor(t *testing.T) {
	a := mustParse(t, valid(t, "zoobar.yaml"))
	for _, tt := range []struct{ from, kind, to, name, want string }{
		{"static", "call", "bank", "balance", "m.yaml:11 services.static.uses: - {call: bank.balance}"},
		{"dynamic", "call", "bank", "balance", "m.yaml:22 services.dynamic.uses: - {call: bank.balance}"},
		{"static", "call", "bank", "transfer", "m.yaml:35 services.bank.provides: - {call: transfer, from: [dynamic, profile, static]}"},
		{"static", "call", "bank", "close", "m.yaml:37 services.bank.provides: - {call: close}\nm.yaml:11 services.static.uses: - {call: bank.close}"},
		{"static", "call", "auth", "check_token", "m.yaml:11 services.static.uses: - {call: auth.check_token}"},
		{"dynamic", "spawn", "sandbox", "", "m.yaml:22 services.dynamic.uses: - {spawn: sandbox}"},
		{"dynamic", "connect", "static", "8081", "m.yaml:22 services.dynamic.uses: - {connect: static:8081}"},
		{"dynamic", "connect", "bank", "81", "m.yaml:30 services.bank.tcp: [81]\nm.yaml:22 services.dynamic.uses: - {connect: bank:81}"},
		{"gateway", "connect", "static", "8081", ""}, // granted
		{"gateway", "connect", "bank", "80", ""},     // has no http
		{"gateway", "http", "nobody", "80", ""},
		{"static", "spawn", "bank", "", ""},      // no template
		{"static", "call", "sandbox", "run", ""}, // no name leads to it
		{"static", "call", "nobody", "run", ""},
		{"static", "fly", "bank", "", ""},
		{"static", "call", "bank", "a: b}", ""},
	} {
		if got := a.GrantFor(tt.from, tt.kind, tt.to, tt.name); got != tt.want {
			t.Errorf("GrantFor(%s, %s, %s, %s) = %q, want %q", tt.from, tt.kind, tt.to, tt.name, got, tt.want)
		}
	}
}

// TestGrantForKeepsTheRest: the line to write in place of a method's has all
// that the old one had.
func TestGrantForKeepsTheRest(t *testing.T) {
	a := mustParse(t, `version: 1
gateway: {listen: '127.0.0.1:0'}
services:
  a: {runtime: host, command: [/bin/true], http: 80, provides: [{call: m, from: [], deadline: 2s, idempotent: true}]}
`)
	want := "m.yaml:4 services.a.provides: - {call: m, from: [a], deadline: 2s, idempotent: true}"
	if got := a.GrantFor("a", "call", "a", "m"); got != want {
		t.Errorf("GrantFor = %q, want %q", got, want)
	}
	want = "m.yaml:2 gateway.routes: - {path: '/a(/.*)?', to: a}"
	if got := a.GrantFor("gateway", "connect", "a", "80"); got != want {
		t.Errorf("GrantFor = %q, want %q", got, want)
	}
}

// valid is one manifest of the corpus.
func valid(t testing.TB, name string) string {
	t.Helper()
	for _, f := range corpus(t, "valid").manifests() {
		if f.name == name {
			return f.text
		}
	}
	t.Fatalf("no %s in the corpus", name)
	return ""
}

// TestFixKeepsLabels: the line that lets one more caller in says of labels what it said.
func TestFixKeepsLabels(t *testing.T) {
	a := mustParse(t, `version: 1
principals: [alice]
services:
  a:
    runtime: host
    command: [/bin/true]
    label: 'True %% alice'
    owns: alice
    provides: [{call: m, from: [], request: 'True %% True'}]
  g:
    runtime: host
    command: [/bin/cat]
    stdio: lines
    owns: alice
    provides: [{call: m, from: [], gate: {shows: alice, input: 'alice %% alice', bits: 1}}]
  b: {runtime: host, command: [/bin/true]}
`)
	for to, want := range map[string]string{
		"a": `m.yaml:9 services.a.provides: - {call: m, from: [b], request: True %% True, answer: True %% "alice"}`,
		"g": `m.yaml:15 services.g.provides: - {call: m, from: [b], gate: {shows: '"alice"', integrity: '"alice"', input: '"alice" %% "alice"', output: '"alice" %% "alice"', bits: 1}}`,
	} {
		if got := a.GrantFor("b", "call", to, "m"); got != want {
			t.Errorf("GrantFor(b, call, %s, m) = %s\nwant %s", to, got, want)
		}
	}
}

// Of the deadlines that a port and a line have the shorter holds, and a door has that of
// the port.
func TestDeadlinesOfConnections(t *testing.T) {
	app, err := Parse("m.yaml", []byte(`
version: 1
gateway: {tcp: [{listen: '127.0.0.1:82', to: 'server:4711'}]}
services:
  server: {runtime: host, command: [/bin/true], tcp: [4710, {port: 4711, deadline: 30s}]}
  client: {runtime: host, command: [/bin/true], uses: [{connect: 'server:4710', deadline: 5s}, {connect: 'server:4711', deadline: 1m}]}
  other: {runtime: host, command: [/bin/true], uses: [{connect: 'server:4710'}, {connect: 'server:4711', deadline: 1s}]}
`), "/", HostPath)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, g := range app.Grants() {
		got[g.From+" "+g.Object()] = g.Deadline.String()
	}
	want := map[string]string{
		"gateway server:4711": "30s", "client server:4710": "5s", "client server:4711": "30s", "other server:4710": "0s", "other server:4711": "1s",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if server, client := app.Service("server"), app.Service("client"); !app.Paced(server) || app.Paced(client) {
		t.Error("whose connections have a deadline is not told")
	}
}
