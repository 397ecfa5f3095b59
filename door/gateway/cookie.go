package gateway

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// cookie is the value with which a request shows a cookie, as it was sent. Of one that
// is not text nothing is known, and it is not shown.
func cookie(h http.Header, name string) (value string, shown bool, err error) {
	for _, line := range h["Cookie"] {
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
func hideCookie(h http.Header, name string) {
	var lines []string
	for _, line := range h["Cookie"] {
		pairs := slices.DeleteFunc(strings.Split(line, ";"), func(pair string) bool {
			key, _, _ := strings.Cut(pair, "=")
			return strings.TrimSpace(key) == name
		})
		if kept := strings.TrimSpace(strings.Join(pairs, ";")); kept != "" {
			lines = append(lines, kept)
		}
	}
	h["Cookie"] = lines
	if len(lines) == 0 {
		delete(h, "Cookie")
	}
}

// keepCookie takes out of an answer what would have the browser show another value of a
// cookie from now on. One without a name has its name in its value: browsers show it
// so.
func keepCookie(h http.Header, name string) {
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		pair, _, _ := strings.Cut(line, ";")
		key, _, given := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		return !given || key == "" || key == name
	})
	if len(h["Set-Cookie"]) == 0 {
		delete(h, "Set-Cookie")
	}
}
