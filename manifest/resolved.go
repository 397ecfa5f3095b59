package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"cofferdam/label"

	"go.yaml.in/yaml/v4"
)

// Resolved is a as a manifest in YAML with nothing left to a default. It parses
// as the same application, whatever directory it lies in.
func (a *App) Resolved() []byte {
	out, err := yaml.Dump(a.node(), yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		panic(fmt.Sprintf("manifest: a tree of our own does not encode: %v", err))
	}
	return out
}

// ResolvedJSON is the same in JSON.
func (a *App) ResolvedJSON() []byte {
	var compact, out bytes.Buffer
	appendJSON(&compact, a.node())
	if err := json.Indent(&out, compact.Bytes(), "", "  "); err != nil {
		panic(fmt.Sprintf("manifest: a tree of our own is not JSON: %v", err))
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// object is a mapping under construction. Keys whose value is nil are left out.
type object struct{ node yaml.Node }

func (o *object) add(key string, val *yaml.Node) {
	if val != nil {
		o.node.Content = append(o.node.Content, text(key), val)
	}
}

func (o *object) done() *yaml.Node {
	o.node.Kind = yaml.MappingNode
	return &o.node
}

// inline is the keys and values on one line, each after a comma.
func (o *object) inline() string {
	if len(o.node.Content) == 0 {
		return ""
	}
	flow := *o.done()
	flow.Style = yaml.FlowStyle
	out, err := yaml.Dump(&flow, yaml.WithLineWidth(-1))
	if err != nil {
		panic(fmt.Sprintf("manifest: a tree of our own does not encode: %v", err))
	}
	return ", " + strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(out)), "{"), "}")
}

// text is a string, quoted wherever it could be read as something else, be it
// by a reader of YAML 1.1.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		n.Style = yaml.DoubleQuotedStyle
	}
	if kindOf(n) != isText || !printable(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func number(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: s}
	switch kindOf(n) {
	case isText: // unlimited
		n.Tag = "!!str"
	case isFloat:
		n.Tag = "!!float"
	default:
		n.Tag = "!!int"
	}
	return n
}

func count(n int) *yaml.Node {
	if n == Unlimited {
		return text(unlimited)
	}
	return number(strconv.Itoa(n))
}

// someText is s if there is any: an empty one was not written.
func someText(s string) *yaml.Node {
	if s == "" {
		return nil
	}
	return text(s)
}

func somePort(n int) *yaml.Node {
	if n == 0 {
		return nil
	}
	return count(n)
}

