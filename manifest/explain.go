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
		if _, err := fmt.Fprintln(w, "nobody may reach anybody"); err != nil {
			return err
		}
		return a.shown(w)
	}
	rated := slices.ContainsFunc(grants, func(g Grant) bool { return g.AtMost() != "" })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := []string{"FROM", "MAY", "TO", "ONLY IF", "BECAUSE OF"}
	if rated {
		columns = slices.Insert(columns, 4, "AT MOST")
	}
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, g := range grants {
		condition := "-"
		switch {
		case g.Bound:
			condition = "bound"
		case g.ForAnyone && g.Direct:
			condition = "for anyone, direct"
		case g.ForAnyone:
			condition = "for anyone"
		case g.Direct:
			condition = "direct"
		case g.Private:
			condition = "private too"
		case g.Kind == "egress":
			condition = "public"
		}
		row := []string{g.From, g.Kind, g.Object(), condition, g.Rule}
		if rated {
			most := g.AtMost()
			if most == "" {
				most = "-"
			}
			row = slices.Insert(row, 4, most)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if total := a.Budget.Principal.String(); total != "" {
		_, err := fmt.Fprintf(w, "each principal, in all: %s (%s)\n", total, a.rule(a.Budget.Principal.Pos))
		if err != nil {
			return err
		}
	}
	return a.shown(w)
}

// shown writes who is shown what is counted, and told of calls: nobody of the application.
func (a *App) shown(w io.Writer) error {
	if m := a.Metrics; m != nil {
		if _, err := fmt.Fprintf(w, "how often anything happens can be read at %s (%s)\n", m.Listen, a.rule(m.Pos)); err != nil {
			return err
		}
	}
	if t := a.Traces; t != nil {
		if _, err := fmt.Fprintf(w, "%s is told of calls in which nothing is secret (%s)\n", t.To, a.rule(t.Pos)); err != nil {
			return err
		}
	}
	return nil
}

// AtMost is what passes at most, in words; "" for no limit, and for what a way out has
// without a word.
func (g Grant) AtMost() string {
	var all []string
	var usual Rates
	usual.fillDefaults()
	own := g.Rate
	own.Pos = Pos{}
	if text := own.String(); text != "" && own != usual {
		all = append(all, text)
	}
	if g.Requests != "" {
		all = append(all, g.Requests)
	}
	if text := g.Provided.String(); text != "" {
		all = append(all, "provided: "+text)
	}
	return strings.Join(all, "; ")
}

// node of the graph.
type node struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // gateway, service, template, mailbox, volume, outside

	Label string `json:"label,omitempty"` // where it is not public
}

// edge of the graph.
type edge struct {
	From  string `json:"from"`
	Kind  string `json:"kind"`
	To    string `json:"to"`
	Name  string `json:"name,omitempty"`
	Bound bool   `json:"bound,omitempty"`
	Rule  string `json:"rule"`

	ForAnyone bool `json:"for_anyone,omitempty"`

	Private bool   `json:"private,omitempty"`
	Direct  bool   `json:"direct,omitempty"`
	Rate    string `json:"rate,omitempty"`

	Out string `json:"out,omitempty"` // the privileges used for it
	In  string `json:"in,omitempty"`
}

func (e edge) label() string {
	label := strings.TrimSpace(e.Kind + " " + e.Name)
	if e.Bound {
		label += " (bound)"
	}
	if e.ForAnyone {
		label += " (for anyone)"
	}
	if e.Private {
		label += " (private too)"
	}
	if e.Direct {
		label += " (direct)"
	}
	if e.Rate != "" {
		label += ", at most " + e.Rate
	}
	if e.Out != "" {
		label += ", releasing " + e.Out
	}
	if e.In != "" {
		label += ", vouching " + e.In
	}
	return label
}

