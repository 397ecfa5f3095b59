package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v4"
)

// Diff is what is another in one manifest than in the one before, by what that takes in an
// application that runs.
type Diff struct {
	Fixed    []Changed `json:"fixed,omitempty"`    // cannot change while it runs
	Replaced []Changed `json:"replaced,omitempty"` // services whose instances are replaced
	Added    []string  `json:"added,omitempty"`    // services
	Removed  []string  `json:"removed,omitempty"`

	// Live are the rest: in force at once, and nothing is started anew for it.
	Granted   []Grant  `json:"granted,omitempty"`
	Revoked   []Grant  `json:"revoked,omitempty"`
	Mailboxes []string `json:"mailboxes,omitempty"` // new, gone, or others of the same name, which are empty
	Live      []string `json:"live,omitempty"`      // other keys
}

// Changed is something that is another now.
type Changed struct {
	Name string   `json:"name"` // a service, or a key of the manifest
	Keys []string `json:"keys,omitempty"`
	Why  string   `json:"why,omitempty"` // it cannot change
}

// Empty tells whether nothing is another.
func (d *Diff) Empty() bool {
	return len(d.Fixed)+len(d.Replaced)+len(d.Added)+len(d.Removed)+len(d.Granted)+len(d.Revoked)+len(d.Mailboxes)+len(d.Live) == 0
}

// fixedKeys are those of the whole that an application cannot change while it runs, and why.
// What is neither here nor among the others is fixed too.
var fixedKeys = map[string]string{
	"name":           "it is another application then",
	"egress":         "the door to the Internet was told whom to ask at its start",
	"metrics":        "its socket was opened at the start",
	"principals":     "labels are made of their names",
	"shares":         "their roots were opened at the start",
	"audit":          "the log was opened with it",
	"allow_degraded": "it was proven at the start what holds",
	"budget":         "it was reserved of the host at the start",
}

// Differs compares a with the application that runs. Prints are those of the files of both,
// see [App.Prints].
func (a *App) Differs(before *App, now, then map[string]string) *Diff {
	d := &Diff{}
	was, is := before.node(), a.node()
	for _, key := range keysOf(was, is) {
		from, to := under(was, key), under(is, key)
		if same(from, to) {
			continue
		}
		switch key {
		case "services":
		case "mailboxes":
			for _, m := range append(slices.Clone(before.Mailboxes), a.Mailboxes...) {
				x, y, live := before.Mailbox(m.Name), a.Mailbox(m.Name), "mailboxes."+m.Name+".rate"
				switch {
				case slices.Contains(d.Mailboxes, m.Name), slices.Contains(d.Live, live):
				case x == nil || y == nil || !same(but(x.node(), "rate"), but(y.node(), "rate")):
					d.Mailboxes = append(d.Mailboxes, m.Name)
				case !same(x.node(), y.node()):
					d.Live = append(d.Live, live)
				}
			}
		case "assert":
			d.Live = append(d.Live, key)
		case "gateway":
			d.gateway(from, to)
		case "budget":
			if !same(but(from, "per_principal"), but(to, "per_principal")) {
				d.Fixed = append(d.Fixed, Changed{Name: key, Why: fixedKeys[key]})
			} else {
				d.Live = append(d.Live, "budget.per_principal")
			}
		default:
			d.Fixed = append(d.Fixed, Changed{Name: key, Why: fixedKeys[key]})
		}
	}
	for _, s := range a.Services {
		old := before.Service(s.Name)
		if old == nil {
			d.Added = append(d.Added, s.Name)
			continue
		}
		var keys []string
		x, y := old.node(), s.node()
		for _, key := range keysOf(x, y) {
			from, to := under(x, key), under(y, key)
			switch {
			case same(from, to), key == "uses":
			case key == "http" && same(portItself(from), portItself(to)), key == "tcp" && same(portsThemselves(from), portsThemselves(to)):
				d.Live = append(d.Live, "services."+s.Name+"."+key)
			case key == "provides" && same(served(from), served(to)):
				d.Live = append(d.Live, "services."+s.Name+".provides")
			default:
				keys = append(keys, key)
			}
		}
		if now[s.Name] != then[s.Name] && !slices.Contains(keys, "files") {
			keys = append(keys, "files: what they hold")
		}
		if len(keys) > 0 {
			d.Replaced = append(d.Replaced, Changed{Name: s.Name, Keys: keys})
		}
	}
	for _, s := range before.Services {
		if a.Service(s.Name) == nil {
			d.Removed = append(d.Removed, s.Name)
		}
	}
	d.Granted, d.Revoked = missing(a.Grants(), before.Grants()), missing(before.Grants(), a.Grants())
	return d
}

