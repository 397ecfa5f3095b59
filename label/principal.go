package label

import (
	"fmt"
	"hash/maphash"
	"strings"
	"unicode/utf8"
)

// principal is a name. There is one for each name that is in use, so that they are
// compared as pointers.
type principal struct {
	name  string
	hash  uint64
	bloom uint64 // three bits of 64

	// The runtime lists what is weak for each page, and walks that list: with
	// small objects it would be long.
	_ [12]uint64
}

var principals = newTable[principal]()

// seed is not known to who chooses names, so that their hashes do not coincide.
var seed = maphash.MakeSeed()

// newPrincipal returns the principal of that name, which is UTF-8.
func newPrincipal(name string) *principal {
	hash := maphash.String(seed, name)
	return principals.get(hash, func(p *principal) bool { return p.name == name }, func() *principal {
		return &principal{name: strings.Clone(name), hash: hash, bloom: 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63)}
	})
}

// checkName tells what is wrong with a name. What is not UTF-8 is refused, for
// whoever shows or stores it as text would make one name of several.
func checkName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("%w: a name of %d bytes, at most %d", ErrBound, len(name), MaxName)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	return nil
}

func byBytes(p, q *principal) int {
	if p == q {
		return 0
	}
	return strings.Compare(p.name, q.name)
}
