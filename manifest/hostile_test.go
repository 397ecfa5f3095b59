package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// fill repeats item, with its number for %d, up to the size of a manifest.
func fill(head, item, tail string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len()+len(item)+16+len(tail) < MaxBytes; i++ {
		b.WriteString(strings.ReplaceAll(item, "%d", fmt.Sprint(i)))
	}
	b.WriteString(tail)
	return b.String()
}

// manyServices are as many services as there may be, each with list as far as
// the size goes.
func manyServices(key, item string) string {
	var b strings.Builder
	b.WriteString("version: 1\nservices:\n")
	each := MaxBytes/maxServices - 200
	for i := range maxServices {
		fmt.Fprintf(&b, "  service-with-a-long-name-%d:\n    runtime: host\n    command: [/bin/true]\n    %s:\n", i, key)
		n := b.Len()
		for j := 0; j < maxList && b.Len()-n < each; j++ {
			b.WriteString("      - " + strings.ReplaceAll(strings.ReplaceAll(item, "%i", fmt.Sprint(i)), "%d", fmt.Sprint(j)) + "\n")
		}
	}
	return b.String()
}

// manyLabels are services that call each other across and may come to know each other's
// secrets, some with privileges: more ways than anybody follows to the end.
func manyLabels(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nprincipals: [a, b, c, d, e]\nassert: [s1 -/-> people]\nservices:\n")
	names := []string{"True", "a", "b", "c", "d", "e"}
	for i := range n {
		fmt.Fprintf(&b, "  s%d:\n    runtime: host\n    command: [/bin/true]\n    clearance: 'False %%%% True'\n    provides: [{call: m}]\n    label: '%s %%%% %s'\n",
			i, names[i%6], names[i/6%6])
		if i%3 == 0 {
			fmt.Fprintf(&b, "    owns: %s\n", names[1+i%5])
		}
		fmt.Fprintf(&b, "    uses: [{call: s%d.m}, {call: s%d.m}, {call: s%d.m}, {egress: 'h%d.example.com:80'}]\n", (i*7+1)%n, (i*3+2)%n, (i*11+8)%n, i)
	}
	return b.String()
}

// TestHostile feeds the worst that fits in a manifest. It is about the shape of
// the curve: what is quadratic takes minutes here.
func TestHostile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"too large", strings.Repeat("#", MaxBytes+1), "more than 1048576 bytes"},
		{"not UTF-8", "version: 1 # \xff", "not UTF-8"},
		{"deep lists", strings.Repeat("[", MaxBytes), "not YAML"},
		{"deep mappings", fill("", "{a: ", ""), "not YAML"},
		{"deep blocks", fill("", "- ", "a"), "not YAML"},
		{"laughs", "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "anchor &a"},
		{"unknown keys", fill("version: 1\n", "k%d: 1\n", ""), "more than"},
		{"duplicate keys", fill("version: 1\nservices:\n", "  a: 1\n", ""), "more than"},
		{"tags", fill("version: 1\nname: [", "!x ,", "]"), "and"},
		{"one long key", "version: 1\n? " + strings.Repeat("k", MaxBytes-100) + "\n: 1\n", "more than 65536 bytes of text"},
		{"one long text", "version: 1\nname: " + strings.Repeat("k", MaxBytes-100), "more than 65536 bytes of text"},
		{"numbers", fill("version: 1\nname: [", "1e9999999,", "]"), "want a name"},
		{"unknown peers", manyServices("uses", "{call: service-with-a-lang-name-%d.m}"), "no service"},
		{"unknown methods", manyServices("uses", "{call: service-with-a-long-name-7.m%d}"), "does not provide"},
		{"methods", manyServices("provides", "{call: m%d}"), ""},
		{"volumes", manyServices("volumes", "{name: v-%i-%d, to: /v%d}"), "more than 16 entries"},
		{"files", manyServices("files", "{from: a, to: /v%d}"), ""},
		{"labels", manyLabels(200), "cannot be told"},
		{"files below files", manyServices("files", "{from: a, to: /v}"), "taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			a, err := parse("m.yaml", tt.text)
			if took := time.Since(began); took > time.Minute { // far beyond what it takes, under the race detector too
				t.Errorf("Parse took %v", took)
			} else {
				t.Logf("%d bytes took %v", len(tt.text), took)
			}
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Parse: %.500v", err)
				}
				a.Grants()
				return
			}
			var all Errors
			if !errors.As(err, &all) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Parse gave %.500v, want %q in it", err, tt.want)
			}
			if len(all) > maxErrors+1 {
				t.Errorf("%d errors, want at most %d", len(all), maxErrors+1)
			}
			if n := len(err.Error()); n > 32<<10 {
				t.Errorf("%d bytes of message", n)
			}
		})
	}
}

func TestErrorsAreCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\n")
	for i := range 30 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, err := parse("m.yaml", b.String())
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "m.yaml:22:1: and 10 more from here on" {
		t.Errorf("got %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
