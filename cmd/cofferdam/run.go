package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cofferdam/admin"
	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// runName is the application that single runs are recorded under.
const runName = "run"

func runCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Run one program on its own",
		Long: `Run starts one program in an environment of its own and waits for it. It sees
the host's programs and libraries (/usr and what belongs to it, read-only), an
empty /tmp, and what --ro and --rw show; it has no network, nobody to talk to,
and finite limits. No daemon and no manifest are needed.

HOST is a file or directory of the host, relative to the present directory, and
INSIDE where it appears, relative to --workdir; without INSIDE it keeps its last
name. Sizes are written 64K, 64M, 1G, times 500ms, 5s, 1m30s; "unlimited" is a
value of every limit. As root, what --rw shows belongs to the program's own user
of the host as long as it runs, and then to its owner again.

The exit code is the program's own; 128+n if signal n ended it; 124 at the wall
limit; 127 if it was not found, 126 if it cannot be executed, 125 if it could not
be started for another reason, 69 if a protection did not hold when it was tried,
which is done before every run. When a limit ends it, one line on stderr says
which, and what raises it. With --format json one line of JSON on stderr, the
last, says how it ended and what it used, if it was started.

Its standard input is read ahead, as ssh does: give < /dev/null in a loop. Start,
end and limits of every run are recorded: cofferdam -p run audit.`,
		Example: `  cofferdam run -- python3 -c 'print(6*7)'
  cofferdam run --ro script.py -- python3 script.py
  cofferdam run --memory 64M --wall 5s --ro ./data:/data -- wc -l /data/words`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := o.spec(args)
			if err != nil {
				return err
			}
			return o.run(spec)
		},
	}
	o.flags(c)
	return c
}

// run starts the environment, waits for its end, and turns that into an exit
// code. Started as root we stay root, unlike up: the log is one for all runs, each
// of which would become another user, and of what the program does nothing but
// the bytes of its output gets here, which are passed on unread.
func (o *runOptions) run(spec *executor.Spec) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	exec, err := namespace.New(namespace.Options{Executable: []string{self, roleSpawner}, App: runName, Warm: -1})
	if err != nil {
		return err
	}
	defer exec.Close()
	if err := o.checkDegraded(exec.Protections()); err != nil {
		return err
	}
	log, err := openRunLog(spec, executor.Lacking(exec.Protections(), o.allowDegraded))
	if err != nil {
		return err
	}
	proof, err := canaryOptions(self, dirsOf(runName).Runtime, o.allowDegraded)
	if err != nil {
		return err
	}
	report, err := prove(exec, proof)
	if logErr := log.add(canaryRecord(report, err)); logErr != nil {
		return errors.Join(err, logErr)
	}
	if err != nil {
		return notKept(err, exec.Protections(), "--allow-degraded NAME")
	}
	missing := lacking(exec.Protections())
	talk := o.format.name == "table" && !o.quiet && term.IsTerminal(int(os.Stderr.Fd()))
	if talk {
		o.summary(os.Stderr, spec, missing)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader of our output that goes away is an error of a write, and not the
	// end of us.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	owners, err := ownershipOf(spec)
	if err != nil {
		return err
	}
	if err := log.start(spec); err != nil {
		return err
	}
	proc, err := exec.Start(context.Background(), spec)
	if err != nil {
		log.failed(err)
		owners.restore()
		hint(os.Stderr, spec)
		if errors.Is(err, executor.ErrUnsupported) {
			err = fmt.Errorf("%w\nto go without: --allow-degraded NAME", err)
		}
		return &exitError{code: admin.ExitCode(err), err: err}
	}
	got := await(proc, signals, spec.Command)
	exit := proc.Exit()
	ourErr := errors.Join(owners.restore(), log.end(exit))
	if o.format.name == "json" {
		if err := newEncoder(os.Stderr).Encode(runRecord{Instance: spec.Name, Missing: missing, Exit: exit}); err != nil {
			return err
		}
	} else if line := limitLine(exit); line != "" && got == 0 {
		fmt.Fprintf(os.Stderr, "cofferdam: %s\n", line)
	} else if talk && exit.Code != 0 {
		hint(os.Stderr, spec)
	}
	switch {
	case got != 0:
		return &exitError{code: 128 + int(got), err: ourErr}
	case runCode(exit) != 0:
		return &exitError{code: runCode(exit), err: ourErr}
	}
	return ourErr
}

