package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A box is a container around us, of bubblewrap or, with a bundle, of crun.
type box struct {
	root   bool // its maker is root of the host, if the test is
	env    []string
	bwrap  []string // options
	bundle *bundle
	dir    string // with our executable
}

// advised is what we say in a box that forbids something, and what follows it.
type advised struct {
	says   string
	follow func(*box)
}

// TestNested runs cofferdam inside containers. Either it works, or what it says
// is what must be allowed: the advice is followed, word for word, until it works.
func TestNested(t *testing.T) {
	for _, tt := range []struct {
		name    string
		box     box
		advices []advised
	}{
		{"bwrap", box{bwrap: plain}, nil},
		{"bwrap read-only", box{bwrap: plain, env: []string{"HOME=/"}}, []advised{
			{"or set " + stateEnv, func(b *box) { b.env = writable }},
		}},
		{"bwrap root", box{bwrap: append([]string{"--uid", "0", "--gid", "0"}, plain...)}, []advised{
			{"bwrap --uid 1000", func(b *box) { b.bwrap[1], b.bwrap[3] = "1000", "1000" }},
		}},
		{"bwrap root with one capability", box{bwrap: append([]string{"--uid", "0", "--gid", "0"}, plain...)}, []advised{
			{"bwrap --cap-add CAP_SETFCAP", func(b *box) { b.bwrap = append(b.bwrap, "--cap-add", "CAP_SETFCAP") }},
		}},
		{"bwrap root with all capabilities", box{bwrap: append([]string{"--uid", "0", "--gid", "0", "--cap-add", "ALL"}, plain...)}, nil},
		{"bwrap of root", box{root: true, bwrap: plain}, []advised{
			{"bwrap: not as root", func(b *box) { b.root = false }},
		}},
		{"bwrap covered proc", box{bwrap: append(slices.Clone(plain), "--ro-bind", "/proc/sys", "/proc/sys")}, []advised{
			{"nothing is masked or read-only", func(b *box) { b.bwrap = plain }},
		}},
		{"bwrap proc of the host", box{bwrap: append(without(plain, "--proc"), "--ro-bind", "/proc", "/proc")}, []advised{
			{"bwrap --proc /proc", func(b *box) { b.bwrap = append(b.bwrap, "--proc", "/proc") }},
		}},
		{"bwrap read-only proc", box{bwrap: slices.Concat([]string{"--unshare-user"}, plain[1:], []string{"--remount-ro", "/proc"})}, []advised{
			{"bwrap --proc /proc", func(b *box) { b.bwrap = plain }},
		}},
		{"bwrap no user namespaces", box{bwrap: append([]string{"--unshare-user", "--disable-userns"}, plain...)}, []advised{
			{"bwrap: without --disable-userns", func(b *box) { b.bwrap = b.bwrap[2:] }},
		}},
		{"crun", box{bundle: &bundle{}}, []advised{
			{"another user in the container than root", func(b *box) { b.bundle.user = 1000 }},
			{"no maskedPaths and no readonlyPaths below /proc", func(b *box) { b.bundle.uncovered = true }},
		}},
		{"crun root with one capability", box{bundle: &bundle{}}, []advised{
			{"or CAP_SETFCAP for root", func(b *box) { b.bundle.setfcap = true }},
			{"no maskedPaths and no readonlyPaths below /proc", func(b *box) { b.bundle.uncovered = true }},
		}},
		{"crun filter", box{bundle: &bundle{user: 1000, uncovered: true, filter: usualFilter}}, []advised{
			{"a filter that allows what docs/HOSTS.md lists", func(b *box) { b.bundle.filter = ourFilter }},
		}},
		{"crun strict filter", box{bundle: &bundle{user: 1000, uncovered: true, filter: strictFilter}}, []advised{
			{"a filter that allows what docs/HOSTS.md lists", func(b *box) { b.bundle.filter = ourFilter }},
		}},
		{"crun no filter", box{bundle: &bundle{user: 1000, uncovered: true, filter: strictFilter}}, []advised{
			{"seccomp=unconfined", func(b *box) { b.bundle.filter = nil }},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.box
			b.prepare(t)
			for _, a := range tt.advices {
				said, code := b.run(t, "run", "--allow-degraded", "cgroup", "--", "true")
				if code == 0 {
					return // a kernel that is less strict
				}
				if code != codeOurs || !strings.Contains(said, a.says) {
					t.Fatalf("run: exit code %d, %q, want %d and the advice %q", code, said, codeOurs, a.says)
				}
				said, code = b.run(t, "doctor")
				if !strings.HasSuffix(a.says, stateEnv) && (code != codeUnprotected || !strings.Contains(said, a.says)) {
					t.Errorf("doctor: exit code %d, %q, want %d and the advice %q", code, said, codeUnprotected, a.says)
				}
				a.follow(&b)
			}
			if said, code := b.run(t, "run", "--allow-degraded", "cgroup", "--", "true"); code != 0 {
				t.Errorf("run, with the advice followed: exit code %d, %q", code, said)
			}
			if said, code := b.run(t, "doctor"); code > codeDegraded {
				t.Errorf("doctor, with the advice followed: exit code %d, %q", code, said)
			}
		})
	}
}

