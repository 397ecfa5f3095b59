package manifest

import (
	"testing"
	"testing/quick"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"0B", 0, true},
		{"1K", 1 << 10, true},
		{"64M", 64 << 20, true},
		{"64MiB", 64 << 20, true},
		{"1024T", 1 << 50, true},
		{"1025T", 0, false},
		{"9999999999999999T", 0, false},
		{"64", 0, false},
		{"64MB", 0, false},
		{"64m", 0, false},
		{"-1K", 0, false},
		{"1.5G", 0, false},
		{" 1K", 0, false},
		{"", 0, false},
		{"unlimited", 0, false},
	} {
		if got, ok := parseSize(tt.text); got != tt.want || ok != tt.ok {
			t.Errorf("parseSize(%q) = %d, %v; want %d, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"1ms", time.Millisecond, true},
		{"1m30s", 90 * time.Second, true},
		{"90s", 90 * time.Second, true},
		{"1h1m1s1ms", time.Hour + time.Minute + time.Second + time.Millisecond, true},
		{"8784h", maxDuration, true},
		{"8785h", 0, false},
		{"999999999h", 0, false},
		{"0s", 0, false},
		{"30", 0, false},
		{"1.5s", 0, false},
		{"1s1m", 0, false},
		{"-1s", 0, false},
		{"", 0, false},
	} {
		if got, ok := parseDuration(tt.text); got != tt.want || ok != tt.ok {
			t.Errorf("parseDuration(%q) = %v, %v; want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

func TestUnitsParseBack(t *testing.T) {
	size := func(n int64) bool {
		n = (n & (1<<62 - 1)) % (maxSize + 1)
		got, ok := parseSize(formatSize(n))
		return ok && got == n
	}
	duration := func(n int64) bool {
		d := time.Duration((n&(1<<62-1))%int64(maxDuration/time.Millisecond)+1) * time.Millisecond
		got, ok := parseDuration(formatDuration(d))
		return ok && got == d
	}
	share := func(n uint32) bool {
		f := float64(n%1024000+10) / 1000
		got, ok := parseShare(formatShare(f))
		return f > 1024 || ok && got == f
	}
	for name, f := range map[string]any{"size": size, "duration": duration, "share": share} {
		if err := quick.Check(f, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValues: the exported readers say what would have been right.
func TestValues(t *testing.T) {
	if n, err := ParseSize("2K"); n != 2048 || err != nil || FormatSize(n) != "2K" {
		t.Errorf("ParseSize(2K) = %d, %v", n, err)
	}
	if d, err := ParseDuration("90s"); d != 90*time.Second || err != nil || FormatDuration(d) != "1m30s" {
		t.Errorf("ParseDuration(90s) = %v, %v", d, err)
	}
	if f, err := ParseShare("0.5"); f != 0.5 || err != nil || FormatShare(f) != "0.5" {
		t.Errorf("ParseShare(0.5) = %v, %v", f, err)
	}
	n, err1 := ParseSize(unlimited)
	d, err2 := ParseDuration(unlimited)
	f, err3 := ParseShare(unlimited)
	if n != Unlimited || d != Unlimited || f != Unlimited || err1 != nil || err2 != nil || err3 != nil {
		t.Errorf("unlimited = %d, %v, %v; %v, %v, %v", n, d, f, err1, err2, err3)
	}
	for text, want := range map[string]string{
		"64mb": `"64mb" is not a size such as 64M, or unlimited; write "64M"; a unit counts in powers of 1024`,
		"":     `"" is not a size such as 64M, or unlimited`,
	} {
		if _, err := ParseSize(text); err == nil || err.Error() != want {
			t.Errorf("ParseSize(%q): %v, want %s", text, err, want)
		}
	}
	if _, err := ParseDuration("soon"); err == nil {
		t.Error("ParseDuration(soon) gave no error")
	}
	if _, err := ParseShare("2000"); err == nil {
		t.Error("ParseShare(2000) gave no error")
	}
	if got := FormatDuration(0); got != "0s" {
		t.Errorf("FormatDuration(0) = %q", got)
	}
}

func TestMayCoincide(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"state-{principal}", "state-bob", true},
		{"state-{principal}", "state", false},
		{"{principal}", "anything", true},
		{"a{principal}a", "a", false},
		{"a{principal}a", "aa", true},
		{"x-{principal}", "y-{principal}", false},
		{"x-{principal}", "{principal}-y", true},
		{"x-{principal}", "x-y-{principal}", true},
	} {
		if got := mayCoincide(tt.a, tt.b); got != tt.want {
			t.Errorf("mayCoincide(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
		if got := mayCoincide(tt.b, tt.a); got != tt.want {
			t.Errorf("mayCoincide(%q, %q) = %v, want %v", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"volumes", "tmpfs", "from", "to", "uses"}
	for word, want := range map[string]string{
		"volums": "volumes", "volumse": "volumes", "form": "from", "use": "uses",
		"tpmfs": "tmpfs", "x": "", "at": "", "completely": "", "vlms": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestAppName(t *testing.T) {
	for dir, want := range map[string]string{
		"zoobar": "zoobar", "My App": "my-app", "/": "app", ".": "app", "-x-": "x", "ü": "app",
		"0123456789012345678901234567890123456789": "01234567890123456789012345678901",
	} {
		got := appName(dir)
		if got != want || !appNames.MatchString(got) {
			t.Errorf("appName(%q) = %q, want %q", dir, got, want)
		}
	}
}
