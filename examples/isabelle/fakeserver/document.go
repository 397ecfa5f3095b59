package fakeserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cofferdam/examples/isabelle/protocol"
)

// loader reads theories and what they import into a session. It holds the
// session's lock.
type loader struct {
	s       *session
	order   []*node // each after its imports
	loading []string
	errors  []string
}

// load reads theories, named as seen from a directory, and returns them and all
// that they import, each after its imports. Those that have not changed since they were
// read before are the same.
func (s *session) load(master path, theories []string) (all []*node, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &loader{s: s}
	for _, name := range theories {
		l.one(strings.TrimSuffix(name, ".thy"), master, "Draft", "")
	}
	if len(l.errors) > 0 {
		return nil, errors.New(strings.Join(l.errors, "\n"))
	}
	for _, n := range l.order {
		s.nodes[n.path] = n
	}
	return l.order, nil
}

// locate finds out which theory a name means, as seen from a directory in a
// session: its full name, and where it is; nowhere, if it needs no file.
func (s *session) locate(given string, dir path, in string) (name string, file *path, err error) {
	i, err := importName(given)
	if err != nil {
		return "", nil, err
	}
	if i.own {
		p, err := dir.join(i.file).expand(s.server.variable)
		if err != nil {
			return "", nil, err
		}
		name := in + "." + strings.TrimPrefix(i.name, draft)
		if s.image[name] {
			return name, nil, nil
		}
		n := len(p.elements) - 1
		file := path{p.root, append(p.elements[:n:n], p.elements[n]+".thy")}
		return name, &file, nil
	}
	if s.image[i.name] {
		return i.name, nil, nil
	}
	if of, base, ok := strings.Cut(i.name, "."); ok && s.sessions[of].dir != "" {
		info := s.sessions[of]
		for _, d := range append([]string{info.dir}, info.others...) {
			if name := filepath.Join(d, base+".thy"); exists(name) {
				p, err := explode(name)
				return i.name, &p, err
			}
		}
	}
	if s.sessions.has(i.name) {
		return i.name, nil, nil
	}
	return "", nil, fmt.Errorf("Cannot load theory %q", i.name)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// one reads a theory for another one, and returns nil if there is nothing to read
// or it cannot be.
func (l *loader) one(given string, dir path, in, by string) *node {
	fail := func(err error) *node {
		text := err.Error()
		if by != "" {
			text += fmt.Sprintf("\nThe error(s) above occurred for theory %q (required by %q)", given, by)
		}
		if !slices.Contains(l.errors, text) {
			l.errors = append(l.errors, text)
		}
		return nil
	}
	name, file, err := l.s.locate(given, dir, in)
	if err != nil {
		return fail(err)
	}
	if file == nil {
		return nil
	}
	if i := slices.Index(l.loading, name); i >= 0 {
		return fail(fmt.Errorf("Cyclic dependency of %q via %q", name, l.loading[i:]))
	}
	at := file.String()
	if i := slices.IndexFunc(l.order, func(n *node) bool { return n.path == at }); i >= 0 {
		return l.order[i]
	}
	text, err := os.ReadFile(file.file(l.s.server.o.Dir))
	if err != nil {
		return fail(fmt.Errorf("Cannot load theory file %q", at))
	}
	src := newSource(at, string(text))
	h, err := parseHeader(src)
	if err == nil {
		err = checkName(h, at)
	}
	if err != nil {
		return fail(err)
	}
	l.loading = append(l.loading, name)
	var imports []*node
	session, _, _ := strings.Cut(name, ".")
	for _, i := range h.imports {
		if n := l.one(i, file.dir(), session, name); n != nil {
			imports = append(imports, n)
		}
	}
	l.loading = l.loading[:len(l.loading)-1]
	n := l.s.nodes[at]
	if n == nil || n.src.text != src.text || n.name != name || !slices.Equal(n.imports, imports) {
		n = newNode(name, at, src, imports, l.s.now())
	}
	l.order = append(l.order, n)
	return n
}

// purge removes theories, all of them with all, but those that others import that
// stay, or that somebody is checking.
func (s *session) purge(master path, theories []string, all bool) (purged, retained []protocol.Object, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := make(map[*node]bool)
	for _, name := range theories {
		_, file, err := s.locate(strings.TrimSuffix(name, ".thy"), master, "Draft")
		if err != nil {
			return nil, nil, err
		}
		if file != nil && s.nodes[file.String()] != nil {
			gone[s.nodes[file.String()]] = true
		}
	}
	for _, n := range s.nodes {
		gone[n] = (gone[n] || all) && s.used[n] == 0
	}
	for again := true; again; { // what stays keeps what it imports
		again = false
		for _, n := range s.nodes {
			for _, i := range n.imports {
				if !gone[n] && gone[i] {
					gone[i], again = false, true
				}
			}
		}
	}
	purged, retained = []protocol.Object{}, []protocol.Object{}
	for _, at := range sorted(s.nodes) {
		if n := s.nodes[at]; gone[n] {
			purged = append(purged, n.object())
			delete(s.nodes, at)
		} else {
			retained = append(retained, n.object())
		}
	}
	return purged, retained, nil
}

func sorted(nodes map[string]*node) []string {
	var list []string
	for at := range nodes {
		list = append(list, at)
	}
	slices.Sort(list)
	return list
}
