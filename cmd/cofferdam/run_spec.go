package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// defaultRunWall is how long a run may take if nothing else is said.
const defaultRunWall = time.Minute

// runOptions is what the flags of run say.
type runOptions struct {
	memory, output, fileSize, tmp sizeFlag
	cpu, wall                     timeFlag
	cpus                          shareFlag
	pids, files                   countFlag
	inotify                       int

	readOnly, writable []string
	env                []string
	workdir            string
	allowDegraded      []string
	noRuntime, quiet   bool
	format             format
}

func (o *runOptions) flags(c *cobra.Command) {
	l := executor.DefaultLimits()
	o.memory, o.output = sizeFlag(l.MemoryBytes), sizeFlag(l.OutputBytes)
	o.fileSize, o.tmp = sizeFlag(l.FileBytes), sizeFlag(l.TmpBytes)
	o.cpu, o.wall = timeFlag(l.CPU), timeFlag(defaultRunWall)
	o.cpus, o.pids, o.files = shareFlag(l.CPUs), countFlag(l.Pids), countFlag(l.OpenFiles)

	f := c.Flags()
	f.SetInterspersed(false)
	f.Var(&o.memory, "memory", "of the whole process tree")
	f.Var(&o.pids, "pids", "processes and threads")
	f.Var(&o.cpus, "cpus", "share of the processors: 0.5 is half a core")
	f.Var(&o.cpu, "cpu", "processor time, summed over the tree")
	f.Var(&o.wall, "wall", "time since the start")
	f.Var(&o.output, "output", "bytes on stdout and stderr together")
	f.Var(&o.files, "files", "open files of one process")
	f.Var(&o.fileSize, "file-size", "of any file that it writes")
	f.Var(&o.tmp, "tmp", "of /tmp and of /dev/shm, each")
	f.IntVar(&o.inotify, "inotify", 0, "instances of inotify, to be told of changed files")
	f.StringArrayVar(&o.readOnly, "ro", nil, "HOST[:INSIDE], show a file or directory read-only")
	f.StringArrayVar(&o.writable, "rw", nil, "HOST:INSIDE[:SIZE], show a directory that it may write to, up to SIZE (default 64M)")
	f.StringArrayVarP(&o.env, "env", "e", nil, "K=V, a variable of its environment")
	f.StringVarP(&o.workdir, "workdir", "w", "/tmp", "the directory inside that it starts in")
	f.StringArrayVar(&o.allowDegraded, "allow-degraded", nil, "NAME of a protection that may be missing on this host, as doctor has it; cgroup is all of cgroup.*")
	f.BoolVar(&o.noRuntime, "no-runtime", false, "do not show the host's programs and libraries")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not say at the start what the program can reach")
	o.format.flagOf(c, "how the end is told on stderr: ", "table", "json")
}

// runEnv is all that a program gets beside --env.
var runEnv = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"}

var envNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// spec is everything that the program may touch.
func (o *runOptions) spec(args []string) (*executor.Spec, error) {
	if !path.IsAbs(o.workdir) {
		return nil, fmt.Errorf("--workdir %q: not an absolute path", o.workdir)
	}
	env := slices.Clone(runEnv)
	for _, kv := range o.env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || !envNames.MatchString(name) {
			return nil, fmt.Errorf("--env %q: not of the form NAME=VALUE", kv)
		}
		env = append(slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") }), kv)
	}
	stdout, stderr := outputs()
	spec := &executor.Spec{
		Name: "run-" + strings.ToLower(rand.Text()[:10]),
		Command: executor.Command{
			Args: args,
			Env:  env,
			Dir:  path.Clean(o.workdir),
			// Copied, never handed over: a terminal or a file opened for
			// writing would be a way past the limits, and out.
			Stdin:  input{os.Stdin},
			Stdout: stdout,
			Stderr: stderr,
		},
		Limits: executor.Limits{
			MemoryBytes: int64(o.memory),
			Pids:        int(o.pids),
			CPUs:        float64(o.cpus),
			CPU:         time.Duration(o.cpu),
			Wall:        time.Duration(o.wall),
			OutputBytes: int64(o.output),
			OpenFiles:   int(o.files),
			FileBytes:   int64(o.fileSize),
			TmpBytes:    int64(o.tmp),
			Inotify:     o.inotify,
		},
		AllowDegraded: o.allowDegraded,
	}
	if !o.noRuntime {
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountRuntime})
	}
	for _, text := range o.readOnly {
		m, err := o.mount(text, false)
		if err != nil {
			return nil, fmt.Errorf("--ro %q: %w", text, err)
		}
		spec.Mounts = append(spec.Mounts, m)
	}
	for _, text := range o.writable {
		m, err := o.mount(text, true)
		if err != nil {
			return nil, fmt.Errorf("--rw %q: %w", text, err)
		}
		spec.Mounts = append(spec.Mounts, m)
	}
	// The executor wants outer ones before inner ones.
	slices.SortStableFunc(spec.Mounts, func(a, b executor.Mount) int { return strings.Compare(a.Target, b.Target) })
	return spec, nil
}

