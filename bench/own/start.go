package own

import (
	"bytes"
	"context"
	"fmt"

	"cofferdam/executor"
)

// Spec is an environment with the host's /usr and one program, under the limits that
// everybody has who writes none. degraded are protections that may be missing.
func Spec(degraded []string, args ...string) *executor.Spec {
	return &executor.Spec{
		Name:          "bench",
		Mounts:        []executor.Mount{{Kind: executor.MountRuntime}},
		Command:       executor.Command{Args: args, Env: []string{"PATH=/usr/bin:/bin"}},
		AllowDegraded: degraded,
	}
}

// Start runs the program of a spec in a complete environment of its own, to its known
// exit, and compares what it prints.
func Start(x executor.Executor, spec *executor.Spec, want string) error {
	var out bytes.Buffer
	if want != "" {
		spec.Command.Stdout = &out // without, it is a descriptor of /dev/null, and nothing is copied
	}
	p, err := x.Start(context.Background(), spec)
	if err != nil {
		return err
	}
	<-p.Done()
	args := spec.Command.Args
	if e := p.Exit(); e.Cause != executor.CauseExit || e.Code != 0 {
		return fmt.Errorf("%q: %s %d %s", args, e.Cause, e.Code, e.Detail)
	}
	if out.String() != want {
		return fmt.Errorf("%q printed %q", args, &out)
	}
	return nil
}