func truth(b bool) *yaml.Node {
	if !b {
		return nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
}

// sequence is a list, nil if it is empty.
func sequence[T any](items []T, each func(T) *yaml.Node) *yaml.Node {
	if len(items) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	flow := true
	for _, item := range items {
		c := each(item)
		flow = flow && c.Kind == yaml.ScalarNode
		n.Content = append(n.Content, c)
	}
	if flow {
		n.Style = yaml.FlowStyle
	}
	return n
}

func (a *App) node() *yaml.Node {
	var o object
	o.add("version", count(1))
	o.add("name", text(a.Name))
	if a.Gateway != nil {
		o.add("gateway", a.Gateway.node())
	}
	o.add("egress", a.Egress.node())
	o.add("metrics", a.Metrics.node())
	o.add("traces", a.Traces.node())
	o.add("principals", sequence(a.Principals, Principal.node))
	var all object
	for _, s := range a.Services {
		all.add(s.Name, s.node())
	}
	if len(a.Services) > 0 {
		o.add("services", all.done())
	}
	if b := a.Budget; b.Pos != (Pos{}) {
		o.add("budget", b.node())
	}
	o.add("audit", a.Audit.node())
	o.add("mailboxes", sequence(a.Mailboxes, Mailbox.node))
	o.add("shares", sequence(a.Shares, func(s Share) *yaml.Node {
		var o object
		o.add("name", text(s.Name))
		o.add("from", text(s.From))
		o.add("writable", truth(s.Writable))
		if s.Writable {
			o.add("size", text(formatSize(s.SizeBytes)))
		}
		if s.Label != label.Public {
			o.add("label", text(s.Label.String()))
		}
		return o.done()
	}))
	o.add("assert", sequence(a.Asserts, func(s Assert) *yaml.Node { return text(s.String()) }))
	o.add("allow_degraded", sequence(a.AllowDegraded, text))
	return o.done()
}

// node leaves out what is the host's to say.
func (b Budget) node() *yaml.Node {
	var o object
	if b.Memory != 0 {
		o.add("memory", text(formatSize(b.Memory)))
	}
	if b.Pids != 0 {
		o.add("pids", count(b.Pids))
	}
	if b.Instances != 0 {
		o.add("instances", count(b.Instances))
	}
	o.add("per_principal", b.Principal.node())
	return o.done()
}

func (g *Gateway) node() *yaml.Node {
	var o, l object
	o.add("listen", someText(g.Listen))
	o.add("routes", sequence(g.Routes, func(route Route) *yaml.Node {
		var o object
		o.add("path", text(route.Path))
		o.add("to", text(route.To))
		o.add("nobody", someText(route.Nobody))
		o.add("rate", someText(route.Rate.format(decimal)))
		o.add("websocket", truth(route.WebSocket))
		if !route.Lenient {
			o.add("request", someLabel(route.Request, g.person.Request))
			o.add("answer", someLabel(route.Answer, g.person.Answer))
		}
		return o.done()
	}))
	o.add("authenticate", g.Authenticate.node())
	l.add("header", text(formatSize(g.Limits.HeaderBytes)))
	l.add("body", text(formatSize(g.Limits.BodyBytes)))
	l.add("timeout", text(formatDuration(g.Limits.Timeout)))
	l.add("stream", text(formatDuration(g.Limits.Stream)))
	if g.Limits.Answer > 0 {
		l.add("answer", text(formatDuration(g.Limits.Answer)))
	}
	l.add("idle", text(formatDuration(g.Limits.Idle)))
	l.add("connections", count(g.Limits.Connections))
	l.add("per_peer", count(g.Limits.PerPeer))
	l.add("per_principal", count(g.Limits.PerPrincipal))
	l.add("rate", someText(g.Limits.Rate.format(decimal)))
	if g.Listen != "" {
		o.add("limits", l.done())
	}
	o.add("tcp", sequence(g.TCP, Door.node))
	return o.done()
}

func (s *Service) node() *yaml.Node {
	var o object
	o.add("template", truth(s.Template))
	o.add("runtime", someText(s.Runtime))
	o.add("command", sequence(s.Command, text))
	o.add("environment", sequence(s.Environment, text))
	o.add("working_dir", text(s.WorkingDir))
	if s.Sendfile {
		o.add("sendfile", truth(s.Sendfile))
	}
	o.add("files", sequence(s.Files, func(f File) *yaml.Node {
		var o object
		o.add("from", text(f.From))
		o.add("to", text(f.To))
		return o.done()
	}))
	o.add("volumes", sequence(s.Volumes, func(v Volume) *yaml.Node {
		var o object
		o.add("name", text(v.Name))
		o.add("to", text(v.To))
		o.add("size", text(formatSize(v.SizeBytes)))
		if v.Inodes > 0 {
			o.add("inodes", count(int(v.Inodes)))
		}
		o.add("read_only", truth(v.ReadOnly))
		o.add("label", someLabel(v.Label, s.Label))
		return o.done()
	}))
	o.add("tmpfs", sequence(s.Tmpfs, func(t Tmpfs) *yaml.Node {
		var o object
		o.add("to", text(t.To))
		o.add("size", text(formatSize(t.SizeBytes)))
		o.add("inodes", count(int(t.Inodes)))
		return o.done()
	}))
	o.add("label", someLabel(s.Label, Label{}))
	o.add("clearance", someLabel(s.Clearance, s.Label))
	o.add("owns", someFormula(s.Owns))
	o.add("http", s.portNode(s.HTTP))
	o.add("tcp", sequence(s.TCP, s.portNode))
	o.add("stdio", someText(s.Stdio))
	o.add("provides", sequence(s.Provides, s.provideNode))
	o.add("uses", sequence(s.Uses, func(u Use) *yaml.Node {
		var o object
		o.add("call", someText(u.Call))
		o.add("spawn", someText(u.Spawn))
		o.add("connect", someText(u.Connect))
		o.add("share", someText(u.Share))
		o.add("into", someText(u.Into))
		o.add("egress", someText(u.Egress))
		o.add("post", someText(u.Post))
		o.add("put", someText(u.Put))
		o.add("take", someText(u.Take))
		o.add("out", someFormula(u.Out))
		o.add("in", someFormula(u.In))
		o.add("request", someLabel(u.Request, Label{}))
		o.add("answer", someLabel(u.Answer, Label{}))
		o.add("private", truth(u.Private))
		o.add("rate", u.Rate.node())
		if u.Deadline > 0 {
			o.add("deadline", text(formatDuration(u.Deadline)))
		}
		o.add("direct", truth(u.Direct))
		if u.ForAnyone {
			o.add("for", text("anyone"))
		}
		o.add("bound", truth(u.Bound))
		return o.done()
	}))
	o.add("instances", text(s.Instances))
	if s.pooled() {
		o.add("idle", text(formatDuration(s.Idle)))
		o.add("max_instances", count(s.MaxInstances))
	}
	if s.Warm > 0 {
		o.add("warm", count(s.Warm))
	}
	if s.Fork != nil {
		o.add("warm", s.Fork.node(byFork))
	}
	if s.Ahead != nil {
		o.add("warm", s.Ahead.node(byExec))
	}
	o.add("limits", s.Limits.node())
	o.add("depends_on", sequence(s.DependsOn, text))
	if !s.ends() {
		o.add("healthcheck", s.Health.node())
		o.add("on_unhealthy", text(s.OnUnhealthy))
		o.add("restart", s.Restart.node())
		o.add("stop_grace_period", text(formatDuration(s.StopGracePeriod)))
	}
	return o.done()
}

func (s *Service) provideNode(p Provide) *yaml.Node {
	var o object
	o.add("call", text(p.Call))
	if p.From != nil && len(p.From) == 0 {
		o.add("from", &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle})
	}
	o.add("from", sequence(p.From, text))
	o.add("deadline", text(formatDuration(p.Deadline)))
	o.add("idempotent", truth(p.Idempotent))
	if p.Gate == nil && s.Instances != perCall && s.Instances != perLabel {
		o.node.Content = append(o.node.Content, s.labelsNode(p.Endpoint).node.Content...)
	}
	o.add("gate", p.Gate.node())
	o.add("rate", p.Rate.node())
	return o.done()
}

