package manifest

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestExplain holds all that is said of the zoobar manifest against files that
// a reviewer can read.
func TestExplain(t *testing.T) {
	a := mustParse(t, valid(t, "zoobar.yaml"))
	var table strings.Builder
	if err := a.Table(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/zoobar.table", []byte(table.String()))
	golden(t, "testdata/zoobar.resolved.yaml", a.Resolved())
	for _, format := range []string{"dot", "mermaid", "json"} {
		text, err := a.Graph(format)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/zoobar."+format, []byte(text))
	}
	if _, err := a.Graph("png"); err == nil {
		t.Error("Graph(png) gave no error")
	}
}

func TestExplainNothing(t *testing.T) {
	a := mustParse(t, "version: 1")
	var table strings.Builder
	if err := a.Table(&table); err != nil || table.String() != "nobody may reach anybody\n" {
		t.Errorf("Table = %q, %v", table.String(), err)
	}
	text, err := a.Graph("json")
	var graph struct{ Nodes, Edges []any }
	if err != nil || json.Unmarshal([]byte(text), &graph) != nil || graph.Nodes == nil || graph.Edges == nil {
		t.Errorf("Graph(json) = %s, %v; want two empty lists", text, err)
	}
}

// What passes through a grant at most is shown, and nothing where nothing was written.
func TestRatesAreShown(t *testing.T) {
	a := mustParse(t, `version: 1
budget: {per_principal: {calls: 100/s burst 200}}
services:
  bank:
    runtime: host
    command: [/bin/true]
    tcp: 80
    provides: [{call: transfer, rate: 20/s per principal}, {call: balance}]
  front:
    runtime: host
    command: [/bin/true]
    uses:
      - {call: bank.transfer, rate: {calls: 5/min burst 10, bytes: 1M/h}}
      - {call: bank.balance}
      - {connect: bank, rate: {bytes: 64K/s}}
      - {egress: 'a.example:80'}
      - {egress: 'b.example:80', rate: 3/min}
`)
	var table strings.Builder
	if err := a.Table(&table); err != nil {
		t.Fatal(err)
	}
	want := `FROM   MAY     TO             ONLY IF  AT MOST                                                              BECAUSE OF
front  call    bank.balance   -        -                                                                    m.yaml:14
front  call    bank.transfer  -        calls 5/min burst 10, bytes 1M/h; provided: calls 20/s per principal  m.yaml:13
front  egress  a.example:80   public   -                                                                    m.yaml:16
front  egress  b.example:80   public   connections 3/min, bytes 16M/s                                       m.yaml:17
front  tcp     bank:80        -        bytes 64K/s                                                          m.yaml:15
each principal, in all: calls 100/s burst 200 (m.yaml:2)
`
	if squeeze(table.String()) != squeeze(want) {
		t.Errorf("Table =\n%s\nwant\n%s", table.String(), want)
	}
	graph, err := a.Graph("dot")
	if err != nil || !strings.Contains(graph, `"front" -> "bank" [label="tcp 80, at most bytes 64K/s"]`) {
		t.Errorf("Graph = %v\n%s", err, graph)
	}
}

// squeeze forgets how far columns are apart.
func squeeze(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

// The rates of routes are among what passes at most.
func TestRatesOfRoutes(t *testing.T) {
	for _, tt := range []struct{ routes, want string }{
		{`{path: /, to: web}`, ""},
		{`{path: /, to: web, rate: 5/min burst 10}`, "requests of each person 5/min burst 10"},
		{`{path: /a, to: web, rate: 5/min}, {path: /b, to: web, rate: 1/s}`, "requests of each person 5/min, or requests of each person 1/s"},
		{`{path: /a, to: web, rate: 5/min}, {path: /b, to: web}`, ""},
	} {
		app, err := Parse("m.yaml", []byte("version: 1\ngateway: {listen: 127.0.0.1:0, routes: ["+tt.routes+"]}\nservices: {web: {runtime: host, command: [/bin/true], http: 80}}\n"), "/", HostPath)
		if err != nil {
			t.Fatal(err)
		}
		if got := app.Grants()[0].AtMost(); got != tt.want {
			t.Errorf("%s: at most %q, want %q", tt.routes, got, tt.want)
		}
	}
}
