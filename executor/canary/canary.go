// Package canary says whether what keeps programs apart holds, here and now.
//
// Before an application starts its first program, [Prove] has the same executor
// make one more environment, with the same program as the gateway in it: this
// very binary, in the role of [Main]. There it tries what must not work, a list
// of probes: a listener of the host, a file of the host, a system call. Only the
// one right answer counts, by its errno; anything else, or no answer, means that
// the protection does not hold, and nothing starts.
//
// That something was refused proves nothing if it could not have worked. So the
// trusted process tries the same outside first (the listener answers it, the
// file can be read, the call is not refused), and where a probe gives the same
// answer on both sides it counts for nothing.
//
// Processes and what passes between them:
//
//	trusted process ── bait: addresses, paths ──► canary, in its environment
//	                ◄── one message: an answer for each probe, with the
//	                    sender's ids, which the kernel writes
//
// Trusted: yes. If it says yes too easily, everything runs unprotected and says
// that it is not.
package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cofferdam/executor"
)

// Options say how to prove.
type Options struct {
	// Program is this very executable, on the host, and Args what makes it run
	// [Main]. Runtime says that it is linked dynamically and needs the host's
	// libraries.
	Program string
	Args    []string
	Runtime bool

	// Dir is a directory that is ours alone, for what the canary must not reach.
	Dir string

	// AllowDegraded is that of the environments to come.
	AllowDegraded []string

	// Deep tries limits too that take their time to fire.
	Deep bool

	// Volumes says that the executor has a place for volumes: then it is tried too
	// how much one holds. Those that begin with "canary-" are left for the caller.
	Volumes bool
}

// timeout bounds one environment of a canary.
const timeout = 20 * time.Second

// baitEnv tells the canary where to try.
const baitEnv = "COFFERDAM_CANARY"

// maxPids is small, so that there is little to fill up: the Go runtime has some
// five threads of its own.
const maxPids = 20

// Prove makes an environment and reports, probe by probe, what it keeps in. The
// error is that this could not be found out: an executor that lacks something
// gives its own, which wraps [executor.ErrUnsupported]. Whether what was found is
// good enough is for [Report.Err] to say.
func Prove(ctx context.Context, e executor.Executor, o Options) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := lay(o.Dir)
	if err != nil {
		return Report{}, fmt.Errorf("canary: %w", err)
	}
	defer b.remove()
	outside, err := b.controls()
	if err != nil {
		return Report{}, fmt.Errorf("canary: %w", err)
	}
	answers, from, err := send(ctx, e, &o, b)
	if err != nil {
		return Report{}, fmt.Errorf("canary: %w", err)
	}
	r := judge(e.Protections(), outside, answers, from)
	if o.Deep {
		r.Proofs = append(r.Proofs, limits(ctx, e, &o)...)
	}
	r.settle(e.Protections())
	return r, nil
}

// send starts the canary and returns its answers and who it was to the kernel.
func send(ctx context.Context, e executor.Executor, o *Options, b *bait) (answers []string, from ids, err error) {
	told, err := json.Marshal(b.told)
	if err != nil {
		return nil, ids{}, err
	}
	spec := o.spec()
	spec.Command.Env = append(spec.Command.Env, baitEnv+"="+string(told))
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountSocket, Source: b.shownAt(), Target: shownPath})
	line, err := newLine()
	if err != nil {
		return nil, ids{}, err
	}
	defer line.close()
	spec.Command.Stdout = line.theirs
	var stderr tail
	spec.Command.Stderr = &stderr
	p, err := e.Start(ctx, spec)
	if err != nil {
		return nil, ids{}, err
	}
	line.theirs.Close()
	text, from, readErr := line.read(time.Now().Add(timeout))
	if readErr == nil {
		from.peer, readErr = b.peer(p)
	}
	if readErr == nil {
		from.stranger, readErr = b.stranger(p)
	}
	b.shown.Close() // and with it the canary's last connection, if there is one
	if readErr != nil {
		p.Kill(executor.CauseInternal, "the canary does not answer")
	}
	<-p.Done()
	exit := p.Exit()
	switch {
	case readErr != nil:
		return nil, ids{}, fmt.Errorf("no answer (%v); it ended with %s, code %d %s", readErr, exit.Cause, exit.Code, stderr.text())
	case exit.Cause != executor.CauseExit || exit.Code != 0:
		return nil, ids{}, fmt.Errorf("it ended with %s, code %d %s", exit.Cause, exit.Code, stderr.text())
	}
	answers = strings.Split(text, "\n")
	if len(answers) != len(probes) {
		return nil, ids{}, fmt.Errorf("%d answers to %d probes", len(answers), len(probes))
	}
	return answers, from, nil
}

// spec is an environment for this binary, as small as one can be.
func (o *Options) spec(args ...string) *executor.Spec {
	inside := path.Join("/app", filepath.Base(o.Program))
	spec := &executor.Spec{
		Name: "canary",
		Command: executor.Command{
			Args: slices.Concat([]string{inside}, o.Args, args),
			// One thread that works and no collector: it lives a few milliseconds.
			Env: []string{"GOMAXPROCS=1", "GOGC=off", "GOTRACEBACK=single"},
		},
		AllowDegraded: o.AllowDegraded,
		Limits: executor.Limits{
			MemoryBytes: 64 << 20, Pids: maxPids, Wall: timeout, OutputBytes: 4 << 10, TmpBytes: 1 << 20, OpenFiles: 64,
		},
	}
	if o.Runtime {
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountRuntime})
	}
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: o.Program, Target: inside})
	return spec
}

// tail keeps the beginning of what a canary in trouble says.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	if room := 256 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	if len(t.b) == 0 {
		return ""
	}
	return fmt.Sprintf("(%q)", t.b)
}
