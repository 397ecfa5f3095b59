package main

import (
	"os"
	"path/filepath"
	"testing"

	"cofferdam/supervisor"
)

// What an earlier version kept in the state directory is not lost, and nothing
// takes the place of what is there.
func TestVolumesMove(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the volumes of others stay where they are")
	}
	state := t.TempDir()
	d := supervisor.Dirs{State: filepath.Join(state, "app")}
	old := filepath.Join(d.State, "volumes", "bank")
	write := func(content string) {
		t.Helper()
		if err := os.MkdirAll(old, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(old, "f"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hello")
	for range 2 {
		dir, err := prepareVolumes("app", d)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "bank", "f")); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := os.Lstat(filepath.Dir(old)); err == nil {
			t.Error("the old directory is still there")
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info, err)
		}
	}
	write("other")
	if _, err := prepareVolumes("app", d); err == nil {
		t.Error("two volumes of one name, and no error")
	}
	if b, _ := os.ReadFile(filepath.Join(old, "f")); string(b) != "other" {
		t.Errorf("the second is %q", b)
	}
}

// Volumes that were there before labels are public, under the names they have.
func TestVolumesFromBeforeLabels(t *testing.T) {
	d, dir := supervisor.Dirs{State: t.TempDir()}, t.TempDir()
	for _, name := range []string{"bank", "state", "state~was", "half~new"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := knownVolumes(dir, d); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "later"), 0o700); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	for name, known := range map[string]bool{"bank": true, "state": true, "half": true, "later": false} {
		text, err := os.ReadFile(filepath.Join(d.State, "labels", name))
		if (err == nil) != known || known && string(text) != "True %% True\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
