package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"text/tabwriter"
)

// Object is what the grant is for: "bank.transfer", "static:8081", "sandbox",
// "theories" for a share to see itself, "prover:theories" for one to show.
func (g Grant) Object() string {
	switch {
	case g.Kind == "share" && g.To == g.From:
		return g.Name
	case g.Name == "":
		return g.To
	case g.Kind == "call":
		return g.To + "." + g.Name
	case g.Kind == "egress":
		return net.JoinHostPort(g.To, g.Name)
	}
	return g.To + ":" + g.Name
}

// Table writes who may reach whom, one grant a line.
func (a *App) Table(w io.Writer) error {
	grants := a.Grants()
	if len(grants) == 0 {
		_, err := fmt.Fprintln(w, "nobody may reach anybody")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FROM\tMAY\tTO\tONLY IF\tBECAUSE OF")
	for _, g := range grants {
		condition := "-"
		switch {
		case g.Bound:
			condition = "bound"
		case g.Private:
			condition = "private too"
		case g.Kind == "egress":
			condition = "public"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", g.From, g.Kind, g.Object(), condition, g.Rule)
	}
	return t.Flush()
}

// node of the graph.
type node struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // gateway, service, template, mailbox, outside
}

// edge of the graph.
type edge struct {
	From  string `json:"from"`
	Kind  string `json:"kind"`
	To    string `json:"to"`
	Name  string `json:"name,omitempty"`
	Bound bool   `json:"bound,omitempty"`
	Rule  string `json:"rule"`

	Private bool `json:"private,omitempty"`
}

func (e edge) label() string {
	label := strings.TrimSpace(e.Kind + " " + e.Name)
	if e.Bound {
		label += " (bound)"
	}
	if e.Private {
		label += " (private too)"
	}
	return label
}

// Graph is who may reach whom in one of the formats dot, mermaid and json. The
// order of nodes is the manifest's, that of edges the one of [App.Grants].
func (a *App) Graph(format string) (string, error) {
	nodes, edges := []node{}, []edge{}
	if a.Gateway != nil {
		nodes = append(nodes, node{"gateway", "gateway"})
	}
	for _, s := range a.Services {
		kind := "service"
		if s.Template {
			kind = "template"
		}
		nodes = append(nodes, node{s.Name, kind})
	}
	for _, m := range a.Mailboxes {
		nodes = append(nodes, node{m.Name, "mailbox"})
	}
	for _, g := range a.Grants() {
		if outside := (node{g.To, "outside"}); g.Kind == "egress" && !slices.Contains(nodes, outside) {
			nodes = append(nodes, outside)
		}
		edges = append(edges, edge{g.From, g.Kind, g.To, g.Name, g.Bound, g.Rule, g.Private})
	}
	switch format {
	case "dot":
		return dot(a.Name, nodes, edges), nil
	case "mermaid":
		return mermaid(nodes, edges), nil
	case "json":
		out, err := json.MarshalIndent(struct {
			Name  string `json:"name"`
			Nodes []node `json:"nodes"`
			Edges []edge `json:"edges"`
		}{a.Name, nodes, edges}, "", "  ")
		return string(out) + "\n", err
	}
	return "", fmt.Errorf("graph: no format %q; there are dot, mermaid and json", format)
}

// dot writes Graphviz. Names and labels hold no character that it would read.
func dot(name string, nodes []node, edges []edge) string {
	shapes := map[string]string{"gateway": "doublecircle", "service": "box", "template": "component", "mailbox": "cds", "outside": "ellipse"}
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n\trankdir=LR;\n", name)
	for _, n := range nodes {
		fmt.Fprintf(&b, "\t%q [shape=%s];\n", n.Name, shapes[n.Kind])
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "\t%q -> %q [label=%q];\n", e.From, e.To, e.label())
	}
	b.WriteString("}\n")
	return b.String()
}

// mermaid numbers the nodes: "end", a fine name, is a word of its own.
func mermaid(nodes []node, edges []edge) string {
	boxes := map[string]string{"gateway": "((%q))", "service": "[%q]", "template": "[[%q]]", "mailbox": ">%q]", "outside": "([%q])"}
	ids := make(map[string]string)
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range nodes {
		ids[n.Name] = fmt.Sprintf("n%d", i)
		fmt.Fprintf(&b, "    %s"+boxes[n.Kind]+"\n", ids[n.Name], n.Name)
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "    %s -->|%q| %s\n", ids[e.From], e.label(), ids[e.To])
	}
	return b.String()
}