// Graph is who may reach whom in one of the formats dot, mermaid and json. The
// order of nodes is the manifest's, that of edges the one of [App.Grants].
func (a *App) Graph(format string) (string, error) {
	nodes, edges := []node{}, []edge{}
	if a.Gateway != nil {
		nodes = append(nodes, node{Name: "gateway", Kind: "gateway"})
	}
	for _, s := range a.Services {
		kind := "service"
		if s.Template {
			kind = "template"
		}
		nodes = append(nodes, node{s.Name, kind, shown(s.Label)})
	}
	for _, m := range a.Mailboxes {
		nodes = append(nodes, node{m.Name, "mailbox", shown(Label{text: m.Label})})
	}
	if a.Labelled() { // otherwise storage is a matter of its service alone
		for _, s := range a.Services {
			for _, v := range s.Volumes {
				kind := "write"
				if v.ReadOnly {
					kind = "read"
				}
				// A service may have the same name.
				nodes = append(nodes, node{"volume " + v.Name, "volume", shown(v.Label)})
				edges = append(edges, edge{From: s.Name, Kind: kind, To: "volume " + v.Name, Rule: a.rule(v.Pos)})
			}
		}
	}
	for _, g := range a.Grants() {
		if outside := (node{Name: g.To, Kind: "outside"}); g.Kind == "egress" && !slices.Contains(nodes, outside) {
			nodes = append(nodes, outside)
		}
		edges = append(edges, edge{g.From, g.Kind, g.To, g.Name, g.Bound, g.Rule, g.ForAnyone, g.Private, g.Direct, g.AtMost(), power(g.Out), power(g.In)})
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

// shown is a label for the graph, "" for the public one.
func shown(l Label) string {
	if l == (Label{}) {
		return ""
	}
	return l.String()
}

func power(f Formula) string {
	if f == (Formula{}) {
		return ""
	}
	return f.String()
}

// dot writes Graphviz. Names and labels hold no character that it would read, but
// for quotes and backslashes, which are escaped as in Go. What has a label has a
// colour, and what uses a privilege another.
func dot(name string, nodes []node, edges []edge) string {
	shapes := map[string]string{"gateway": "doublecircle", "service": "box", "template": "component", "mailbox": "cds", "volume": "cylinder", "outside": "ellipse"}
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n\trankdir=LR;\n", name)
	for _, n := range nodes {
		more := ""
		if n.Label != "" {
			more = fmt.Sprintf(", label=%q, style=filled, fillcolor=lightyellow", n.Name+"\n"+n.Label)
		}
		fmt.Fprintf(&b, "\t%q [shape=%s%s];\n", n.Name, shapes[n.Kind], more)
	}
	for _, e := range edges {
		more := ""
		if e.Out != "" || e.In != "" {
			more = ", color=red"
		}
		fmt.Fprintf(&b, "\t%q -> %q [label=%q%s];\n", e.From, e.To, e.label(), more)
	}
	b.WriteString("}\n")
	return b.String()
}

// mermaid numbers the nodes: "end", a fine name, is a word of its own.
func mermaid(nodes []node, edges []edge) string {
	boxes := map[string]string{"gateway": "((%s))", "service": "[%s]", "template": "[[%s]]", "mailbox": ">%s]", "volume": "[(%s)]", "outside": "([%s])"}
	ids := make(map[string]string)
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range nodes {
		ids[n.Name] = fmt.Sprintf("n%d", i)
		name := n.Name
		if n.Label != "" {
			name += "<br>" + n.Label
		}
		fmt.Fprintf(&b, "    %s"+boxes[n.Kind]+"\n", ids[n.Name], mermaidText(name))
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "    %s -->|%s| %s\n", ids[e.From], mermaidText(e.label()), ids[e.To])
	}
	return b.String()
}

// mermaidText puts a text in quotes, in which Mermaid has entities for quotes.
func mermaidText(s string) string { return `"` + strings.ReplaceAll(s, `"`, "#quot;") + `"` }
