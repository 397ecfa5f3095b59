package fakeserver

import (
	"fmt"
	"path/filepath"
	"strings"
)

// header is how a theory begins.
type header struct {
	name    string
	imports []string
	begin   int // the byte after it
}

// parseHeader reads: theory NAME imports A B … keywords … begin.
func parseHeader(s *source) (header, error) {
	var h header
	all := tokens(s.text)
	malformed := func(i int, want string) (header, error) {
		if i < len(all) {
			return h, fmt.Errorf("Outer syntax error%s: %s expected,\nbut %s was found", s.place(all[i].start), want, all[i].describe())
		}
		return h, fmt.Errorf("Outer syntax error%s: %s expected,\nbut end-of-input was found", s.place(len(s.text)), want)
	}
	i := 0
	for i < len(all) && isHeading(all[i].value) && all[i].kind == word { // text before the theory
		i += 2
	}
	if i >= len(all) || all[i].value != "theory" {
		return malformed(i, `keyword "theory"`)
	}
	i++
	if i >= len(all) || all[i].kind != word && all[i].kind != quoted {
		return malformed(i, "theory name")
	}
	h.name = all[i].value
	i++
	if i < len(all) && all[i].value == "imports" {
		for i++; i < len(all) && (all[i].kind == quoted || all[i].kind == word && !headerWord(all[i].value)); i++ {
			h.imports = append(h.imports, all[i].value)
		}
		if len(h.imports) == 0 {
			return malformed(i, "theory import")
		}
	}
	for i < len(all) && all[i].value != "begin" { // keywords, abbrevs
		if all[i].kind == unclosed {
			return malformed(i, `keyword "begin"`)
		}
		i++
	}
	if i == len(all) {
		return malformed(i, `keyword "begin"`)
	}
	h.begin = all[i].end
	return h, nil
}

func headerWord(w string) bool { return w == "keywords" || w == "abbrevs" || w == "begin" }

func isHeading(w string) bool {
	switch w {
	case "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph", "text", "txt", "text_raw":
		return true
	}
	return false
}

// place is where a byte is, as in the words of the server.
func (s *source) place(at int) string {
	return fmt.Sprintf(" (line %d of %q)", s.line(at), s.file)
}

// describe is a token as the words of the server call it.
func (t token) describe() string {
	switch t.kind {
	case word:
		return "identifier " + t.value
	case number:
		return "natural number " + t.value
	case quoted:
		return fmt.Sprintf("string %q", t.value)
	case unclosed:
		return "bad input"
	}
	return "keyword " + t.value
}

// imported is what the name of a theory, as somebody wrote it, is understood as.
type imported struct {
	name string // of the theory
	file path   // where it is, seen from who imports; of one in a session none
	own  bool   // whether it has a file there
}

// globals are theories that are known without the name of their session.
var globals = map[string]bool{"Pure": true, "Main": true, "Complex_Main": true, "ZF": true, "FOL": true, "IFOL": true, "ZFC": true}

// importName reads the name of a theory. Which one it is may depend on where it
// was written, but not on what there is.
func importName(given string) (imported, error) {
	base := given[strings.LastIndexAny(given, `/\:`)+1:]
	if base == "" || strings.HasSuffix(base, ".thy") {
		return imported{}, fmt.Errorf("Malformed theory import: %q", given)
	}
	p, err := explode(given)
	if err != nil {
		return imported{}, err
	}
	foreign := strings.Contains(base, ".") || globals[base]
	switch {
	case foreign && base != given:
		return imported{}, fmt.Errorf("Bad import of theory from other session via file-path: %q", given)
	case foreign:
		return imported{name: base}, nil
	}
	return imported{name: draft + base, file: p, own: true}, nil
}

// draft is the session of theories that are in none.
const draft = "Draft."

// checkName compares what a theory calls itself with the name of its file.
func checkName(h header, file string) error {
	if base := filepath.Base(file); h.name+".thy" != base {
		return fmt.Errorf("Bad theory name %q for file %q", h.name, base)
	}
	return nil
}
