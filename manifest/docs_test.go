package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

const (
	schemaFile    = "../docs/manifest.schema.json"
	referenceFile = "../docs/MANIFEST.md"

	keysBegin = "<!-- keys: written by go test ./manifest -update -->\n"
	keysEnd   = "<!-- end of keys -->\n"
)

func compactJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func indentJSON(v any) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, compactJSON(v), "", "  "); err != nil {
		panic(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// golden holds a file against what it must contain.
func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says: run go test ./manifest -update\ngot\n%s\nwant\n%s", file, got, want)
	}
}

func TestSchemaIsTheTableOfKeys(t *testing.T) {
	want, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, want)
}

func TestReferenceIsTheTableOfKeys(t *testing.T) {
	page, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(page), keysBegin)
	_, tail, ok2 := strings.Cut(rest, keysEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the keys", referenceFile)
	}
	golden(t, referenceFile, []byte(head+keysBegin+"\n"+reference()+keysEnd+tail))
}

// TestExamples parses every manifest that the README and the documents show whole.
func TestExamples(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../README.md", "../examples/zoobar/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ := strings.Cut(b, "```")
			if !strings.HasPrefix(block, "version: 1\n") {
				continue // a part of one
			}
			seen++
			if _, err := parse("example.yaml", block); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
	}
	if seen < 5 {
		t.Errorf("%d manifests are shown", seen)
	}
}

// plainValue is a document as a schema sees it, by the core schema of YAML 1.2.
func plainValue(n *yaml.Node) any {
	switch kindOf(n) {
	case isMapping:
		m := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return m
	case isList:
		l := []any{}
		for _, c := range n.Content {
			l = append(l, plainValue(c))
		}
		return l
	case isBool:
		return strings.EqualFold(n.Value, "true")
	case isNull:
		return nil
	case isInteger, isFloat:
		return json.Number(n.Value)
	}
	return n.Value
}

// TestSchemaAgreesWithParser: what the parser accepts, the schema accepts; what
// is wrong in shape, both refuse; what only the parser can know, the schema
// lets pass.
func TestSchemaAgreesWithParser(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text string) error {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) != 1 {
			return fmt.Errorf("not YAML: %v", err)
		}
		return compiled.Validate(plainValue(n.Content[0]))
	}
	for _, f := range corpus(t, "valid").manifests() {
		if err := validate(f.text); err != nil {
			t.Errorf("schema refuses valid %s: %v", f.name, err)
		}
		app := mustParse(t, f.text)
		for _, again := range [][]byte{app.Resolved(), app.ResolvedJSON()} {
			if err := validate(string(again)); err != nil {
				t.Errorf("schema refuses %s in its resolved form: %v\n%s", f.name, err, again)
			}
		}
	}
	for _, f := range corpus(t, "shape").manifests() {
		if err := validate(f.text); err == nil {
			t.Errorf("schema accepts %s, wrong in shape", f.name)
		}
	}
	// Each refused line by itself, not only the first of a file.
	for _, s := range sections() {
		if s.name != "service" {
			continue
		}
		for _, no := range s.refused {
			text := "version: 1\nservices: {a: {command: [/bin/true], runtime: host, " + no.name + ": 1}}"
			if err := validate(text); err == nil {
				t.Errorf("schema accepts %s", no.name)
			}
			if _, err := parse("m.yaml", text); err == nil || !strings.Contains(err.Error(), "not possible: "+no.reason) {
				t.Errorf("Parse of %s: %v", no.name, err)
			}
		}
	}
}
