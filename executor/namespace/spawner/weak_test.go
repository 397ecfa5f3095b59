package spawner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/canary"
	"cofferdam/executor/namespace"
	"cofferdam/executor/namespace/seccomp"

	"golang.org/x/sys/unix"
)

// weaknesses are spawners that forget something, and still say that they do not.
var weaknesses = map[string]struct {
	forget func(*server)
	finds  []string // the protections that the canary finds not to hold
	root   bool     // it takes root to be so careless
	needs  string   // a protection without which it makes no difference
}{
	"nothing": {forget: func(*server) {}},
	"seccomp": {
		forget: func(s *server) {
			s.scripts.filters[seccomp.May{}] = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
		},
		finds: []string{"seccomp"},
	},
	"one system call": {
		forget: func(s *server) { // a hole in the list
			allow := []unix.SockFilter{
				{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
				{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_OPENAT2, Jf: 1},
				{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
			}
			s.scripts.filters[seccomp.May{}] = append(allow, s.scripts.filters[seccomp.May{}]...)
		},
		finds: []string{"seccomp"},
	},
	"landlock": {
		forget: func(s *server) { s.scripts.landlock = 0 },
		finds:  []string{"landlock"},
		needs:  "landlock",
	},
	"capabilities": {
		forget: func(s *server) { s.scripts.lastCap = 0 },
		finds:  []string{"capabilities"},
	},
	"network": {
		forget: func(s *server) {
			host := &networks{visitor: s.visitor, trim: time.NewTimer(time.Hour)}
			// Not that of /proc/self: the thread of that name may be the one that
			// makes networks and lives in the last of them.
			for range 8 {
				fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err == nil {
					host.free = append(host.free, fd)
				}
			}
			s.blanks.networks = host
		},
		finds: []string{"network-namespace"},
		root:  true,
	},
	"limit of processes": {
		forget: func(s *server) { s.blanks.nests.parent = nil },
		finds:  []string{"cgroup.pids"},
		needs:  "cgroup.pids",
	},
	"ids": {
		forget: func(s *server) { s.ids.count = 0; s.ids.base = 0 },
		finds:  []string{"uid-range"},
		needs:  "uid-range",
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "weak":
			s, err := greet(3)
			if err == nil {
				weaknesses[os.Args[2]].forget(s)
				err = s.run()
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "weak spawner:", err)
			}
			os.Exit(0)
		case "overdue":
			overdue("it waits in vain", time.Millisecond)
			select {}
		case "role":
			os.Exit(canary.Main(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// TestCanaryFindsWeakness has environments that are real, but for one protection,
// and the canary in them.
func TestCanaryFindsWeakness(t *testing.T) {
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, weak := range weaknesses {
		t.Run(name, func(t *testing.T) {
			if weak.root && os.Geteuid() != 0 {
				t.Skip("needs root: others cannot leave a program in the host's network")
			}
			e, err := namespace.New(namespace.Options{App: "weak", Executable: []string{"/proc/self/exe", "weak", name}, Warm: -1})
			if errors.Is(err, executor.ErrUnsupported) {
				t.Skip("needs isolation: ", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { e.Close() })
			for _, p := range e.Protections() {
				if p.Name == weak.needs && p.Status != executor.Pass {
					t.Skipf("needs %s: %s", strings.Replace(p.Name, ".pids", "", 1), p.Detail)
				}
			}
			r, err := canary.Prove(context.Background(), e, canary.Options{
				Program: self, Args: []string{"role"}, Dir: t.TempDir(), AllowDegraded: []string{"cgroup", "landlock", "disk-quota"},
			})
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, p := range r.Broken() {
				found[p.Protection] = true
			}
			for _, name := range weak.finds {
				if !found[name] {
					t.Errorf("%s does not hold, and the canary says nothing of it", name)
				}
				delete(found, name)
			}
			if len(found) > 0 {
				t.Errorf("beside %v the canary finds that %v do not hold: %v", weak.finds, found, r.Err())
			}
			if err := r.Err(); (err != nil) != (len(weak.finds) > 0) || err != nil && !errors.Is(err, canary.ErrNotKept) {
				t.Errorf("Err() = %v", err)
			}
		})
	}
}

// TestAsOrdinaryUser is the same for an ordinary user, when it was started by root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: this is an ordinary user already")
	}
	dir, err := os.MkdirTemp("", "ordinary")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "spawner.test")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.v", "-test.run", "TestCanaryFindsWeakness")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if i := strings.Index(string(out), "user-namespace"); i >= 0 && !strings.Contains(string(out), "--- PASS: TestCanaryFindsWeakness/seccomp") {
		t.Skip("needs isolation: ", string(out[i:]))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestCanaryFindsWeakness/seccomp") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOverdue: a spawner that hangs ends, and says where it stood.
func TestOverdue(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "overdue")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{"spawner: it waits in vain after 1ms", "spawner.TestMain"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it said %q, without %q", out, want)
		}
	}
}
