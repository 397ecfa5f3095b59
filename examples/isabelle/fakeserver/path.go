package fakeserver

import (
	"fmt"
	"path/filepath"
	"strings"
)

// path is one in the notation of Isabelle: elements between slashes, of which the
// first may be ~, ~~ or a $VARIABLE.
type path struct {
	root     string // "/", "//name/", or "" for a relative one
	elements []string
}

// explode reads a path.
func explode(text string) (path, error) {
	var p path
	rest := text
	switch {
	case strings.HasPrefix(text, "//"):
		name, more, _ := strings.Cut(text[2:], "/")
		if err := checkElement(name); err != nil {
			return p, err
		}
		p.root, rest = "//"+name+"/", more
	case strings.HasPrefix(text, "/"):
		p.root = "/"
	}
	for element := range strings.SplitSeq(rest, "/") {
		if element == "" || element == "." {
			continue
		}
		switch {
		case element == ".." || element == "~" || element == "~~":
		case strings.HasPrefix(element, "$"):
			if err := checkElement(element[1:]); err != nil {
				return p, fmt.Errorf("%w\nThe error(s) above occurred in path %q", err, text)
			}
		default:
			if err := checkElement(element); err != nil {
				return p, fmt.Errorf("%w\nThe error(s) above occurred in path %q", err, text)
			}
		}
		p = p.add(element)
	}
	return p, nil
}

func checkElement(element string) error {
	if element == "" || element == "~" || element == "~~" {
		return fmt.Errorf("Illegal path element specification %q", element)
	}
	for _, c := range element {
		if c < 32 || strings.ContainsRune(`/\$:"'<>|?*`, c) {
			return fmt.Errorf("Illegal character(s) %q in path element specification %q", string(c), element)
		}
	}
	return nil
}

// add appends an element; .. takes one away, if there is one that is a plain name.
func (p path) add(element string) path {
	elements := p.elements[:len(p.elements):len(p.elements)]
	if element != ".." {
		return path{p.root, append(elements, element)}
	}
	n := len(elements)
	switch {
	case n == 0 && p.root != "":
		return p
	case n == 0 || elements[n-1] == ".." || elements[n-1] == "~" || elements[n-1] == "~~" || elements[n-1][0] == '$':
		return path{p.root, append(elements, "..")}
	}
	return path{p.root, elements[:n-1]}
}

// join is q as seen from p.
func (p path) join(q path) path {
	if q.root != "" || len(q.elements) > 0 && (q.elements[0] == "~" || q.elements[0] == "~~" || q.elements[0][0] == '$') {
		return q
	}
	for _, element := range q.elements {
		p = p.add(element)
	}
	return p
}

// String is the path as it is written.
func (p path) String() string {
	if p.root == "" && len(p.elements) == 0 {
		return "."
	}
	return p.root + strings.Join(p.elements, "/")
}

// dir is the path without its last element.
func (p path) dir() path {
	if n := len(p.elements); n > 0 {
		return path{p.root, p.elements[:n-1]}
	}
	return p
}

// expand replaces ~, ~~ and variables by what they stand for. A variable within a
// variable is not looked at.
func (p path) expand(variable func(name string) string) (path, error) {
	result := path{root: p.root}
	for _, element := range p.elements {
		name := ""
		switch {
		case element == "~":
			name = "HOME"
		case element == "~~":
			name = "ISABELLE_HOME"
		case element[0] == '$':
			name = element[1:]
		default:
			result = result.add(element)
			continue
		}
		v := variable(name)
		if v == "" {
			return p, fmt.Errorf("Undefined Isabelle environment variable: %q\nThe error(s) above occurred in path %q", name, p)
		}
		q, err := explode(v)
		if err != nil {
			return p, err
		}
		if strings.Contains(v, "$") {
			return p, fmt.Errorf("Illegal path variable nesting: %q", name+"="+v)
		}
		result = result.join(q)
	}
	return result, nil
}

// file is the path for the operating system, seen from a directory.
func (p path) file(from string) string {
	if strings.HasPrefix(p.root, "//") || filepath.IsAbs(p.String()) {
		return p.String()
	}
	return filepath.Join(from, p.String())
}
