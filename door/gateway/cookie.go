package gateway

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// cookie is the value with which a request shows a cookie, as it was sent. Of one that
// is not text nothing is known, and it is not shown.
func cookie(lines []string, name string) (value string, shown bool, err error) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			key, val, given := strings.Cut(pair, "=")
			if !given || strings.TrimSpace(key) != name {
				continue
			}
			if val = strings.TrimSpace(val); !utf8.ValidString(val) {
				continue
			}
			if shown && val != value {
				return "", false, errTwice
			}
			value, shown = val, true
		}
	}
	return value, shown, nil
}

// hideCookie takes a cookie out of a request, and leaves all others.
func (r *request) hideCookie(name string) {
	r.fields = slices.DeleteFunc(r.fields, func(one field) bool { return same(one.name, "Cookie") && withoutCookie(one.value, name) == "" })
	for i := range r.fields {
		if one := &r.fields[i]; same(one.name, "Cookie") {
			one.value = withoutCookie(one.value, name)
		}
	}
}

func withoutCookie(line, name string) string {
	pairs := slices.DeleteFunc(strings.Split(line, ";"), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		return strings.TrimSpace(key) == name
	})
	return strings.TrimSpace(strings.Join(pairs, ";"))
}

// keepCookie takes out of an answer what would have the browser show another value of a
// cookie from now on. One without a name has its name in its value: browsers show it
// so.
func (r *response) keepCookie(name string) {
	r.fields = slices.DeleteFunc(r.fields, func(one field) bool {
		if !same(one.name, "Set-Cookie") {
			return false
		}
		pair, _, _ := strings.Cut(one.value, ";")
		key, _, given := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		return !given || key == "" || key == name
	})
}
