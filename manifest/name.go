package manifest

import (
	"regexp"
	"strings"
)

// The grammars of names. docs/manifest.schema.json repeats them; a test holds
// the two together.
var (
	appNames     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	serviceNames = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`) // and methods
	volumeNames  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	envNames     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	shieldNames  = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,47}$`) // protections of an executor
)

// reserved are the names that mean something else where a service could stand.
var reserved = []string{"any", "bus", "egress", "gateway", "monitor", "self", "telemetry"}

// The ways to have instances.
const (
	shared       = "shared"
	perCall      = "per-call"
	perLabel     = "per-label"
	perPrincipal = "per-principal"
)

// principalMark is replaced by the principal that an instance runs for.
const principalMark = "{principal}"

// validVolume tells whether name is a volume's name, with at most one mark.
func validVolume(name string) bool {
	return strings.Count(name, principalMark) <= 1 &&
		volumeNames.MatchString(strings.Replace(name, principalMark, "p", 1))
}

// mayCoincide tells whether two volume names can be the same for some
// principals.
func mayCoincide(a, b string) bool {
	aHead, aTail, aOpen := strings.Cut(a, principalMark)
	bHead, bTail, bOpen := strings.Cut(b, principalMark)
	switch {
	case !aOpen && !bOpen:
		return a == b
	case !aOpen:
		return mayCoincide(b, a)
	case !bOpen:
		return len(b) >= len(aHead)+len(aTail) && strings.HasPrefix(b, aHead) && strings.HasSuffix(b, aTail)
	}
	return (strings.HasPrefix(aHead, bHead) || strings.HasPrefix(bHead, aHead)) &&
		(strings.HasSuffix(aTail, bTail) || strings.HasSuffix(bTail, aTail))
}

// appName makes a directory's name a valid name of an application.
func appName(dir string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(dir) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		default:
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if len(name) > 32 {
		name = name[:32]
	}
	if name == "" {
		return "app"
	}
	return name
}

// nearest is the word of known that is most like word: at most two edits away,
// one for three or four letters. It is "" if there is none.
func nearest(word string, known []string) string {
	best, bestDistance := "", 3
	switch n := len(word); {
	case n < 3, n > 64:
		return ""
	case n < 5:
		bestDistance = 2
	}
	for _, k := range known {
		if d := distance(word, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of single-byte edits between a and b, where swapping
// two neighbours counts as one.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
