package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/executor"
)

// Where not even a user namespace can be had the table is as long as ever, and says
// why.
func TestDoctorWithoutUserNamespaces(t *testing.T) {
	o := newOrdinary(t, "")
	inside := `echo 0 >/proc/sys/user/max_user_namespaces &&
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- "$@"`
	if out, err := exec.Command("unshare", "-Ur", "sh", "-c", inside, "sh", "true").CombinedOutput(); err != nil {
		t.Skipf("needs isolation: %v: %s", err, out)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.Command("unshare", append([]string{"-Ur", "sh", "-c", inside, "sh", filepath.Join(o.dir, "cofferdam")}, args...)...)
		cmd.Env = o.command().Env
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, args := range [][]string{{"doctor", "--format", "json"}, {"doctor", "--prove", "--format", "json"}} {
		out, code := run(args...)
		var found []protection
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatalf("%q: %v in %q", args, err, out)
		}
		if code != codeUnprotected || len(found) != len(executor.ProtectionNames) {
			t.Errorf("%q: exit code %d and %d rows, want %d and %d", args, code, len(found), codeUnprotected, len(executor.ProtectionNames))
		}
		for _, p := range found {
			switch {
			case p.Name == "user-namespace" && (p.Status != executor.Fail || !strings.Contains(p.Detail, "user.max_user_namespaces is 0") || p.Fix == ""),
				p.Name == "seccomp" && p.Status != executor.Pass,
				p.Name == "pid-namespace" && p.Status != executor.Fail,
				p.Proof == proven:
				t.Errorf("%q: %+v", args, p)
			}
		}
	}
	out, _ := run("doctor")
	t.Log(out)
	if !strings.Contains(out, "\nto mend user-namespace:\n  sysctl -w user.max_user_namespaces=15000\n") {
		t.Errorf("doctor:\n%s", out)
	}
}

// Every row is read at 80 columns.
func TestDoctorFits(t *testing.T) {
	long := protection{
		Name: "cgroup.memory", Status: executor.Degraded, Proof: notProven, Fix: "do " + strings.Repeat("this ", 40),
		Detail: "cgroup v1, where /sys/fs/cgroup/memory/process_api/0123456789012345678901234567890123456789012345678901234567890123456789 belongs to root; instead a watcher",
	}
	var b strings.Builder
	printProtections(&b, []protection{long, {Name: "seccomp", Status: executor.Pass, Proof: proven, Detail: "short"}}, true)
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "  do ") && len(line) > tableWidth+1 && !strings.Contains(line, "0123456789") {
			t.Errorf("%d columns: %q", len(line)-1, line)
		}
	}
	if strings.Count(b.String(), "\n") < 8 || !strings.Contains(b.String(), "process_api\n") {
		t.Errorf("the table is\n%s", b.String())
	}
}
