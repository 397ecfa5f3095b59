package canary_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/canary"
	"cofferdam/executor/namespace"
	"cofferdam/executor/namespace/spawner"
)

// The test binary plays every part.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "spawner":
			if err := spawner.Main(3); err != nil {
				fmt.Fprintln(os.Stderr, "spawner:", err)
				os.Exit(1)
			}
			os.Exit(0)
		case "role":
			os.Exit(canary.Main(os.Args[2:]))
		case "mute": // a canary that does not answer
			os.Exit(0)
		case "odd": // one that answers something else
			fmt.Print("EPERM\nEPERM")
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func open(t testing.TB) *namespace.Executor {
	t.Helper()
	e, err := namespace.New(namespace.Options{Volumes: t.TempDir(), App: "canary", Executable: []string{"/proc/self/exe", "spawner"}, Warm: -1})
	if errors.Is(err, executor.ErrUnsupported) {
		t.Skip("needs isolation: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func options(t testing.TB) canary.Options {
	t.Helper()
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return canary.Options{
		Program: self, Args: []string{"role"}, Dir: t.TempDir(), AllowDegraded: []string{"cgroup", "landlock", "disk-quota"},
	}
}

// Everything that the host has holds, is tried, and what it lacks is said to be
// missing; and nothing is left behind.
func TestHolds(t *testing.T) {
	e, o := open(t), options(t)
	o.Deep, o.Volumes = true, true
	r, err := canary.Prove(context.Background(), e, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Proofs {
		t.Logf("%-18s %-50s %-14s outside %s", p.Protection, p.Probe, p.Got, p.Outside)
	}
	t.Log(r.String())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for _, p := range e.Protections() {
		if p.Name == "cgroup.cpu" && slices.Contains(r.Untried, p.Name) {
			continue // the machine is busy
		}
		if p.Status == executor.Pass && !slices.Contains(r.Held, p.Name) {
			t.Errorf("protection %q is not proven", p.Name)
		}
		if p.Status != executor.Pass && !slices.Contains(r.Missing, p.Name) {
			t.Errorf("protection %q is %s, and not said to be missing", p.Name, p.Status)
		}
	}
	if left, _ := os.ReadDir(o.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// showing shows a directory of the host to whatever is started.
type showing struct {
	executor.Executor
	dir string
}

func (s showing) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: s.dir, Target: s.dir})
	return s.Executor.Start(ctx, spec)
}

// A host directory that got in is found.
func TestShownDirectory(t *testing.T) {
	e, o := open(t), options(t)
	var err error
	if o.Dir, err = filepath.EvalSymlinks(o.Dir); err != nil {
		t.Fatal(err)
	}
	r, err := canary.Prove(context.Background(), showing{e, o.Dir}, o)
	if err != nil {
		t.Fatal(err)
	}
	broken := r.Err()
	if !errors.Is(broken, canary.ErrNotKept) || !strings.Contains(broken.Error(), "mount-namespace") {
		t.Errorf("with the bait in sight: %v", broken)
	}
	for _, p := range r.Broken() {
		if p.Protection != "mount-namespace" {
			t.Errorf("%q is said not to hold: %+v", p.Protection, p)
		}
	}
}

// other starts another program than the canary.
type other struct {
	executor.Executor
	args []string
}

func (o other) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	spec.Command.Args = append(spec.Command.Args[:1:1], o.args...)
	return o.Executor.Start(ctx, spec)
}

// No answer, or half of one, is an error.
func TestNoAnswer(t *testing.T) {
	e, o := open(t), options(t)
	for _, role := range []string{"mute", "odd"} {
		if r, err := canary.Prove(context.Background(), other{e, []string{role}}, o); err == nil {
			t.Errorf("a canary that is %s: %v", role, r)
		}
	}
	o.Program = "/does/not/exist"
	if r, err := canary.Prove(context.Background(), e, o); err == nil {
		t.Errorf("no canary: %v", r)
	}
	o = options(t)
	o.Dir = "/does/not/exist"
	if r, err := canary.Prove(context.Background(), e, o); err == nil {
		t.Errorf("no bait: %v", r)
	}
}

// What a predecessor left goes once nobody can need it.
func TestSweep(t *testing.T) {
	e, o := open(t), options(t)
	old, fresh := filepath.Join(o.Dir, "canary-1"), filepath.Join(o.Dir, "canary-2")
	for _, dir := range []string{old, fresh} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	if _, err := canary.Prove(context.Background(), e, o); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(o.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "canary-2" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The same as an ordinary user, when it was started by root.
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
	path := filepath.Join(dir, "canary.test")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if i := strings.Index(string(out), "user-namespace"); i >= 0 && strings.Contains(string(out), "--- SKIP: TestHolds") {
		t.Skip("needs isolation: ", string(out[i:]))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestHolds") {
		t.Errorf("%v\n%s", err, out)
	}
}

// BenchmarkProve is what every start of an application pays.
func BenchmarkProve(b *testing.B) {
	e, o := open(b), options(b)
	for b.Loop() {
		r, err := canary.Prove(context.Background(), e, o)
		if err := errors.Join(err, r.Err()); err != nil {
			b.Fatal(err)
		}
	}
}
