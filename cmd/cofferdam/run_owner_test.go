package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"cofferdam/executor"
)

// What a program leaves in what --rw shows is given back whatever it is called,
// and leads nowhere outside.
func TestOwnership(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root gives files away")
	}
	shown, outside := t.TempDir(), t.TempDir()
	write := func(name string, uid int) {
		t.Helper()
		path := filepath.Join(shown, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	write("before/\xff/kept", 4711)
	owners, err := ownershipOf(&executor.Spec{Mounts: []executor.Mount{{Kind: executor.MountBind, Source: shown, Writable: true}}})
	if err != nil {
		t.Fatal(err)
	}
	write("before/\xff/kept", 4712) // by the executor, and by the program:
	write("\xfe\n\x1b[2J/-rf/new", 4712)
	for name, target := range map[string]string{"out": outside, "before/up": "../../.."} {
		if err := os.Symlink(target, filepath.Join(shown, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(outside, 4713, 4713); err != nil {
		t.Fatal(err)
	}
	if err := owners.restore(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{
		filepath.Join(shown, "before/\xff/kept"):      4711,
		filepath.Join(shown, "\xfe\n\x1b[2J/-rf/new"): 0,
		filepath.Join(shown, "out"):                   0,
		outside:                                       4713,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%q belongs to %d, want %d", path, got, want)
		}
	}
}
