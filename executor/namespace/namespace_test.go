package namespace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"
	"cofferdam/executor/namespace/spawner"
)

// The test binary plays every part: the spawner, the test as an ordinary user,
// and the test itself.
func TestMain(m *testing.M) {
	executortest.Main()
	if len(os.Args) > 1 && os.Args[1] == "spawner" {
		if err := spawner.Main(3); err != nil {
			fmt.Fprintln(os.Stderr, "spawner:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "probe" {
		os.Exit(probe(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// open makes an executor that lasts for the test.
func open(t testing.TB, change ...func(*namespace.Options)) *namespace.Executor {
	t.Helper()
	opts := namespace.Options{App: "test", Executable: []string{"/proc/self/exe", "spawner"}}
	for _, c := range change {
		c(&opts)
	}
	e, err := namespace.New(opts)
	if errors.Is(err, executor.ErrUnsupported) {
		t.Skip("needs isolation: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// degraded are the protections that this host may lack and the tests still run
// without; each has tests of its own.
var degraded = []string{"cgroup", "landlock", "disk-quota"}

// host is a spec that runs args with the host's programs.
func host(args ...string) *executor.Spec {
	return &executor.Spec{
		Name:          "t",
		Command:       executor.Command{Args: args, Env: []string{"PATH=/usr/bin:/bin"}},
		Mounts:        []executor.Mount{{Kind: executor.MountRuntime}},
		AllowDegraded: degraded,
		Limits:        executor.Limits{Wall: time.Minute},
	}
}

type result struct {
	executor.Exit
	stdout, stderr string
}

// finish runs spec to its end.
func finish(t testing.TB, e *namespace.Executor, spec *executor.Spec) result {
	t.Helper()
	got, _ := finishAs(t, e, spec)
	return got
}

// finishAs says which init it had, too.
func finishAs(t testing.TB, e *namespace.Executor, spec *executor.Spec) (result, int) {
	t.Helper()
	var out, errs bytes.Buffer
	if spec.Command.Stdout == nil {
		spec.Command.Stdout = &out
	}
	if spec.Command.Stderr == nil {
		spec.Command.Stderr = &errs
	}
	p, err := e.Start(context.Background(), spec)
	if err != nil {
		t.Fatalf("Start(%q): %v", spec.Command.Args, err)
	}
	select {
	case <-p.Done():
	case <-time.After(10 * time.Minute): // on an emulated processor that is busy
		t.Fatalf("%q does not end", spec.Command.Args)
	}
	return result{p.Exit(), out.String(), errs.String()}, p.Pid()
}

// sh runs a shell script with the host's programs.
func sh(t testing.TB, e *namespace.Executor, script string) result {
	t.Helper()
	return finish(t, e, host("sh", "-c", script))
}

func TestExit(t *testing.T) {
	e := open(t)
	for _, tt := range []struct {
		script string
		want   executor.Exit
	}{
		{"exit 0", executor.Exit{Cause: executor.CauseExit}},
		{"exit 3", executor.Exit{Cause: executor.CauseExit, Code: 3}},
		{"kill -TERM $$", executor.Exit{Cause: executor.CauseSignal, Code: 143, Signal: 15}},
		{"kill -KILL $$", executor.Exit{Cause: executor.CauseSignal, Code: 137, Signal: 9}},
	} {
		got := sh(t, e, tt.script)
		if got.Cause != tt.want.Cause || got.Code != tt.want.Code || got.Signal != tt.want.Signal {
			t.Errorf("%s: %+v, want %+v", tt.script, got.Exit, tt.want)
		}
	}
}

func TestNotFound(t *testing.T) {
	e := open(t)
	for path, want := range map[string]error{
		"/does/not/exist": syscall.ENOENT, "nosuchprogram": syscall.ENOENT, "/etc/passwd": syscall.EACCES,
	} {
		_, err := e.Start(context.Background(), host(path))
		var start *executor.StartError
		if !errors.As(err, &start) || !errors.Is(err, want) || start.Path != path {
			t.Errorf("Start(%q): %v, want a StartError with %v", path, err, want)
		}
	}
}

func TestPython(t *testing.T) {
	if _, err := exec.LookPath("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: no /usr/bin/python3 on this host")
	}
	e := open(t)
	got := finish(t, e, host("/usr/bin/python3", "-I", "-c", "import json, hashlib, sqlite3, threading, subprocess; print(6*7)"))
	if got.Code != 0 || got.stdout != "42\n" {
		t.Errorf("python3: %+v", got)
	}
}

func TestStreams(t *testing.T) {
	e := open(t)
	spec := host("sh", "-c", "cat; echo err >&2")
	spec.Command.Stdin = strings.NewReader("hello\n")
	got := finish(t, e, spec)
	if got.stdout != "hello\n" || got.stderr != "err\n" || got.Usage.OutputBytes != 10 {
		t.Errorf("got %+v", got)
	}
}
