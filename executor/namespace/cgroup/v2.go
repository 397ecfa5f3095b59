package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// v2 is a directory in the unified hierarchy. Processes and children exclude each
// other there (cgroups(7), "no internal processes"). So it lies in our own cgroup
// if that is for us alone, as in a scope of systemd-run with Delegate=yes or in a
// container; its processes move to a leaf first. Otherwise it lies where an
// ancestor of ours hands controllers down already, as systemd's slices do.
type v2 struct {
	dir     string
	missing []string
}

func openV2(paths map[string]string, root, name string, mine []int) (Parent, error) {
	own, ok := paths[""]
	if !ok {
		return nil, nil
	}
	if filepath.Base(own) == Leaf {
		own = filepath.Dir(own) // moved out of there before
	}
	var errs error
	if have := strings.Fields(read(full(own), "cgroup.controllers")); slices.Contains(have, "memory") && slices.Contains(have, "pids") {
		p, err := openOwn(own, name, have, mine, own == filepath.Clean(root))
		if err == nil {
			return p, nil
		}
		errs = err
	}
	for dir := own; within(dir, root); dir = filepath.Dir(dir) {
		have := strings.Fields(read(full(dir), "cgroup.subtree_control"))
		if !slices.Contains(have, "memory") || !slices.Contains(have, "pids") {
			continue
		}
		p, err := makeV2(dir, name, have)
		if err == nil {
			return p, nil
		}
		errs = errors.Join(errs, err)
	}
	return nil, errs // nil on a hybrid host, where version 1 decides
}

// openOwn makes the parent in our own cgroup. root tells that it is the root of
// what we see: in a container everything there is part of it, on the host it is
// the one cgroup that may hold processes and children, and nothing moves.
func openOwn(own, name string, have []string, mine []int, root bool) (*v2, error) {
	_, err := os.Stat(filepath.Join(own, "cgroup.type"))
	if host := root && errors.Is(err, fs.ErrNotExist); !host {
		if err := moveOut(own, mine, root); err != nil {
			return nil, err
		}
	}
	if err := write(full(own), "cgroup.subtree_control", enabling(have)); err != nil {
		return nil, err
	}
	return makeV2(own, name, have)
}

// enabling is what hands down those of controllers that are in have.
func enabling(have []string) string {
	var enable []string
	for _, c := range controllers {
		if slices.Contains(have, c) {
			enable = append(enable, "+"+c)
		}
	}
	return strings.Join(enable, " ")
}

var controllers = [...]string{"memory", "pids", "cpu"}

func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}

// makeV2 makes the parent below dir, which has the controllers have to hand down.
func makeV2(dir, name string, have []string) (*v2, error) {
	sweep(dir, name, alive)
	p := &v2{dir: filepath.Join(dir, name)}
	if err := unix.Mkdir(p.dir, 0o755); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("make cgroup %s: %w", p.dir, err)
	}
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			p.missing = append(p.missing, c)
		}
	}
	if err := write(full(p.dir), "cgroup.subtree_control", enabling(have)); err != nil {
		unix.Rmdir(p.dir)
		return nil, err
	}
	return p, nil
}

// Leaf is the name of the leaf for our own processes.
const Leaf = Prefix + "self"

// moveOut moves the processes of our own cgroup to a leaf of it, if all are mine
// or all says that it does not matter whose they are.
func moveOut(own string, mine []int, all bool) error {
	procs := strings.Fields(read(full(own), "cgroup.procs"))
	for _, p := range procs {
		if pid, err := strconv.Atoi(p); err != nil || !all && !slices.Contains(mine, pid) {
			return fmt.Errorf("cgroup %s also holds process %s, which is not ours to move", own, p)
		}
	}
	leaf := filepath.Join(own, Leaf)
	if err := unix.Mkdir(leaf, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make cgroup %s: %w", leaf, err)
	}
	for _, p := range procs {
		if err := write(full(leaf), "cgroup.procs", p); err != nil {
			return err
		}
	}
	return nil
}

func (p *v2) Missing() []string { return p.missing }
func (p *v2) Describe() string  { return "cgroup v2" }

// Remove leaves a leaf with our own processes, which goes with its scope.
func (p *v2) Remove() error { return removeDir(p.dir) }

func (p *v2) Make(name string) (Group, error) {
	dir := filepath.Join(p.dir, name)
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", dir, err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Rmdir(dir)
		return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
	}
	return &v2Group{dir: dir, fd: fd, parent: p}, nil
}

type v2Group struct {
	parent *v2
	dir    string
	fd     int
}

func (g *v2Group) FD() int { return g.fd }

func (g *v2Group) Attach(pid int) error {
	return write(full(g.dir), "cgroup.procs", strconv.Itoa(pid))
}

func (g *v2Group) Limit(l Limits) error { return g.parent.limit(g.dir, l, "1") }

// Limit bounds all groups together. Whoever has to go at that limit is one of them,
// and not all.
func (p *v2) Limit(l Limits) error {
	l.CPUs = 0
	return p.limit(p.dir, l, "0")
}

// limit sets the limits of the group dir; together tells whether what goes at the
// limit of memory is all of it.
func (p *v2) limit(dir string, l Limits, together string) error {
	has := func(c string) bool { return !slices.Contains(p.missing, c) }
	if l.MemoryBytes > 0 && has("memory") {
		for file, value := range map[string]string{
			"memory.max":       strconv.FormatInt(l.MemoryBytes, 10),
			"memory.oom.group": together,
		} {
			if err := write(full(dir), file, value); err != nil {
				return err
			}
		}
		if read(full(dir), "memory.swap.max") != "" {
			if err := write(full(dir), "memory.swap.max", "0"); err != nil {
				return err
			}
		}
	}
	if l.Pids > 0 && has("pids") {
		if err := write(full(dir), "pids.max", strconv.Itoa(l.Pids)); err != nil {
			return err
		}
	}
	if l.CPUs > 0 && has("cpu") {
		micros, period := quota(l.CPUs)
		return write(full(dir), "cpu.max", fmt.Sprintf("%d %d", micros, period))
	}
	return nil
}

func (g *v2Group) Stat() Stat {
	peak := readInt(full(g.dir), "memory.peak") // Linux 5.19
	return Stat{
		CPU:         cpuTime(1000 * readField(full(g.dir), "cpu.stat", "usage_usec")),
		MemoryPeak:  peak,
		PidsPeak:    int(readInt(full(g.dir), "pids.peak")), // Linux 6.10
		OOMKills:    readField(full(g.dir), "memory.events", "oom_kill"),
		PidsRefused: readField(full(g.dir), "pids.events", "max"),
	}
}

// Renew reports false: version 2 has peaks and sums that cannot be set back, and a group of
// it is made in a tenth of the time.
func (g *v2Group) Renew(int) bool { return false }

func (g *v2Group) Remove() error {
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
	return removeDir(g.dir)
}