// plain is a container of bubblewrap with a file tree of its own.
var plain = []string{"--unshare-all", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"}

// without leaves out an option and its value.
func without(options []string, name string) []string {
	i := slices.Index(options, name)
	return slices.Delete(slices.Clone(options), i, i+2)
}

// prepare makes what the box needs, with our executable where an ordinary user
// can reach it.
func (b *box) prepare(t *testing.T) {
	tool := "bwrap"
	if b.bundle != nil {
		tool = "crun"
	}
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: %v", tool, err)
	}
	if slices.Contains(b.bwrap, "--disable-userns") {
		if help, _ := exec.Command("bwrap", "--help").CombinedOutput(); !bytes.Contains(help, []byte("--disable-userns")) {
			t.Skip("needs bwrap-0.8: it has no --disable-userns")
		}
	}
	if b.root && os.Getuid() != 0 {
		t.Skip("needs root: this box is one of root's")
	}
	dir, err := os.MkdirTemp("/tmp", "cofferdam-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cofferdam"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	if b.env == nil {
		b.env = writable
	}
	if b.bundle != nil {
		b.bundle.prepare(t, dir)
	}
}

// run runs a command of ours in the box and returns all that it says.
func (b *box) run(t *testing.T, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var line []string
	if b.bundle != nil {
		b.bundle.write(t, b.dir, b.env, append([]string{"/cofferdam/cofferdam"}, args...))
		line = []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c", crun, b.dir}
	} else {
		line = append([]string{"bwrap", "--ro-bind", "/", "/", "--die-with-parent"}, b.bwrap...)
		line = append(line, "--ro-bind", b.dir, "/tmp/cofferdam", "/tmp/cofferdam/cofferdam")
		line = append(line, args...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + b.dir + "/run"}, b.env...)
	if os.Getuid() == 0 && !b.root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%q: %v\n%s", line, err, out)
	}
	return string(out), 0
}

// crun runs the bundle of a directory. Not every crun can live with a host that has
// both versions of cgroups, so it sees neither.
const crun = `mount -t tmpfs tmpfs /sys/fs/cgroup && exec crun --cgroup-manager=disabled run --bundle "$0" "cofferdam-test-$$"`

// A bundle is what crun makes of `crun spec --rootless`: a read-only root, parts of
// /proc covered, three capabilities. Ours is the host's files at their places.
type bundle struct {
	user      int // in the container
	setfcap   bool
	uncovered bool
	filter    func(t *testing.T) map[string]any // of system calls; nil is none
}

