package cofferdam_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestArrows holds the table of docs/ARCHITECTURE.md against the imports.
func TestArrows(t *testing.T) {
	rooms := readArrows(t)
	for _, imp := range imports(t) {
		room := roomOf(rooms, imp.from)
		if room == "" {
			t.Errorf("%s: folder %q belongs to no room of docs/ARCHITECTURE.md", imp.file, imp.from)
			continue
		}
		target := roomOf(rooms, imp.to)
		allowed := rooms[room]
		if target == room || slices.Contains(allowed, "anything") || slices.Contains(allowed, target) {
			continue
		}
		t.Errorf("%s: room %q imports %q; docs/ARCHITECTURE.md allows %q", imp.file, room, imp.to, allowed)
	}
}

// TestRoomsExist finds rows for folders that are gone.
func TestRoomsExist(t *testing.T) {
	for room := range readArrows(t) {
		if info, err := os.Stat(room); err != nil || !info.IsDir() {
			t.Errorf("docs/ARCHITECTURE.md names a room %q; there is no such folder", room)
		}
	}
}

// TestRoomsBegin finds rooms whose row says to begin at a file that is gone.
func TestRoomsBegin(t *testing.T) {
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	begins := regexp.MustCompile("(?m)^\\| `([a-z/-]+)` \\| .* \\| `([a-z_0-9]+\\.go)` \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1)
	if len(begins) < 10 {
		t.Errorf("docs/ARCHITECTURE.md says of %d rooms where to begin", len(begins))
	}
	for _, m := range begins {
		if _, err := os.Stat(filepath.Join(m[1], m[2])); err != nil {
			t.Errorf("docs/ARCHITECTURE.md says to begin %s at %s: %v", m[1], m[2], err)
		}
	}
}

// TestPathsInDocs finds files that the documents name and that are gone.
func TestPathsInDocs(t *testing.T) {
	docs, _ := filepath.Glob("docs/*.md")
	path := regexp.MustCompile("`((?:[a-z]+/)+[a-z_0-9]+\\.(?:go|py|md|json|yaml))`")
	for _, doc := range append(docs, "README.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
		}
	}
}

// TestUnsafeStaysHome finds unsafe outside internal/linux.
func TestUnsafeStaysHome(t *testing.T) {
	walkGo(t, func(file string) {
		if strings.HasPrefix(file, "internal/linux/") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"unsafe"` {
				t.Errorf("%s imports unsafe; only internal/linux may", file)
			}
		}
	})
}

// TestTrustedLinksLittle holds what the program that decides is linked with against the
// list of what it may be: every library in it runs, if only to get ready, where
// everything can be read.
func TestTrustedLinksLittle(t *testing.T) {
	allowed := []string{
		"cofferdam", "github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v4", "golang.org/x/sys", "golang.org/x/term", "golang.org/x/net",
	}
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/cofferdam")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	if !slices.Contains(modules, "cofferdam") {
		t.Fatalf("go list names %q", modules)
	}
	for _, m := range modules {
		if !slices.Contains(allowed, m) {
			t.Errorf("cmd/cofferdam is linked with %s", m)
		}
	}
}

// readArrows reads the rows "| `room` | question | where to begin | imports |".
func readArrows(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z/-]+)` \\| .* \\| ([^|]+) \\|$")
	rooms := make(map[string][]string)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		rooms[m[1]] = strings.Fields(m[2])
	}
	if len(rooms) < 10 {
		t.Fatalf("docs/ARCHITECTURE.md: %d rows of the arrow table found", len(rooms))
	}
	return rooms
}

// roomOf is the room with the longest name that holds the folder.
func roomOf(rooms map[string][]string, folder string) string {
	best := ""
	for room := range rooms {
		if (folder == room || strings.HasPrefix(folder, room+"/")) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

type arrow struct{ file, from, to string }

// imports lists what the code (not its tests) imports of this module.
func imports(t *testing.T) []arrow {
	t.Helper()
	var out []arrow
	walkGo(t, func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if to, ok := strings.CutPrefix(p, "cofferdam/"); ok {
				out = append(out, arrow{file, filepath.Dir(file), to})
			}
		}
	})
	return out
}

func walkGo(t *testing.T, visit func(file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
