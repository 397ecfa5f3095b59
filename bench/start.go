package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// bwrapFlags is the same view of the host's /usr that `runtime: host` gives,
// with every namespace bubblewrap can unshare. Ours has seccomp, Landlock,
// cgroups and a uid range on top.
func bwrapFlags() []string {
	return []string{
		"--unshare-all", "--ro-bind", "/usr", "/usr",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--cap-drop", "ALL",
	}
}

func bwrap(args ...string) ([]byte, error) {
	cmd := exec.Command("bwrap", append(bwrapFlags(), args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.Bytes(), err
}

func newExecutor() (executor.Executor, error) {
	return namespace.New(namespace.Options{Executable: []string{binary, "spawner"}, App: "bench"})
}

func runOurs(x executor.Executor, args ...string) ([]byte, error) {
	var out bytes.Buffer
	p, err := x.Start(context.Background(), &executor.Spec{
		Name:          "bench",
		Mounts:        []executor.Mount{{Kind: executor.MountRuntime}},
		Command:       executor.Command{Args: args, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: &out},
		AllowDegraded: []string{"cgroup"},
	})
	if err != nil {
		return nil, err
	}
	<-p.Done()
	if e := p.Exit(); e.Code != 0 {
		return nil, fmt.Errorf("%v: %s %s", args, e.Cause, e.Detail)
	}
	return out.Bytes(), nil
}

// benchStart measures a complete environment from nothing to its program's
// known exit.
func benchStart() ([]measurement, error) {
	x, err := newExecutor()
	if err != nil {
		return nil, err
	}
	defer x.Close()
	const perRound = 40
	return one(compare("cold start of /bin/true", "ms", "bwrap --unshare-all", "≤ 1.0", 7,
		func() (float64, error) {
			return medianOf(perRound, func() error { _, err := runOurs(x, "/bin/true"); return err })
		},
		func() (float64, error) {
			return medianOf(perRound, func() error { _, err := bwrap("/bin/true"); return err })
		},
		func(r float64) bool { return r <= 1 }))
}

func one(m measurement, err error) ([]measurement, error) {
	if err != nil {
		return nil, err
	}
	return []measurement{m}, nil
}
