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