// await waits for the end of proc, or brings it about: when a signal comes, or
// as a broken pipe would when nobody takes its output any more. It returns that
// signal, or 0.
func await(proc executor.Process, signals <-chan os.Signal, c executor.Command) syscall.Signal {
	got, why := syscall.SIGPIPE, "nobody takes its output any more"
	select {
	case <-proc.Done():
		return 0
	case s := <-signals:
		got = s.(syscall.Signal)
		why = fmt.Sprintf("cofferdam run was ended by signal %q", got)
	case <-c.Stdout.(*output).broken:
	case <-c.Stderr.(*output).broken:
	}
	proc.Kill(executor.CausePolicy, why)
	<-proc.Done()
	return got
}

// runRecord is how a run ended, as --format json shows it.
type runRecord struct {
	Instance string   `json:"instance"`
	Missing  []string `json:"not_enforced,omitempty"` // protections that the host lacks
	executor.Exit
}

// runCode is the exit code that stands for how a program ended.
func runCode(e executor.Exit) int {
	switch e.Cause {
	case executor.CauseExit, executor.CauseSignal:
		return e.Code
	case executor.CauseWall:
		return codeWall
	case executor.CauseInternal:
		return codeOurs
	}
	if e.Code == 0 {
		return 128 + int(syscall.SIGKILL)
	}
	return e.Code
}

// limitLine says in one line which limit or rule ended a program and what to
// change; "" if it ended by itself.
func limitLine(e executor.Exit) string {
	name, used := strings.ReplaceAll(strings.TrimPrefix(e.Key, "limits."), "_", " "), ""
	flag := "--" + strings.ReplaceAll(name, " ", "-")
	switch e.Cause {
	case executor.CauseExit, executor.CauseSignal:
		return ""
	case executor.CauseOOM:
		used = " with " + size(e.Usage.MemoryBytes) + " in use"
	case executor.CausePids:
		used = fmt.Sprintf(" with %d processes", e.Usage.Pids)
	case executor.CauseCPU:
		used = fmt.Sprintf(" after %.1fs of processor time", e.Usage.CPU.Seconds())
	case executor.CauseWall:
		used = fmt.Sprintf(" after %.1fs", e.Usage.Wall.Seconds())
	case executor.CauseOutput:
		used = fmt.Sprintf(" after %d bytes", e.Usage.OutputBytes)
	case executor.CauseDisk:
		if strings.HasPrefix(e.Key, "volumes.") {
			name, flag = strings.TrimPrefix(e.Key, "volumes."), "--rw HOST:INSIDE:SIZE"
		}
	}
	if e.Limit == "" || e.Key == "" {
		return strings.TrimSpace(fmt.Sprintf("ended: %s %s", e.Cause, printable(e.Detail)))
	}
	return fmt.Sprintf("%s limit %s reached%s; raise it with %s", name, e.Limit, used, flag)
}

// checkDegraded refuses names that no protection has: whoever misspells one
// would think something of it.
func (o *runOptions) checkDegraded(all []executor.Protection) error {
	for _, name := range o.allowDegraded {
		if !slices.ContainsFunc(all, func(p executor.Protection) bool { return p.NamedIn([]string{name}) }) {
			return fmt.Errorf("--allow-degraded %q: there is no such protection; cofferdam doctor lists them", name)
		}
	}
	return nil
}

// lacking names what this host enforces by a weaker mechanism or not at all.
func lacking(all []executor.Protection) []string {
	var names []string
	for _, p := range all {
		switch p.Status {
		case executor.Pass:
		case executor.Degraded:
			names = append(names, p.Name+" (weaker)")
		default:
			names = append(names, p.Name)
		}
	}
	return names
}
