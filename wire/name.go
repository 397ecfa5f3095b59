package wire

import "bytes"

// ValidName tells whether b is service.method: two words with one dot between
// them, at most [MaxName] bytes.
func ValidName(b []byte) bool {
	service, method, ok := bytes.Cut(b, []byte{'.'})
	return ok && len(b) <= MaxName && ValidWord(service) && ValidWord(method)
}

// ValidWord tells whether b is a name of a service, template or method:
// [a-z][a-z0-9_-]*, at most [MaxName] bytes.
func ValidWord(b []byte) bool {
	if len(b) == 0 || len(b) > MaxName || b[0] < 'a' || b[0] > 'z' {
		return false
	}
	for _, c := range b[1:] {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
