package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// v2 is a delegated subtree. Processes and children exclude each other there
// (cgroups(7), "no internal processes"), so our own processes move to a leaf
// of their own before the controllers are handed down.
type v2 struct {
	own, dir string // our cgroup as it was, and our directory below it
	missing  []string
}

func openV2(paths map[string]string, name string) (Parent, error) {
	own, ok := paths[""]
	if !ok {
		return nil, nil
	}
	have := strings.Fields(read(own, "cgroup.controllers"))
	if !slices.Contains(have, "memory") && !slices.Contains(have, "pids") {
		return nil, nil // nothing delegated, or a hybrid host: version 1 decides
	}
	sweep(own, name, alive)
	p := &v2{own: own, dir: filepath.Join(own, name)}
	if err := unix.Mkdir(p.dir, 0o755); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("make cgroup %s: %w", p.dir, err)
	}
	var enable []string
	for _, c := range []string{"memory", "pids", "cpu"} {
		if slices.Contains(have, c) {
			enable = append(enable, "+"+c)
		} else {
			p.missing = append(p.missing, c)
		}
	}
	if err := p.moveOut(); err != nil {
		unix.Rmdir(p.dir)
		return nil, err
	}
	for _, dir := range []string{own, p.dir} {
		if err := write(dir, "cgroup.subtree_control", strings.Join(enable, " ")); err != nil {
			p.Remove()
			return nil, err
		}
	}
	return p, nil
}

// moveOut moves the processes of our own cgroup to a leaf. Should one of them
// not be ours to move, or the cgroup be shared with others, handing controllers
// down is refused by the kernel and reported.
func (p *v2) moveOut() error {
	leaf := filepath.Join(p.own, Prefix+"self")
	if err := unix.Mkdir(leaf, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make cgroup %s: %w", leaf, err)
	}
	for line := range strings.Lines(read(p.own, "cgroup.procs")) {
		if err := write(leaf, "cgroup.procs", strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}

func (p *v2) Missing() []string { return p.missing }
func (p *v2) Describe() string  { return "cgroup v2" }

// Remove leaves the leaf with our own processes, which goes with its scope.
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
	return write(g.dir, "cgroup.procs", strconv.Itoa(pid))
}

func (g *v2Group) Limit(l Limits) error {
	has := func(c string) bool { return !slices.Contains(g.parent.missing, c) }
	if l.MemoryBytes > 0 && has("memory") {
		for file, value := range map[string]string{
			"memory.max":       strconv.FormatInt(l.MemoryBytes, 10),
			"memory.oom.group": "1",
		} {
			if err := write(g.dir, file, value); err != nil {
				return err
			}
		}
		if read(g.dir, "memory.swap.max") != "" {
			if err := write(g.dir, "memory.swap.max", "0"); err != nil {
				return err
			}
		}
	}
	if l.Pids > 0 && has("pids") {
		if err := write(g.dir, "pids.max", strconv.Itoa(l.Pids)); err != nil {
			return err
		}
	}
	if l.CPUs > 0 && has("cpu") {
		return write(g.dir, "cpu.max", fmt.Sprintf("%d %d", quota(l.CPUs), cpuPeriodMicros))
	}
	return nil
}

func (g *v2Group) Stat() Stat {
	peak := readInt(g.dir, "memory.peak") // Linux 5.19
	return Stat{
		CPU:         cpuTime(1000 * readField(g.dir, "cpu.stat", "usage_usec")),
		MemoryPeak:  peak,
		PidsPeak:    int(readInt(g.dir, "pids.peak")), // Linux 6.10
		OOMKills:    readField(g.dir, "memory.events", "oom_kill"),
		PidsRefused: readField(g.dir, "pids.events", "max"),
	}
}

func (g *v2Group) Remove() error {
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
	return removeDir(g.dir)
}
