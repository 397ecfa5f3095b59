package executortest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
)

// probePath is where the probe lies inside.
const probePath = "/probe"

// Trial is a case while it is tried.
type Trial struct {
	*testing.T
	Executor executor.Executor

	factory Factory
	c       Case
	quiet   **quiet // of the whole run
	tally
}

// Another makes a second executor: another application of the same user.
func (t *Trial) Another() executor.Executor { return t.factory(t.T) }

// Spec is an environment whose program is the probe with args. It has the host's
// programs and nothing else; a host without cgroups or Landlock is good enough.
func (t *Trial) Spec(args ...string) *executor.Spec {
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return &executor.Spec{
		Name: "trial",
		Command: executor.Command{
			Args: append([]string{probePath, role, t.c.Name}, args...),
			Env:  []string{"PATH=/usr/bin:/bin"},
		},
		Mounts: []executor.Mount{
			{Kind: executor.MountRuntime},
			{Kind: executor.MountBind, Source: self, Target: probePath},
		},
		AllowDegraded: []string{"cgroup", "landlock", "disk-quota"},
		Limits:        executor.Limits{Wall: 2 * patience}, // that of no case, on the slowest machine
	}
}

// Attempt says that what was tried outside ended with err, and should have ended with
// one of the errors want.
func (t *Trial) Attempt(what string, err error, want ...syscall.Errno) {
	t.Helper()
	t.count(erring(what, err, want...))
}

// Check says that what was tried gave got, and should have given want.
func (t *Trial) Check(what string, got, want any) {
	t.Helper()
	t.count(saying(what, got, want))
}

func (t *Trial) count(a attempt) {
	t.Helper()
	t.attempts++
	if a.refused() {
		t.refused++
		return
	}
	t.Errorf("%s: %v", t.c.Name, &a)
}

// SingleID tells whether all environments have one id of the host, and their inits and
// programs one inside.
func (t *Trial) SingleID() bool {
	for _, p := range t.Executor.Protections() {
		if p.Name == "uid-range" {
			return p.Status != executor.Pass
		}
	}
	t.Fatal("no protection \"uid-range\"")
	return false
}

// Share adds a directory of the host to spec, read-only or not.
func Share(spec *executor.Spec, source, target string, writable bool) {
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: source, Target: target, Writable: writable})
}

// Result is how a probe ended, and what it printed that was not for the suite.
type Result struct {
	executor.Exit
	Stdout, Stderr string
}

// Run runs a probe to its end, counts its attempts, and asserts that the exit record
// is as the case says: an exit with status 0, or the end that is its denial.
func (t *Trial) Run(spec *executor.Spec) Result {
	t.Helper()
	p := t.Start(spec)
	r := p.Wait()
	if t.c.Ends == "" {
		if r.Cause != executor.CauseExit || r.Code != 0 {
			t.Errorf("%s: the probe ended with %+v\n%s%s", t.c.Name, r.Exit, r.Stdout, r.Stderr)
		}
	} else {
		t.Check("the end of the program", r.Cause, t.c.Ends)
	}
	return r
}

// Started is a running probe.
type Started struct {
	executor.Process
	t        *Trial
	out, err bytes.Buffer
}

// Start starts a probe, which ends with the test at the latest.
func (t *Trial) Start(spec *executor.Spec) *Started { return t.StartIn(t.Executor, spec) }

// StartIn starts a probe in an executor of [Trial.Another].
func (t *Trial) StartIn(x executor.Executor, spec *executor.Spec) *Started {
	t.Helper()
	s := &Started{t: t}
	if spec.Command.Stdout == nil {
		spec.Command.Stdout = &s.out
	}
	if spec.Command.Stderr == nil {
		spec.Command.Stderr = &s.err
	}
	var err error
	if s.Process, err = x.Start(context.Background(), spec); err != nil {
		t.Fatalf("%s: start %q: %v", t.c.Name, spec.Command.Args, err)
	}
	t.Cleanup(func() { s.Kill(executor.CausePolicy, "the trial is over") })
	return s
}

// Wait waits for the end of the probe and counts its attempts.
func (s *Started) Wait() Result {
	s.t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		s.t.Fatalf("%s: the probe does not end", s.t.c.Name)
	}
	return Result{s.Exit(), s.t.read(s.out.String()), s.err.String()}
}

// Also runs the probe with args once more in the environment of s, and counts its
// attempts.
func (s *Started) Also(args ...string) executor.Exit {
	s.t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	exit, err := s.Exec(ctx, &executor.Command{
		Args: append([]string{probePath, role, s.t.c.Name}, args...), Env: []string{"PATH=/usr/bin:/bin"},
		Stdout: &out, Stderr: &errs,
	})
	rest := s.t.read(out.String())
	if err != nil || exit.Code != 0 {
		s.t.Errorf("%s: exec of the probe with %q: %+v, %v\n%s%s", s.t.c.Name, args, exit, err, rest, errs.String())
		select {
		case <-s.Done():
			s.t.Errorf("%s: the probe has ended: %+v", s.t.c.Name, s.Wait())
		default:
		}
	}
	return exit
}

// read counts the attempts in the output of a probe and returns what else is there.
func (t *Trial) read(out string) string {
	t.Helper()
	var rest strings.Builder
	for line := range strings.Lines(out) {
		text, ok := strings.CutPrefix(line, mark)
		if !ok {
			rest.WriteString(line)
			continue
		}
		var a attempt
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("%s: attempt %q: %v", t.c.Name, text, err)
			continue
		}
		t.count(a)
	}
	return rest.String()
}

// Dir makes a directory of the host with files, by name and content.
func (t *Trial) Dir(files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { t.empty(dir) })
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// empty empties a directory, some of whose files an ordinary user may have given
// to ids that only environments have.
func (t *Trial) empty(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	spec := t.Spec()
	Share(spec, dir, "/d", true)
	spec.Command.Args = []string{"find", "/d", "-mindepth", "1", "-delete"}
	t.Start(spec).Wait()
}
