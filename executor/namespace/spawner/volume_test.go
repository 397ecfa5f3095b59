package spawner

import (
	"os"
	"path/filepath"
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
