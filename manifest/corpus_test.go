package manifest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected texts and the documents anew")

// pretend resolves host paths without a host.
func pretend(p string) (string, error) {
	if path.Base(p) == "missing" {
		return "", errors.New("nothing at " + p)
	}
	return p, nil
}

func parse(name, text string) (*App, error) {
	return Parse(name, []byte(text), "/srv/app", pretend)
}

func mustParse(t testing.TB, text string) *App {
	t.Helper()
	app, err := parse("m.yaml", text)
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return app
}

// archive is a text file of several: a comment, then for each a line
// "-- name --" and the content.
type archive struct {
	comment string
	files   []entry
}

type entry struct{ name, text string }

// corpus reads an archive of manifests, each followed by the errors expected.
func corpus(t testing.TB, name string) (a archive) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		head, isHead := strings.CutPrefix(line, "-- ")
		head, isHeadToo := strings.CutSuffix(head, " --\n")
		switch n := len(a.files); {
		case isHead && isHeadToo:
			a.files = append(a.files, entry{name: head})
		case n == 0:
			a.comment += line
		default:
			a.files[n-1].text += line
		}
	}
	return a
}

func (a archive) write(t testing.TB, name string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(a.comment)
	for _, f := range a.files {
		fmt.Fprintf(&b, "-- %s --\n%s", f.name, f.text)
	}
	if err := os.WriteFile("testdata/"+name+".txtar", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a archive) manifests() []entry {
	var out []entry
	for _, f := range a.files {
		if path.Ext(f.name) == ".yaml" {
			out = append(out, f)
		}
	}
	return out
}

func TestValid(t *testing.T) {
	for _, f := range corpus(t, "valid").manifests() {
		t.Run(f.name, func(t *testing.T) {
			if _, err := parse(f.name, f.text); err != nil {
				t.Errorf("Parse: %v", err)
			}
		})
	}
}

// TestRefused holds the text of every refusal against the archive.
func TestRefused(t *testing.T) {
	for _, name := range []string{"shape", "meaning"} {
		a := corpus(t, name)
		want := make(map[string]string)
		for _, f := range a.files {
			want[f.name] = f.text
		}
		var files []entry
		for _, f := range a.manifests() {
			base := strings.TrimSuffix(f.name, ".yaml")
			t.Run(name+"/"+base, func(t *testing.T) {
				_, err := parse("m.yaml", f.text)
				var all Errors
				if !errors.As(err, &all) || len(all) == 0 {
					t.Fatalf("Parse gave %v, want Errors", err)
				}
				got := err.Error() + "\n"
				files = append(files, f, entry{base + ".err", got})
				if got != want[base+".err"] && !*update {
					t.Errorf("Parse gave\n%swant\n%s", got, want[base+".err"])
				}
			})
		}
		if *update {
			a.files = files
			a.write(t, name)
		}
	}
}
