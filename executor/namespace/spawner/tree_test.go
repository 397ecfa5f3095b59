package spawner

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

func TestCheckTarget(t *testing.T) {
	for target, want := range map[string]bool{
		"/data": true, "/a/b": true, "/process": true, "/tmp/x": true, "/run": true,
		"/": false, "": false, "a": false, "/a/": false, "/a/../b": false, "//a": false,
		"/proc": false, "/proc/self": false, "/sys/x": false, "/dev": false, "/dev/shm": false,
	} {
		if err := checkTarget(target); (err == nil) != want {
			t.Errorf("checkTarget(%q) = %v, want allowed %v", target, err, want)
		}
	}
}

func TestOpenBeneath(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "in/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"abs": "/etc", "rel": "in", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root := openPath(t, dir)
	for name, want := range map[string]error{
		"": nil, "in": nil, "in/deep": nil,
		"abs": unix.ELOOP, "rel": unix.ELOOP, "rel/deep": unix.ELOOP, "up": unix.ELOOP,
		"..": unix.EXDEV, "in/../..": unix.EXDEV, "/etc": unix.EXDEV, "none": unix.ENOENT,
	} {
		fd, err := openBeneath(root, name, unix.O_PATH)
		if !errors.Is(err, want) {
			t.Errorf("openBeneath(%q): %v, want %v", name, err, want)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
}

func TestEnclosing(t *testing.T) {
	mounts := []executor.Mount{
		{Kind: executor.MountRuntime}, {Target: "/data"}, {Target: "/database"}, {Target: "/data/in"}, {Target: "/data/in/side"}, {Target: "/x"},
	}
	for n, want := range []int{1: -1, 2: -1, 3: 1, 4: 3, 5: -1} {
		if n == 0 {
			continue
		}
		if got := enclosing(mounts, n); got != want {
			t.Errorf("enclosing(%q) = %d, want %d", mounts[n].Target, got, want)
		}
	}
}

func TestIDsAreNotSharedByChance(t *testing.T) {
	i := &ids{base: 1000, count: 12, used: map[uint32]int{}}
	seen := map[int]bool{}
	var last uint32
	for range 5 {
		slot, err := i.take()
		if err != nil {
			t.Fatal(err)
		}
		id := i.program(slot)
		if seen[id] || id < 1000+2 || id >= 1000+12 || !i.ours(id) {
			t.Errorf("slot %d gives id %d: taken before, or out of range", slot, id)
		}
		seen[id] = true
		last = slot
	}
	if _, err := i.take(); err == nil {
		t.Error("a sixth slot in a range of five")
	}
	i.share(last)
	i.give(last)
	if _, err := i.take(); err == nil {
		t.Error("a slot that a twin still has was given away")
	}
	i.give(last)
	if slot, err := i.take(); err != nil || slot != last {
		t.Errorf("after the twin's end: slot %d, %v, want %d", slot, err, last)
	}
}
