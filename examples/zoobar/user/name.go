// Package user says what a username may be.
//
// Trusted: no. A service that takes a wrong name harms the pages, not the walls.
package user

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameBytes is the longest username, in bytes of UTF-8: the width of the
// username column in the original tables.
const MaxNameBytes = 128

// CheckName tells why name cannot be a username, or returns nil.
//
// A name has 1 to [MaxNameBytes] bytes of UTF-8 and only characters that print,
// besides the space: no control characters, which would end a header, and no
// invisible ones, which would make two names look alike. A semicolon would end
// the cookie that carries the name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("username is empty")
	case len(name) > MaxNameBytes:
		return fmt.Errorf("username has %d bytes, more than %d", len(name), MaxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("username %q is not UTF-8", name)
	case strings.ContainsRune(name, ';'):
		return fmt.Errorf("username %q contains a semicolon", name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("username %q contains %U, which does not print", name, r)
		}
	}
	return nil
}
