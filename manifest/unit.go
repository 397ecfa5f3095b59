package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// unlimited is the word for no limit. Nothing is unlimited without it.
const unlimited = "unlimited"

// maxSize bounds sizes (1 PiB), maxDuration durations (a leap year).
const (
	maxSize     = 1 << 50
	maxDuration = 366 * 24 * time.Hour
)

// Sizes are counted in powers of 1024 whether the unit is written 64M or
// 64MiB; MB, which means either to different people, is not a unit.
var sizes = regexp.MustCompile(`^([0-9]{1,16})(B|K|KiB|M|MiB|G|GiB|T|TiB)$`)

var sizeUnits = map[string]int64{
	"B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20,
	"G": 1 << 30, "GiB": 1 << 30, "T": 1 << 40, "TiB": 1 << 40,
}

// parseSize reads a size in bytes.
func parseSize(s string) (int64, bool) {
	m := sizes.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := sizeUnits[m[2]]
	if err != nil || n > maxSize/unit {
		return 0, false
	}
	return n * unit, true
}

// sizeHint guesses the right spelling of a size: "64M" for "64mb".
func sizeHint(s string) string {
	number := strings.TrimRight(s, "bBiIkKmMgGtT ")
	unit := strings.ToUpper(strings.TrimSpace(s[len(number):]))
	if _, err := strconv.ParseUint(number, 10, 40); err != nil {
		return ""
	}
	if unit == "" {
		return fmt.Sprintf("write the unit: %sB, %sK, %sM or %sG", number, number, number, number)
	}
	return fmt.Sprintf("write %q; a unit counts in powers of 1024", number+unit[:1])
}

// formatSize is the shortest text that parses as n.
func formatSize(n int64) string {
	if n == Unlimited {
		return unlimited
	}
	unit := 0
	for n != 0 && n%1024 == 0 && unit < 4 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + "BKMGT"[unit:unit+1]
}

var durations = regexp.MustCompile(`^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$`)

// parseDuration reads a duration of at least a millisecond.
func parseDuration(s string) (time.Duration, bool) {
	if s == "" || !durations.MatchString(s) {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond || d > maxDuration {
		return 0, false
	}
	return d, true
}

// formatDuration is the text that parses as d, cut to milliseconds.
func formatDuration(d time.Duration) string {
	switch {
	case d == Unlimited:
		return unlimited
	case d < time.Millisecond:
		return "0s" // does not parse: no limit is nothing
	}
	var b strings.Builder
	for _, part := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / part.unit; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + part.name)
			d -= n * part.unit
		}
	}
	return b.String()
}

var shares = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,3})?$`)

// parseShare reads a number of cores, in thousandths, from 0.01 to 1024.
func parseShare(s string) (float64, bool) {
	if !shares.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f >= 0.01 && f <= 1024
}

func formatShare(f float64) string {
	if f == Unlimited {
		return unlimited
	}
	return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
}