func (b *bundle) prepare(t *testing.T, dir string) {
	for _, d := range []string{"run", "rootfs", "rootfs/usr", "rootfs/etc", "rootfs/tmp", "rootfs/proc", "rootfs/sys", "rootfs/dev", "rootfs/cofferdam"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+d, filepath.Join(dir, "rootfs", d)); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		for _, d := range []string{dir, filepath.Join(dir, "run"), filepath.Join(dir, "rootfs")} {
			if err := os.Chown(d, 1000, 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// write writes the configuration for a process.
func (b *bundle) write(t *testing.T, dir string, env, args []string) {
	t.Helper()
	scratch := t.TempDir()
	cmd := exec.Command("crun", "spec", "--rootless")
	cmd.Dir = scratch
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("crun spec: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(scratch, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	process, linux := config["process"].(map[string]any), config["linux"].(map[string]any)
	process["terminal"] = false
	process["user"] = map[string]any{"uid": b.user, "gid": b.user}
	process["args"] = args
	process["env"] = append([]string{"PATH=/usr/bin:/bin"}, env...)
	if b.setfcap {
		for set, list := range process["capabilities"].(map[string]any) {
			process["capabilities"].(map[string]any)[set] = append(list.([]any), "CAP_SETFCAP")
		}
	}
	mounts := config["mounts"].([]any)
	for from, to := range map[string]string{"/usr": "/usr", "/etc": "/etc", dir: "/cofferdam"} {
		mounts = append(mounts, map[string]any{"destination": to, "type": "none", "source": from, "options": []string{"rbind", "ro"}})
	}
	config["mounts"] = append(mounts, map[string]any{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=1777"}})
	ids := []map[string]any{{"containerID": b.user, "hostID": 0, "size": 1}}
	linux["uidMappings"], linux["gidMappings"] = ids, ids
	if b.uncovered {
		delete(linux, "maskedPaths")
		delete(linux, "readonlyPaths")
	}
	if b.filter != nil {
		linux["seccomp"] = b.filter(t)
	}
	text, err = json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// usualFilter is what container engines load for a container without capabilities.
func usualFilter(t *testing.T) map[string]any {
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Skip("needs containers-seccomp: ", err)
	}
	var all struct {
		DefaultAction   string
		DefaultErrnoRet any
		Syscalls        []struct {
			Names    []string
			Action   string
			Args     []any
			ErrnoRet any
			Includes struct{ Caps, Arches []string }
			Excludes struct{ Caps, Arches []string }
		}
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	filter := map[string]any{"defaultAction": all.DefaultAction, "architectures": []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}}
	if all.DefaultErrnoRet != nil {
		filter["defaultErrnoRet"] = all.DefaultErrnoRet
	}
	var calls []any
	for _, c := range all.Syscalls {
		arch := map[string]string{"amd64": "amd64", "arm64": "arm64"}[runtime.GOARCH]
		if len(c.Includes.Caps) > 0 || slices.Contains(c.Excludes.Arches, arch) ||
			len(c.Includes.Arches) > 0 && !slices.Contains(c.Includes.Arches, arch) {
			continue
		}
		call := map[string]any{"names": c.Names, "action": c.Action}
		if c.ErrnoRet != nil {
			call["errnoRet"] = c.ErrnoRet
		}
		if len(c.Args) > 0 {
			call["args"] = c.Args
		}
		calls = append(calls, call)
	}
	filter["syscalls"] = calls
	return filter
}

// strictFilter is that of Docker: no namespaces without CAP_SYS_ADMIN.
func strictFilter(t *testing.T) map[string]any {
	newNamespace := 0x7e020000 // CLONE_NEW…
	filter := refuse(usualFilter(t))
	filter["syscalls"] = append(filter["syscalls"].([]any),
		map[string]any{"names": []string{"clone"}, "action": "SCMP_ACT_ALLOW", "args": []any{
			map[string]any{"index": 0, "value": newNamespace, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
		}},
		map[string]any{"names": []string{"clone3"}, "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
	return filter
}

// ourFilter is the usual one with what docs/HOSTS.md lists allowed.
func ourFilter(t *testing.T) map[string]any {
	text, err := os.ReadFile("../../docs/HOSTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range nesting {
		if !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("docs/HOSTS.md does not list %q", name)
		}
	}
	filter := refuse(usualFilter(t))
	filter["syscalls"] = append(filter["syscalls"].([]any), map[string]any{"names": nesting, "action": "SCMP_ACT_ALLOW"})
	return filter
}

// nesting are the system calls we need that are refused in containers.
var nesting = []string{
	"clone", "clone3", "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr",
	"fsopen", "fsconfig", "fsmount", "sethostname",
}

// refuse takes out what we need.
func refuse(filter map[string]any) map[string]any {
	var calls []any
	for _, c := range filter["syscalls"].([]any) {
		call := c.(map[string]any)
		names := slices.DeleteFunc(call["names"].([]string), func(name string) bool { return slices.Contains(nesting, name) })
		if len(names) > 0 {
			call["names"] = names
			calls = append(calls, call)
		}
	}
	filter["syscalls"] = calls
	return filter
}

// writable says where state may be kept.
var writable = []string{stateEnv + "=/tmp/state", runtimeEnv + "=/tmp/run"}