// gateway compares what people meet.
func (d *Diff) gateway(from, to *yaml.Node) {
	if from == nil || to == nil {
		d.Fixed = append(d.Fixed, Changed{Name: "gateway", Why: "its sockets are opened at the start"})
		return
	}
	var keys []string
	for _, key := range keysOf(from, to) {
		switch {
		case same(under(from, key), under(to, key)):
		case key == "listen" || key == "tcp":
			d.Fixed = append(d.Fixed, Changed{Name: "gateway." + key, Why: "its sockets are opened at the start"})
		default:
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		d.Replaced = append(d.Replaced, Changed{Name: gatewayName, Keys: keys})
	}
}

// missing are those of all that others do not have as they are.
func missing(all, others []Grant) (out []Grant) {
	there := make(map[string]bool, len(others))
	for _, o := range others {
		there[o.says()] = true
	}
	for _, g := range all {
		if !there[g.says()] {
			out = append(out, g)
		}
	}
	return out
}

// says is all that g says, wherever it stands.
func (g Grant) says() string {
	g.Rule = ""
	return fmt.Sprintf("%+v", g.plain())
}

// plain is g without pointers.
func (g Grant) plain() any {
	type bare struct {
		From, Kind, To, Name, Request, Answer, Out, In string
		Bound, Private                                 bool
		Rest                                           string
	}
	rest := g
	rest.Endpoint, rest.Out, rest.In = Endpoint{}, Formula{}, Formula{}
	return bare{g.From, g.Kind, g.To, g.Name, g.Request.String(), g.Answer.String(), g.Out.String(), g.In.String(), g.Bound, g.Private, fmt.Sprintf("%+v", rest)}
}

// served is what provides says of how calls are served; who may make them, and how often, is
// asked anew each time.
func served(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	out := *n
	out.Content = nil
	for _, c := range n.Content {
		out.Content = append(out.Content, but(c, "from", "rate"))
	}
	return &out
}

// portItself is a port without its deadline and its rates, which are asked of the policy with each
// connection.
func portItself(n *yaml.Node) *yaml.Node {
	if n = but(n, "deadline", "rate"); n != nil && len(n.Content) == 2 && n.Content[0].Value == "port" {
		return n.Content[1]
	}
	return n
}

// portsThemselves is that of each port of tcp.
func portsThemselves(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	out := *n
	out.Content = nil
	for _, c := range n.Content {
		out.Content = append(out.Content, portItself(c))
	}
	return &out
}

// but is the mapping n without some keys.
func but(n *yaml.Node, keys ...string) *yaml.Node {
	if n == nil {
		return nil
	}
	out := *n
	out.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !slices.Contains(keys, n.Content[i].Value) {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return &out
}

// same tells whether two trees that node made say the same.
func same(x, y *yaml.Node) bool {
	if x == nil || y == nil {
		return x == y || x != nil && len(x.Content) == 0 && x.Kind != yaml.ScalarNode || y != nil && len(y.Content) == 0 && y.Kind != yaml.ScalarNode
	}
	var a, b bytes.Buffer
	appendJSON(&a, x)
	appendJSON(&b, y)
	return bytes.Equal(a.Bytes(), b.Bytes())
}

// keysOf are the keys of both mappings.
func keysOf(all ...*yaml.Node) (keys []string) {
	for _, n := range all {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// maxPrinted bounds the files of a service that are looked at for a change.
const maxPrinted = 1 << 14

// Prints says of the files of each service which they are: another print is another file, or one
// that was written to. Content is not read; a service with too many files has a print of the first of them.
func (a *App) Prints() map[string]string {
	prints := make(map[string]string)
	for _, s := range a.Services {
		if len(s.Files) == 0 {
			continue
		}
		h := sha256.New()
		left := maxPrinted
		for _, f := range s.Files {
			filepath.WalkDir(f.From, func(path string, entry fs.DirEntry, err error) error {
				if left--; left < 0 {
					return filepath.SkipAll
				}
				rel := strings.TrimPrefix(path, f.From)
				if err != nil {
					fmt.Fprintf(h, "%q %q: unreadable\n", f.To, rel)
					return nil
				}
				info, err := entry.Info()
				if err != nil {
					return nil
				}
				var ino uint64
				if st, ok := info.Sys().(*syscall.Stat_t); ok && !info.IsDir() {
					ino = st.Ino
				}
				size, time := info.Size(), info.ModTime().UnixNano()
				if info.IsDir() {
					size, time = 0, 0 // what is in it is looked at
				}
				fmt.Fprintf(h, "%q %q %d %d %d %o\n", f.To, rel, ino, size, time, info.Mode())
				return nil
			})
		}
		prints[s.Name] = hex.EncodeToString(h.Sum(nil))
	}
	return prints
}

// Paths are what the host's paths in the manifest were when it was read.
func (a *App) Paths() map[string]string { return a.source.paths }

// Reparse reads a manifest whose paths somebody else has looked up, who may see them.
func Reparse(file string, data []byte, dir string, paths map[string]string) (*App, error) {
	return Parse(file, data, dir, source{paths: paths}.known)
}
