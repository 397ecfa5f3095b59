package manifest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Bounds of a manifest.
const (
	MaxBytes = 1 << 20 // of the file
	maxDepth = 32      // of nested lists and mappings
	maxText  = 64 << 10
)

// parseDocument reads the one YAML document of a manifest and refuses the parts
// of YAML that make a file mean something else than it shows: aliases, tags,
// merge keys, and variables.
func (r *reader) parseDocument(data []byte) (value, bool) {
	top := value{node: &yaml.Node{Line: 1, Column: 1}}
	if len(data) > MaxBytes {
		r.refuse(top, "", "the file has more than %d bytes", MaxBytes)
		return top, false
	}
	if !utf8.Valid(data) {
		r.refuse(top, "", "the file is not UTF-8")
		return top, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		r.refuse(top, "", "%v", err)
		return top, false
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		r.refuse(top, "the least manifest is: version: 1", "the file is empty")
		return top, false
	case err != nil:
		r.refuseYAML(top, err)
		return top, false
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.refuseYAML(top, err)
		return top, false
	default:
		top.node = &second
		r.refuse(top, "", "a second document; a manifest is one")
		return top, false
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.refuse(top, "the least manifest is: version: 1", "the file is empty")
		return top, false
	}
	top.node = doc.Content[0]
	return top, r.plain(top)
}

// refuseYAML passes on what the YAML parser said, at its place.
func (r *reader) refuseYAML(at value, err error) {
	message := err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		at.node = &yaml.Node{Line: max(load.Mark.Line, 1), Column: max(load.Mark.Column, 1)}
		message = load.Message
	}
	r.refuse(at, "", "not YAML: %s", message)
}

// plain tells whether v and all below it is YAML as a person reads it.
func (r *reader) plain(v value) bool {
	n := v.node
	switch {
	case n.Kind == yaml.AliasNode:
		r.refuse(v, "write the value here again", "alias *%.32s: a manifest has none, so that each line shows all it grants", n.Value)
		return false
	case n.Anchor != "":
		r.refuse(v, "", "anchor &%.32s: a manifest has neither anchors nor aliases", n.Anchor)
		return false
	case n.Style&yaml.TaggedStyle != 0:
		r.refuse(v, "", "tag %.32s: a manifest has no tags", n.Tag)
		return false
	case n.Kind == yaml.ScalarNode && len(n.Value) > maxText:
		r.refuse(v, "", "more than %d bytes of text", maxText)
		return false
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${"):
		r.refuse(v, "write the value itself", `"${": variables are not replaced, so that the file alone says what is granted`)
		return false
	}
	ok := true
	for i, c := range n.Content {
		child := v.at(i, c)
		if n.Kind == yaml.MappingNode {
			key := n.Content[i&^1]
			child = v.under(key, c)
			if key.Style == 0 && key.Value == "<<" {
				if c == key {
					r.refuse(child, "write the keys here again", "merge key: a manifest has none")
				}
				ok = false
				continue
			}
		}
		ok = r.plain(child) && ok
	}
	return ok
}
