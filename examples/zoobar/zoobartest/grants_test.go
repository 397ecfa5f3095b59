package zoobartest_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"cofferdam/examples/zoobar/zoobartest"
	"cofferdam/manifest"
)

// The manifest grants exactly what the table in the tests does, and besides
// that only the doors of the gateway and the spawn.
func TestGrants(t *testing.T) {
	app, err := manifest.Load(withFiles(t, "../cofferdam.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	var others []string
	for _, g := range app.Grants() {
		name := g.To + "." + g.Name
		if g.Kind != "call" {
			others = append(others, g.From+" "+g.Kind+" "+g.To)
			continue
		}
		got[name] = append(got[name], g.From)
		if fromSandbox := g.From == "sandbox"; g.Bound != fromSandbox {
			t.Errorf("%s from %s: bound %v, want %v", name, g.From, g.Bound, fromSandbox)
		}
	}
	for name, from := range got {
		slices.Sort(from)
		if !slices.Equal(from, zoobartest.Grants[name]) {
			t.Errorf("%s is granted to %q, want %q", name, from, zoobartest.Grants[name])
		}
	}
	for name := range maps.Keys(zoobartest.Grants) {
		if got[name] == nil {
			t.Errorf("%s is granted to nobody", name)
		}
	}
	slices.Sort(others)
	if want := []string{"gateway http dynamic", "gateway http front", "gateway http static", "profile spawn sandbox"}; !slices.Equal(others, want) {
		t.Errorf("further grants %q, want %q", others, want)
	}
}

// withFiles copies a manifest to where all files that it shows exist, so that
// nothing need be built.
func withFiles(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "examples", "zoobar")
	for _, from := range regexp.MustCompile(`from: ([^,{}\[\]]+),`).FindAllSubmatch(text, -1) {
		file := filepath.Join(dir, string(from[1]))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(dir, "cofferdam.yaml")
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}
