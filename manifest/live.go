package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Live is a grant that is given while the application runs. It is one more line among
// the uses of a service, and means what that would mean.
type Live struct {
	Number  int    // from 1, of all that are given at a time: its rule is "grant 3"
	Service string // who is granted it
	Kind    string // call, connect, spawn, share, egress, post, put or take
	Object  string // as among the uses: "bank.balance", "bank:8081"
	Into    string // of a share, "" for the service itself
	Private bool   // of an egress
}

// LiveKinds are the kinds of grants that can be given.
var LiveKinds = []string{"call", "connect", "spawn", "share", "egress", "post", "put", "take"}

// Line is what to write among the uses of the service for it to be granted for good.
func (l Live) Line() string {
	var o object
	for i, n := range l.node().Content {
		if i%2 == 0 {
			o.add(n.Value, l.node().Content[i+1])
		}
	}
	return "- {" + strings.TrimPrefix(o.inline(), ", ") + "}"
}

// node is the use.
func (l Live) node() *yaml.Node {
	var o object
	o.add(l.Kind, text(l.Object))
	if l.Kind == "share" {
		into := l.Into
		if into == "" {
			into = itself
		}
		o.add("into", text(into))
	} else {
		o.add("into", someText(l.Into))
	}
	o.add("private", truth(l.Private))
	return o.done()
}

// write puts it into the document top, as far as its service is there.
func (l Live) write(top *yaml.Node) {
	services := under(top, "services")
	svc := under(services, l.Service)
	if svc == nil || svc.Kind != yaml.MappingNode {
		return
	}
	uses := under(svc, "uses")
	if uses == nil {
		uses = &yaml.Node{Kind: yaml.SequenceNode, Line: -l.Number, Column: 1}
		svc.Content = append(svc.Content, l.placed(text("uses")), uses)
	}
	uses.Content = append(uses.Content, l.placed(l.node()))
	if l.Kind != "call" {
		return
	}
	callee, method, _ := strings.Cut(l.Object, ".")
	provides := under(under(services, callee), "provides")
	if provides == nil {
		return
	}
	for _, p := range provides.Content {
		if call, from := under(p, "call"), under(p, "from"); call != nil && call.Value == method && from != nil {
			from.Content = append(from.Content, l.placed(text(l.Service)))
		}
	}
}

// placed says of n, and of all that is in it, that it is not in the file.
func (l Live) placed(n *yaml.Node) *yaml.Node {
	n.Line, n.Column = -l.Number, 1
	for _, c := range n.Content {
		l.placed(c)
	}
	return n
}

// under is what stands under key in the mapping n, nil if nothing does.
func under(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// source is what a manifest was read from: the file, and what the paths in it were on
// the host.
type source struct {
	data  []byte
	paths map[string]string
}

// remember is resolve, and keeps what it says.
func (s source) remember(resolve func(string) (string, error)) func(string) (string, error) {
	return func(path string) (string, error) {
		real, err := resolve(path)
		if err == nil {
			s.paths[path] = real
		}
		return real, err
	}
}

// known resolves what was resolved before.
func (s source) known(path string) (string, error) {
	if real, ok := s.paths[path]; ok {
		return real, nil
	}
	return "", fmt.Errorf("%q was not looked at when the manifest was read", path)
}

// With is the application with these grants besides those of the manifest, and
// without those that are revoked. It is an error if as a manifest it would be one:
// nothing is granted that is not there, that labels forbid, or that breaks an assertion.
// The files of the host are not looked at again.
func (a *App) With(live []Live, revoked []Grant) (*App, error) {
	with, err := readWith(a.File, a.source.data, a.Dir, a.source.known, live)
	if err != nil {
		return nil, err
	}
	for _, l := range live {
		if with.Service(l.Service) == nil {
			return nil, fmt.Errorf("grant %d: no service %q", l.Number, l.Service)
		}
	}
	with.Name, with.revoked, with.table = a.Name, revoked, new(granted)
	return with, nil
}

// Granted is the grant of an object to a service: of those that there are, or that there
// would be without what is revoked. A port may be left out if there is only one.
func (a *App) Granted(service, kind, object, into string) (Grant, bool) {
	if kind == "share" && into != "" && into != itself && into != service {
		object = into + ":" + object
	}
	open := *a
	if len(a.revoked) > 0 {
		open.revoked, open.table = nil, nil
	}
	var found []Grant
	for _, g := range open.GrantsOf(service) {
		same := g.Kind == kind || kind == "connect" && (g.Kind == "http" || g.Kind == "tcp")
		if same && (g.Object() == object || kind == "connect" && g.To == object) {
			found = append(found, g)
		}
	}
	if len(found) != 1 {
		return Grant{}, false
	}
	return found[0], true
}

// Same tells whether g and o let the same one use the same thing.
func (g Grant) Same(o Grant) bool { return compareGrants(g, o) == 0 }

// Revoked tells whether a grant of the manifest is not given.
func (a *App) Revoked(g Grant) bool {
	return slices.ContainsFunc(a.revoked, func(no Grant) bool { return compareGrants(g, no) == 0 })
}

// Useless is why a grant gives nothing, though it is given: no label lets anybody use it.
// nil if it gives something, or that is not known.
func (a *App) Useless(rule string) error {
	if !a.Labelled() {
		return nil
	}
	report, err := a.Flow()
	if err != nil {
		return nil
	}
	for _, note := range report.Notes {
		if strings.HasPrefix(note, rule+" ") {
			return errors.New(note)
		}
	}
	return nil
}
