package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"

	"cofferdam/supervisor"
)

// printer prints the lines of services, each behind the name of its service.
type printer struct {
	w      io.Writer
	width  int
	colour map[string]int

	mu sync.Mutex
}

// palette are terminal colours that read on light and dark ground.
var palette = []int{36, 33, 32, 35, 34, 31}

func newPrinter(f *os.File, services []string) *printer {
	p := &printer{w: f, colour: make(map[string]int)}
	colours := wantColour(f)
	for i, s := range append([]string{"gateway"}, services...) {
		p.width = max(p.width, len(s))
		if colours {
			p.colour[s] = palette[i%len(palette)]
		}
	}
	return p
}

// wantColour follows NO_COLOR (no-color.org), CLICOLOR_FORCE and TERM.
func wantColour(f *os.File) bool {
	switch {
	case os.Getenv("NO_COLOR") != "":
		return false
	case os.Getenv("CLICOLOR_FORCE") != "":
		return true
	}
	return os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (p *printer) line(l supervisor.Line) {
	name := fmt.Sprintf("%-*s", p.width, l.Service)
	if c := p.colour[l.Service]; c != 0 {
		name = fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, name)
	}
	between, text := "|", l.Text
	if l.Stream == supervisor.OurStream {
		between, text = "!", l.Instance+": "+text // which no program can print
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s %s %s\n", name, between, printable(text))
}

// printable shows control characters instead of obeying them: what a confined
// program prints must not steer the operator's terminal (CVE-2023-28446).
func printable(s string) string {
	// A byte of no character is a control character to some terminals (0x9b).
	s = strings.ToValidUTF8(s, "\ufffd")
	if strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafeRune covers control and format characters, among them those that
// change the direction of text.
func unsafeRune(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }
