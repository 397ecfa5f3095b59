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