// mount reads HOST[:INSIDE[:SIZE]].
func (o *runOptions) mount(text string, writable bool) (executor.Mount, error) {
	m := executor.Mount{Kind: executor.MountBind, Writable: writable}
	host, inside, given := strings.Cut(text, ":")
	if writable {
		var size string
		inside, size, _ = strings.Cut(inside, ":")
		if size != "" {
			n, err := manifest.ParseSize(size)
			if err != nil {
				return m, err
			}
			m.SizeBytes = n
		}
	}
	abs, err := filepath.Abs(host)
	if err != nil {
		return m, err
	}
	if m.Source, err = manifest.HostPath(abs); err != nil {
		return m, err
	}
	if !given {
		inside = filepath.Base(abs)
	}
	if strings.HasSuffix(inside, "/") && inside != "/" {
		inside += filepath.Base(abs)
	}
	if !path.IsAbs(inside) {
		inside = path.Join(o.workdir, inside)
	}
	m.Target = path.Clean(inside)
	if strings.Contains(inside, ":") || m.Target == "/" || m.Target == "/tmp" {
		return m, fmt.Errorf("cannot appear at %q", inside)
	}
	return m, nil
}

// input hides that a stream is a file.
type input struct{ io.Reader }

// output is a stream of ours; broken is closed when it takes nothing any more.
type output struct {
	to     io.Writer
	once   sync.Once
	broken chan struct{}
}

// Write implements [io.Writer].
func (w *output) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		w.once.Do(func() { close(w.broken) })
	}
	return n, err
}

// outputs are our stdout and stderr: one and the same if they lead to the same
// place, so that what is written to both keeps its order.
func outputs() (stdout, stderr *output) {
	stdout = &output{to: os.Stdout, broken: make(chan struct{})}
	a, aErr := os.Stdout.Stat()
	b, bErr := os.Stderr.Stat()
	if aErr == nil && bErr == nil && os.SameFile(a, b) {
		return stdout, stdout
	}
	return stdout, &output{to: os.Stderr, broken: make(chan struct{})}
}

// The limits as flags, written as in the manifest.
type (
	sizeFlag  int64
	timeFlag  time.Duration
	shareFlag float64
	countFlag int
)

func (f *sizeFlag) String() string  { return manifest.FormatSize(int64(*f)) }
func (f *timeFlag) String() string  { return manifest.FormatDuration(time.Duration(*f)) }
func (f *shareFlag) String() string { return manifest.FormatShare(float64(*f)) }
func (f *countFlag) String() string { return countText(int(*f)) }

func (*sizeFlag) Type() string  { return "SIZE" }
func (*timeFlag) Type() string  { return "TIME" }
func (*shareFlag) Type() string { return "CORES" }
func (*countFlag) Type() string { return "N" }

func (f *sizeFlag) Set(s string) error  { return setFlag(f, s, manifest.ParseSize) }
func (f *timeFlag) Set(s string) error  { return setFlag(f, s, manifest.ParseDuration) }
func (f *shareFlag) Set(s string) error { return setFlag(f, s, manifest.ParseShare) }
func (f *countFlag) Set(s string) error { return setFlag(f, s, parseCount) }

// setFlag refuses zero: to the executor it means the default.
func setFlag[F, V int | int64 | float64 | time.Duration | sizeFlag | timeFlag | shareFlag | countFlag](f *F, s string, parse func(string) (V, error)) error {
	v, err := parse(s)
	if err != nil {
		return err
	}
	if v == 0 {
		return fmt.Errorf("0 leaves the program nothing")
	}
	*f = F(v)
	return nil
}

func parseCount(s string) (int, error) {
	if s == "unlimited" {
		return executor.Unlimited, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1<<20 {
		return 0, fmt.Errorf("%.32q is not a number from 1 to %d, or unlimited", s, 1<<20)
	}
	return n, nil
}
