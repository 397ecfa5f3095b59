package manifest

import (
	"strings"

	"cofferdam/label"

	"go.yaml.in/yaml/v4"
)

// Principal is a name that labels may use.
type Principal struct {
	Pos  Pos
	Name string

	// Person says that an authenticator or a spawner may name it. All others
	// are parts of the application, and who registers under such a name is not
	// believed.
	Person bool
}

func readPrincipals(r *reader, v value, a *App) {
	seen := make(map[string]bool)
	r.list(v, somePrincipals, maxList, func(v value) {
		p := Principal{Pos: v.pos()}
		before := r.count
		if kindOf(v.node) == isMapping {
			mapping(r, v, aPrincipal, personKeys(), &p)
		} else {
			p.Name = r.principal(v)
		}
		switch {
		case r.count > before:
			r.flawedPrincipals = true
		case seen[p.Name]:
			r.refuse(v, "", "%q stands twice", p.Name)
		default:
			seen[p.Name] = true
			r.people.person[p.Name] = p.Person
			a.Principals = append(a.Principals, p)
		}
	})
	if kindOf(v.node) != isList {
		r.flawedPrincipals = true
	}
}

func personKeys() table[Principal] {
	return table[Principal]{keys: []key[Principal]{
		{"person", aPrincipalName, true, "", "One that an authenticator may answer and a spawner may start an instance for. Any other that is declared is a part of the application, and whoever signs up under its name is not taken for it.", func(r *reader, v value, p *Principal) {
			p.Name, p.Person = r.principal(v), true
		}},
	}}
}

// principal reads a name. Not every text that a label could have is one here:
// the manifest is read by people.
func (r *reader) principal(v value) string {
	name, ok := r.text(v, aPrincipalName)
	switch {
	case !ok:
		return ""
	case name == "" || len(name) > label.MaxName || !printable(name) || strings.ContainsAny(name, "\"\\{}$ "):
		r.refuse(v, "", "%.64q is not %s", name, aPrincipalName)
		return ""
	}
	return name
}

func (p Principal) node() *yaml.Node {
	if !p.Person {
		return text(p.Name)
	}
	var o object
	o.add("person", text(p.Name))
	return o.done()
}
