package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
)

// What a manifest may let go is what executors list, and the groups.
func TestShields(t *testing.T) {
	want := slices.Clone(executor.ProtectionNames)
	for _, name := range executor.ProtectionNames {
		if group, _, ok := strings.Cut(name, "."); ok && !slices.Contains(want, group) {
			want = append(want, group)
		}
	}
	got := slices.Clone(manifest.Shields)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("manifest.Shields are %q, and executor.ProtectionNames with groups %q", got, want)
	}
	out, _, _ := newOrdinary(t, "").run("doctor", "--format", "json")
	var found []protection
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	for _, p := range found {
		if !slices.Contains(executor.ProtectionNames, p.Name) {
			t.Errorf("doctor lists %q, which executor.ProtectionNames lacks", p.Name)
		}
	}
}

// ordinary runs our commands as an ordinary user who has no cgroups, in a
// directory of that user's.
type ordinary struct {
	t   *testing.T
	dir string
}

func newOrdinary(t *testing.T, manifest string) *ordinary {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cofferdam-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := exec.LookPath("cofferdam")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cofferdam": binary, "caller": binary, "answerer": binary, "cofferdam.yaml": []byte(manifest)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	return &ordinary{t: t, dir: dir}
}

// command is a command line.
func (o *ordinary) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(o.dir, "cofferdam"), args...)
	cmd.Dir = o.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir, stateEnv + "=" + o.dir + "/state", runtimeEnv + "=" + o.dir + "/run"}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	}
	cmd.WaitDelay = time.Minute
	return cmd
}

// run runs a command line to its end.
func (o *ordinary) run(args ...string) (stdout, stderr string, code int) {
	o.t.Helper()
	var out, errs bytes.Buffer
	cmd := o.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		o.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// lacks skips if this user has everything that name is about.
func (o *ordinary) lacks(name string) {
	o.t.Helper()
	out, _, code := o.run("doctor", "--format", "json")
	var found []protection
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		o.t.Fatalf("%v in %q", err, out)
	}
	if code == codeUnprotected {
		o.t.Skip("needs isolation: ", out)
	}
	for _, p := range found {
		if p.Name == name && p.Status != executor.Pass {
			return
		}
	}
	o.t.Skipf("needs no-%s: this user has it", name)
}

// What the host lacks and the manifest lets go shows in everything that is said of
// the application.
func TestDegradedShows(t *testing.T) {
	o := newOrdinary(t, `version: 1
name: weak
allow_degraded: [cgroup, seccomp]
services:
  front:
    runtime: host
    files: [{from: caller, to: /app/caller}]
    command: [/app/caller, back.price, back.secret]
    restart: no
  back:
    runtime: host
    files: [{from: answerer, to: /app/answerer}]
    command: [/app/answerer, price, secret]
    provides: [{call: price, from: [front]}, {call: secret, from: []}]
`)
	o.lacks("cgroup.memory")
	const weak = "cgroup.memory cgroup.pids cgroup.cpu"
	out, said, code := o.run("up", "-d")
	if code != 0 || !strings.Contains(said, "degraded  "+weak+"\n") {
		t.Fatalf("up: exit code %d, %s%s", code, out, said)
	}
	defer o.run("down")
	if out, _, _ = o.run("ps"); strings.Count(out, "degraded: cgroup.memory,cgroup.pids,cgroup.cpu") != 2 {
		t.Errorf("ps:\n%s", out)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		// The refusal comes when the front gets to it.
		if out, _, _ = o.run("why"); strings.Contains(out, "verdict   deny\n") && strings.Contains(out, "degraded  "+weak+"\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("why:\n%s", out)
		}
	}
	if out, _, _ = o.run("check"); !strings.Contains(out, "may be missing on the host: cgroup, seccomp") {
		t.Errorf("check:\n%s", out)
	}
	o.run("down")
	seen := map[audit.Kind]int{}
	err := audit.Scan(filepath.Join(o.dir, "state/weak"), func(r audit.Record) error {
		seen[r.Kind]++
		if r.Degraded != weak {
			t.Errorf("record %d, %s %s %s, has degraded %q, want %q", r.Seq, r.Kind, r.Op, r.Object, r.Degraded, weak)
		}
		return nil
	})
	if err != nil || seen[audit.KindDecision] == 0 || seen[audit.KindStart] != 2 {
		t.Errorf("%v; records of kinds %v", err, seen)
	}
}

// To let go what the host has changes nothing: it holds, and nobody says otherwise.
func TestAllowedAndThere(t *testing.T) {
	o := newOrdinary(t, "")
	o.lacks("cgroup.memory")
	out, said, code := o.run("run", "--allow-degraded", "cgroup", "--allow-degraded", "seccomp", "--allow-degraded", "network-namespace",
		"--allow-degraded", "capabilities", "--", "cat", "/proc/self/status")
	for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, %s; /proc/self/status lacks %q:\n%s", code, said, want, out)
		}
	}
	if _, said, code = o.run("run", "--", "true"); code != codeOurs || !strings.Contains(said, "cgroup.memory") || !strings.Contains(said, "--allow-degraded NAME") {
		t.Errorf("without leave: exit code %d, %s", code, said)
	}
	if _, said, code = o.run("run", "--allow-degraded", "gravity", "--", "true"); code != codeOurs || !strings.Contains(said, "no such protection") {
		t.Errorf("a protection that there is not: exit code %d, %s", code, said)
	}
}
