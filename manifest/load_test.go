package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(dir, "My App_2")
	write(t, filepath.Join(app, "real", "web"), "x")
	if err := os.Symlink("real", filepath.Join(app, "bin")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(app, "cofferdam.yaml")
	write(t, file, "version: 1\nservices:\n  web: {command: [/web], files: [bin/web:/web]}\n")

	a, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if a.File != file || a.Dir != app || a.Name != "my-app-2" {
		t.Errorf("File, Dir, Name = %q, %q, %q", a.File, a.Dir, a.Name)
	}
	if got, want := a.Services[0].Files[0].From, filepath.Join(app, "real", "web"); got != want {
		t.Errorf("From = %q, want %q, the links resolved", got, want)
	}
	checkResolved(t, a)

	t.Chdir(app)
	a, err = Load("cofferdam.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if a.File != "cofferdam.yaml" || a.Dir != app {
		t.Errorf("File, Dir = %q, %q; want the name as given, and the directory", a.File, a.Dir)
	}

	_, err = Load(filepath.Join(app, "none.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of what is not there = %v", err)
	}
	if _, err = Load(app); err == nil {
		t.Error("Load of a directory gave no error")
	}
	write(t, file, strings.Repeat("#", MaxBytes+1))
	var all Errors
	if _, err = Load(file); !errors.As(err, &all) {
		t.Errorf("Load of a large file = %v, want Errors", err)
	}
}

func TestErrorsCanBeTakenApart(t *testing.T) {
	_, err := parse("m.yaml", "version: 1\nservics: {}\n")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Parse = %v, want an *Error within", err)
	}
	want := Error{File: "m.yaml", Line: 2, Column: 1, Key: "servics", Message: "unknown key", Hint: `did you mean "services"?`}
	if *e != want {
		t.Errorf("got %+v, want %+v", *e, want)
	}
}

func TestHostPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "x")
	for name, to := range map[string]string{"link": "file", "proc": "/proc", "up": "/", "null": "/dev/null", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want, err string }{
		{"file", "file", ""},
		{"link", "file", ""},
		{".", ".", ""},
		{"none", "", "no such file"},
		{"loop", "", "too many links"},
		{"proc", "", `"/proc" cannot be shown: it tells of every process`},
		{"up", "", "is the whole host"},
		{"null", "", `"/dev/null" cannot be shown`},
		{"fifo", "", "neither a file nor a directory"},
		{"../../../../../../../../../../../../sys/kernel", "", `"/sys/kernel" cannot be shown`},
	} {
		t.Run(tt.path, func(t *testing.T) {
			got, err := HostPath(filepath.Join(dir, tt.path))
			if tt.err == "" {
				if want := filepath.Join(dir, tt.want); err != nil || got != want {
					t.Errorf("HostPath = %q, %v; want %q", got, err, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("HostPath = %q, %v; want %q in the error", got, err, tt.err)
			}
		})
	}
}

// TestStrangeDirectory: a host path that no manifest could hold is refused, so
// that the resolved form always parses back.
func TestStrangeDirectory(t *testing.T) {
	for _, real := range []string{"/srv/${HOME}/a", "/srv/\n/a", "/srv/\xff/a", "/srv/\u0085"} {
		_, err := Parse("m.yaml", []byte("version: 1\nservices: {a: {command: [/a], files: [a:/a]}}"), "/srv",
			func(string) (string, error) { return real, nil })
		if err == nil || !strings.Contains(err.Error(), "cannot be written in a manifest") {
			t.Errorf("resolved to %q: %v", real, err)
		}
	}
}