func (l Limits) node() *yaml.Node {
	var o object
	o.add("memory", text(formatSize(l.Memory)))
	o.add("pids", count(l.Pids))
	o.add("cpus", number(formatShare(l.CPUs)))
	o.add("cpu", text(formatDuration(l.CPU)))
	o.add("wall", text(formatDuration(l.Wall)))
	o.add("output", text(formatSize(l.Output)))
	o.add("files", count(l.Files))
	o.add("file_size", text(formatSize(l.FileSize)))
	o.add("tmp", text(formatSize(l.Tmp)))
	if l.Inotify > 0 {
		o.add("inotify", count(l.Inotify))
	}
	return o.done()
}

func (s Restart) node() *yaml.Node {
	var o object
	o.add("policy", text(s.Policy))
	o.add("intensity", count(s.Intensity))
	o.add("period", text(formatDuration(s.Period)))
	o.add("backoff", text(formatDuration(s.Backoff)))
	o.add("backoff_max", text(formatDuration(s.BackoffMax)))
	return o.done()
}

// appendJSON writes a tree that node made, keeping the order of its keys.
func appendJSON(b *bytes.Buffer, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(",:"[i%2])
			}
			appendJSON(b, c)
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			appendJSON(b, c)
		}
		b.WriteByte(']')
	default:
		if n.Tag != "!!str" {
			b.WriteString(n.Value)
			return
		}
		b.WriteString(quoteJSON(n.Value))
	}
}

// quoteJSON quotes s so that YAML, too, reads it as it is: there a raw U+0085
// is the end of a line, and a pair of surrogates is not a character.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c < 0x10000 && !strconv.IsPrint(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
