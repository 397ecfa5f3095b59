package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"cofferdam/supervisor"
)

// Nothing that a program says steers the terminal of whoever reads it, hides a part of
// itself, or passes for something else of the page (CVE-2023-28446).
func TestControlCharacters(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r < 0xd800 || r > 0xdfff {
			all.WriteRune(r)
		}
	}
	hostile := []string{"\x1b[2J\x1b]0;title\x07", "a\rb", "a\bb", "\u009b2J", "\u202egnp.exe", "a\u200bb", "\u2066x\u2069", "\x7f", "a\nb | c", all.String(), "\xff\xfe", "\x9b2J"}
	for _, text := range hostile {
		got := printable(text)
		if !utf8.ValidString(got) {
			t.Errorf("printable(%.20q) is not UTF-8", text)
		}
		for _, r := range got {
			if r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("printable(%.20q) has %U", text, r)
				break
			}
		}

		var page bytes.Buffer
		p := &printer{w: &page, colour: map[string]int{}}
		p.line(supervisor.Line{Service: "s", Instance: text, Stream: "stdout", Text: text})
		if n := strings.Count(page.String(), "\n"); n != 1 {
			t.Errorf("a line of %.20q is printed on %d lines", text, n)
		}
		if strings.ContainsFunc(strings.TrimSuffix(page.String(), "\n"), func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("a line of %.20q is printed as %.60q", text, page.String())
		}

		page.Reset()
		err := rows(format{name: "table"}, &page, []string{text + "\tcolumn"}, []string{"NAME", "DETAIL"}, func(s string) []string { return []string{s, s} })
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(page.String(), "\n"); n != 2 || strings.Contains(page.String(), "\t") {
			t.Errorf("a row of %.20q makes %d lines, or columns of its own", text, n)
		}
	}
}
