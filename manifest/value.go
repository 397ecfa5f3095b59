package manifest

import (
	"fmt"
	"time"
)

// ParseSize reads a size as the manifest writes it: "64M" in powers of 1024, or
// "unlimited".
func ParseSize(s string) (int64, error) {
	if s == unlimited {
		return Unlimited, nil
	}
	n, ok := parseSize(s)
	if !ok {
		return 0, badValue(s, "a size such as 64M, or unlimited", sizeHint(s))
	}
	return n, nil
}

// ParseDuration reads a time as the manifest writes it: "1m30s", at least 1ms,
// or "unlimited".
func ParseDuration(s string) (time.Duration, error) {
	if s == unlimited {
		return Unlimited, nil
	}
	d, ok := parseDuration(s)
	if !ok {
		return 0, badValue(s, "a time such as 500ms, 5s or 1m30s, or unlimited", "")
	}
	return d, nil
}

// ParseShare reads a number of cores as the manifest writes it: from "0.01" to
// "1024", or "unlimited".
func ParseShare(s string) (float64, error) {
	if s == unlimited {
		return Unlimited, nil
	}
	f, ok := parseShare(s)
	if !ok {
		return 0, badValue(s, "a number of cores such as 0.5 (0.01 to 1024, in steps of 0.001), or unlimited", "")
	}
	return f, nil
}

// FormatSize is the text that [ParseSize] reads as n.
func FormatSize(n int64) string { return formatSize(n) }

// FormatDuration is the text that [ParseDuration] reads as d, which is cut to
// milliseconds.
func FormatDuration(d time.Duration) string { return formatDuration(d) }

// FormatShare is the text that [ParseShare] reads as f.
func FormatShare(f float64) string { return formatShare(f) }

func badValue(s, want, hint string) error {
	if hint != "" {
		hint = "; " + hint
	}
	return fmt.Errorf("%.32q is not %s%s", s, want, hint)
}
