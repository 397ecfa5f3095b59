package spawner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func openPath(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func owner(t *testing.T, name string) int {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(fi.Sys().(*syscall.Stat_t).Uid)
}

// What a program plants in its volume leads nowhere outside (CVE-2024-28189).
func TestGiveTreeFollowsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root gives files away")
	}
	outside, vol := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	for _, err := range []error{
		os.WriteFile(secret, nil, 0o600),
		os.MkdirAll(filepath.Join(vol, "d/e"), 0o755),
		os.WriteFile(filepath.Join(vol, "d/e/f"), nil, 0o600),
		os.Symlink(secret, filepath.Join(vol, "link")),
		os.Symlink(outside, filepath.Join(vol, "d/dir")),
		unix.Mkfifo(filepath.Join(vol, "fifo"), 0o600), // opening it would wait for ever
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := giveTree(openPath(t, vol), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "d", "d/e", "d/e/f", "link", "d/dir", "fifo"} {
		if got := owner(t, filepath.Join(vol, name)); got != 4711 {
			t.Errorf("%q belongs to %d, want 4711", name, got)
		}
	}
	for _, name := range []string{outside, secret} {
		if got := owner(t, name); got != 0 {
			t.Errorf("%q outside belongs to %d", name, got)
		}
	}
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	sparse.Truncate(1 << 40)
	sparse.Close()
	fd := openPath(t, dir)
	if got, _ := measure(fd, 1<<20, 100); got > 1<<20 {
		t.Errorf("a sparse file counts as %d bytes", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := measure(fd, 1<<20, 100); got <= 1<<20 {
		t.Errorf("2 MiB count as %d bytes", got)
	}
	deep := dir
	for range maxDepth + 2 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, _ := measure(fd, 1<<40, 100); got <= 1<<40 {
		t.Errorf("a tree too deep to be measured counts as %d bytes, not as over any quota", got)
	}
}

// What a program nested deeper than a path can name is handed over to the next one,
// to the bottom.
func TestDeepTreeIsGiven(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files away")
	}
	const levels = 40 * maxDepth
	top := openPath(t, t.TempDir())
	at, err := unix.FcntlInt(uintptr(top), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	descend := func(name string) {
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(at)
		if at = next; err != nil {
			t.Fatal(err)
		}
	}
	for range levels {
		if err := unix.Mkdirat(at, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknodat(at, "file", unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
		descend("d")
	}
	if err := giveTree(top, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	for level := levels; level > 0; level-- {
		var dir, file unix.Stat_t
		if err := unix.Fstatat(at, "", &dir, unix.AT_EMPTY_PATH); err != nil {
			t.Fatal(err)
		}
		descend("..")
		if err := unix.Fstatat(at, "file", &file, 0); err != nil {
			t.Fatal(err)
		}
		if dir.Uid != 1234 || dir.Gid != 5678 || file.Uid != 1234 {
			t.Fatalf("level %d is still of %d:%d, its file of %d", level, dir.Uid, dir.Gid, file.Uid)
		}
		for _, name := range []string{"file", "d"} {
			flags := 0
			if name == "d" {
				flags = unix.AT_REMOVEDIR
			}
			if err := unix.Unlinkat(at, name, flags); err != nil {
				t.Fatal(err)
			}
		}
	}
	unix.Close(at)
}

// A tree that is wide where it is deep is refused before it takes all descriptors.
func TestWideDeepTreeIsNotGiven(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files away")
	}
	dir := t.TempDir()
	deep := dir + strings.Repeat("/d", maxDepth)
	for n := range maxDeeper + 1 {
		if err := os.MkdirAll(fmt.Sprintf("%s/%d", deep, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := len(openFiles(t))
	if err := giveTree(openPath(t, dir), 1234, 5678); err == nil {
		t.Error("given")
	}
	if after := len(openFiles(t)); after > before+1 { // the tree's own
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openFiles(t *testing.T) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return all
}
