package census

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A census that misses something proves nothing: each kind is left behind once.
func TestSees(t *testing.T) {
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &Scope{Apps: []string{"census"}, Dirs: []string{dir}, Pids: map[string]int{"test": os.Getpid()}, Grow: map[string]int{"KiB": 1 << 15, "threads": 8}}
	before := s.Take()
	if left := s.Left(before, s.Take()); len(left) > 0 {
		t.Fatalf("left before anything was done: %q", left)
	}
	for _, tt := range []struct {
		name, want string
		needs      string
		leave      func(*testing.T) (clean func())
	}{
		{"an orphan", "process: ", "", func(t *testing.T) func() {
			// Its parent is dead when it is looked for.
			out, err := exec.Command("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").Output()
			if err != nil {
				t.Fatal(err)
			}
			return func() { exec.Command("kill", "-KILL", strings.TrimSpace(string(out))).Run() }
		}},
		{"a file", "file: ", "", func(t *testing.T) func() {
			name := filepath.Join(dir, "file")
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(name) }
		}},
		{"a socket", "socket: bound to ", "", func(t *testing.T) func() {
			l, err := net.Listen("unix", filepath.Join(dir, "socket"))
			if err != nil {
				t.Fatal(err)
			}
			return func() { l.Close() }
		}},
		{"a descriptor", "descriptors of test: ", "", func(t *testing.T) func() {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
		{"a mount", "mount: ", "root", func(t *testing.T) func() {
			if err := unix.Mount("census", dir, "tmpfs", 0, "size=4k"); err != nil {
				t.Fatal(err)
			}
			return func() { unix.Unmount(dir, unix.MNT_DETACH) }
		}},
		{"a network namespace", "network namespace: ", "root", func(t *testing.T) func() {
			cmd := exec.Command("sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { cmd.Process.Kill(); cmd.Wait() }
		}},
		{"a cgroup", "cgroup: ", "root", func(t *testing.T) func() {
			roots, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
			roots = append(roots, "/sys/fs/cgroup/cgroup.procs")
			made := filepath.Join(filepath.Dir(roots[0]), "cofferdam-census.1.1")
			if err := os.Mkdir(made, 0o755); err != nil {
				t.Skip("needs cgroup: ", err)
			}
			return func() { os.Remove(made) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needs == "root" && os.Geteuid() != 0 {
				t.Skip("needs root: only root makes one")
			}
			clean := tt.leave(t)
			left := strings.Join(s.Left(before, s.Take()), "\n")
			if !strings.Contains(left, tt.want) {
				t.Errorf("the census says %q, want %q in it", left, tt.want)
			}
			clean()
			if left := s.Settle(before, 5*time.Second); len(left) > 0 {
				t.Errorf("after it was cleared away: %q", left)
			}
		})
	}
}
