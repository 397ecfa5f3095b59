package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/label"
)

func TestVolumeLabels(t *testing.T) {
	dirs := Dirs{State: t.TempDir()}
	if err := KnownVolumes(dirs, []string{"old"}); err != nil {
		t.Fatal(err)
	}
	alice, bob := label.MustParse("alice %% True"), label.MustParse("bob %% True")
	v := &volumeLabels{dir: labelsDir(dirs)}
	for _, tt := range []struct {
		name   string
		do     func() error
		refuse string
	}{
		{"asked before it is made", func() error { return v.check("new", bob) }, ""},
		{"made", func() error { return v.fix("new", alice) }, ""},
		{"used again", func() error { return v.fix("new", alice) }, ""},
		{"used with another label", func() error { return v.fix("new", bob) }, `volume "new" was made with the label "alice" %% True and keeps it, but its label is to be "bob" %% True`},
		{"asked with another label", func() error { return v.check("new", label.Public) }, "keeps it"},
		{"made before there were labels", func() error { return v.check("old", alice) }, "the label True %% True"},
		{"the same, public", func() error { return v.fix("old", label.Public) }, ""},
		{"a second time at least nothing becomes public", func() error { return KnownVolumes(dirs, []string{"new"}) }, ""},
		{"still alice's", func() error { return v.check("new", alice) }, ""},
		{"by whoever comes next", func() error { return (&volumeLabels{dir: v.dir}).check("new", bob) }, "keeps it"},
	} {
		err := tt.do()
		if tt.refuse == "" && err != nil || tt.refuse != "" && (err == nil || !strings.Contains(err.Error(), tt.refuse)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.refuse)
		}
	}
	left, err := filepath.Glob(filepath.Join(dirs.State, "labels", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// What cannot be read as a label is not taken for the absence of one.
func TestVolumeLabelIsUnreadable(t *testing.T) {
	v := &volumeLabels{dir: t.TempDir()}
	for name, make := range map[string]func(path string) error{
		"cut":       func(path string) error { return os.WriteFile(path, []byte(`"ali`), 0o600) },
		"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"long":      func(path string) error { return os.WriteFile(path, make([]byte, maxLabelFile+1), 0o600) },
		"link":      func(path string) error { return os.Symlink("/dev/null", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		if err := make(filepath.Join(v.dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := v.check(name, label.Public); err == nil || !strings.Contains(err.Error(), filepath.Join(v.dir, name)) {
			t.Errorf("check of %q: %v, want an error that says where", name, err)
		}
		if err := v.fix(name, label.Public); err == nil {
			t.Errorf("fix of %q: no error", name)
		}
	}
}
