package namespace_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cofferdam/executor"
)

// The whole suite once more as an ordinary user, when it was started by root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: this is an ordinary user already")
	}
	// The test binary lies where only its owner may look.
	dir, err := os.MkdirTemp("", "ordinary")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, binary := filepath.Join(dir, "tmp"), filepath.Join(dir, "namespace.test")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(binary, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	// And a program that it may execute and not read.
	unreadable := filepath.Join(dir, "unreadable")
	if err := copyFile(unreadable, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(unreadable, 0o711); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.v", "-test.short"}
	cmd := exec.Command(binary, args...)
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp, unreadableEnv + "=" + unreadable, leakStartsEnv + "=" + os.Getenv(leakStartsEnv)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	// With no user namespaces every test skips; then this one does, and says so.
	if i := strings.Index(text, "user-namespace"); i >= 0 && !strings.Contains(text, "--- PASS: TestExit") {
		t.Skip("needs isolation: ", text[i:])
	}
	if !strings.Contains(text, "--- PASS: TestExit") {
		t.Errorf("the suite did not run:\n%s", text)
	}
}

// The suite of things that must not work once more as an ordinary user with
// subordinate ids, which are his in a mount namespace of the test's own. But for
// resources, to which ids make no difference.
func TestWithSubordinateIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the ids of an ordinary user are not his to choose")
	}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		t.Skip("needs uidmap: ", err)
	}
	dir, err := os.MkdirTemp("", "subordinate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	binary, ids := filepath.Join(dir, "namespace.test"), filepath.Join(dir, "ids")
	if err := copyFile(binary, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ids, []byte("1000:2000000:65536\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `set -e
		for f in /etc/subuid /etc/subgid; do test -e $f; mount --bind "$1" $f; done
		exec setpriv --reuid 1000 --regid 1000 --clear-groups "$2" -test.v -test.run "TestHostIDsDiffer|TestMustNotWork/^(proc|path|kernel|ipc|platform|side)$"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", ids, binary)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	text := string(out)
	if i := strings.Index(text, "user-namespace"); i >= 0 && !strings.Contains(text, "--- PASS: TestMustNotWork") {
		t.Skip("needs isolation: ", text[i:])
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range []string{"TestMustNotWork", "TestHostIDsDiffer"} {
		if !strings.Contains(text, "--- PASS: "+name) {
			t.Errorf("%s did not run:\n%s", name, text)
		}
	}
}

const unreadableEnv = "TEST_UNREADABLE_PROGRAM"

// The memory of a program that even its user may not look into counts.
func TestUnreadableProgram(t *testing.T) {
	program := os.Getenv(unreadableEnv)
	if program == "" {
		t.Skip("needs preparation: takes root to make the program, and an ordinary user to run it")
	}
	spec := host("/probe", "probe", "memory")
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: program, Target: "/probe"})
	spec.Limits.MemoryBytes = 48 << 20
	if got := finish(t, open(t), spec); got.Cause != executor.CauseOOM {
		t.Errorf("%+v, want the limit of memory", got.Exit)
	}
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}
