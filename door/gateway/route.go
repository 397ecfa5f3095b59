package gateway

import (
	"fmt"
	"regexp"
	"strings"
)

// route is a Route made ready.
type route struct {
	Route
	path  *regexp.Regexp
	meter *meter // of each person; nil for no limit
}

func compile(routes []Route) ([]route, error) {
	compiled := make([]route, len(routes))
	for i, r := range routes {
		// Alone first, so that ")|(" cannot undo the anchors.
		if _, err := regexp.Compile(r.Path); err != nil {
			return nil, fmt.Errorf("route %q: %w", r.Path, err)
		}
		re, err := regexp.Compile("^(?:" + r.Path + ")$")
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", r.Path, err)
		}
		compiled[i] = route{Route: r, path: re, meter: newMeter(r.Rate)}
	}
	return compiled, nil
}

// find returns the route of a decoded path, nil if there is none.
func (g *Gateway) find(path string) *route {
	for i := range g.routes {
		if r := &g.routes[i]; r.path.MatchString(path) {
			return r
		}
	}
	return nil
}

// ambiguous tells whether two programs could read a decoded path differently,
// which is how a request gets past a route: a segment "." or ".." (browsers
// resolve those before they send), a control character (NUL ends a C string), or
// a missing slash at the start.
//
// What is fine is sent on as it was written, escapes and all.
func ambiguous(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return true
	}
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f {
			return true
		}
	}
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
