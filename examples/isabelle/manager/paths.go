package manager

import (
	"path"
	"slices"
	"strings"
)

// Place is one directory by its two names: as the tenant and the host know it, and
// as the instance sees it. Both are absolute and clean.
type Place struct{ Host, Inside string }

// Table translates the paths of one tenant. Everything about it is lexical: that
// nothing is reached through links is the business of who mounts.
type Table struct {
	places []Place
	base   string // on the host: what relative paths start from
}

// NewTable returns a table of places, of which the first is where relative paths start.
func NewTable(places ...Place) *Table {
	t := &Table{places: slices.Clone(places), base: places[0].Host}
	// Of places in each other the inner one counts: it comes first.
	slices.SortStableFunc(t.places, func(a, b Place) int { return len(b.Host) - len(a.Host) })
	return t
}

// Inside translates a path that a client gives. A relative one starts from base,
// and from the tenant's own directory if that is "". It is false for whatever lies
// nowhere: outside of the places, or not to be written like that; host is then
// what the client means, as far as that can be said.
func (t *Table) Inside(base, given string) (inside, host string, ok bool) {
	if rest, home := strings.CutPrefix(given, "~~"); home && (rest == "" || rest[0] == '/') {
		inside, ok := library(rest)
		return inside, given, ok
	}
	if !plain(given) {
		return "", given, false
	}
	if base == "" {
		base = t.base
	}
	host = given
	if !strings.HasPrefix(given, "/") {
		host = base + "/" + given
	}
	host = path.Clean(host)
	for _, p := range t.places {
		if rest, ok := beneath(host, p.Host); ok {
			return p.Inside + rest, host, legal(rest)
		}
	}
	return "", host, false
}

// library is a path in the server's own library, which everybody may read.
func library(rest string) (string, bool) {
	for element := range strings.SplitSeq(rest, "/") {
		if element == ".." {
			return "", false
		}
	}
	rest = strings.TrimSuffix(path.Clean("/"+rest), "/")
	return "~~" + rest, plain(rest) && legal(rest)
}

// plain tells whether the server would take every element of a path for a name:
// none for somebody's home, for a variable, or for another root.
func plain(p string) bool {
	if strings.HasPrefix(p, "//") {
		return false
	}
	for element := range strings.SplitSeq(p, "/") {
		if element == "~" || element == "~~" || strings.HasPrefix(element, "$") {
			return false
		}
	}
	return true
}

// legal tells whether the server takes these characters in elements of paths.
func legal(p string) bool {
	return !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || strings.ContainsRune("\\$:\"'<>|?*", r) })
}

// beneath returns what of p comes after dir, by whole elements.
func beneath(p, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(p, dir)
	return rest, ok && (rest == "" || rest[0] == '/' || dir == "/")
}

// Host translates a path that comes from the instance. What is in none of the
// places stays as it is: it means nothing here.
func (t *Table) Host(inside string) string {
	host, _ := t.host(inside)
	return host
}

func (t *Table) host(inside string) (string, bool) {
	for _, p := range t.places {
		if rest, ok := beneath(inside, p.Inside); ok {
			return p.Host + rest, true
		}
	}
	return inside, false
}

// Text translates the paths in a text for people: where the name of a place begins,
// which is not within a longer name, and ends as an element does. A text that names them so often
// that it would become much longer is no message for people, and what is left of it stays.
func (t *Table) Text(text string) string {
	var out strings.Builder
	done := 0 // so much of text is in out
	for at := 0; at < len(text) && out.Len()-done <= maxGrowth; at++ {
		if text[at] != '/' || at > 0 && (inName(text[at-1]) || text[at-1] == '/') {
			continue
		}
		for _, p := range t.places {
			if end := at + len(p.Inside); strings.HasPrefix(text[at:], p.Inside) && endsName(text[end:]) {
				out.WriteString(text[done:at])
				out.WriteString(p.Host)
				done, at = end, end-1
				break
			}
		}
	}
	out.WriteString(text[done:])
	return out.String()
}

// maxGrowth is by how many bytes a text may become longer, but for one name.
const maxGrowth = 64 << 10

// inName tells whether c may be part of an element. What is not ASCII may be.
func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' || c == '~' || c >= 0x80
}

// endsName tells whether no element goes on with rest. A dot ends a sentence as
// well, if nothing follows.
func endsName(rest string) bool {
	rest = strings.TrimLeft(rest, ".")
	return rest == "" || !inName(rest[0])
}
