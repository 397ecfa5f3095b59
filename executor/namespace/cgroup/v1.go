package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// v1 has a directory in each hierarchy. Attaching to it waits for the kernel's
// cgroup lock, which after idleness is a whole RCU period (8 ms measured), so
// environments are attached while they wait, not when somebody waits for them.
type v1 struct {
	dirs    map[string]string // controller → our directory there
	open    map[string]int    // controller → descriptor of that
	missing []string
}

func openV1(own map[string]string, name string) (Parent, error) {
	p := &v1{dirs: map[string]string{}, open: map[string]int{}}
	var errs error
	for _, c := range []string{"memory", "pids", "cpu", "cpuacct"} {
		base, ok := own[c]
		if ok {
			sweep(base, name, alive)
			dir := filepath.Join(base, name)
			if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
				errs = errors.Join(errs, fmt.Errorf("make cgroup %s: %w", dir, err))
				ok = false
			} else if fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
				errs = errors.Join(errs, fmt.Errorf("open cgroup %s: %w", dir, err))
				ok = false
			} else {
				p.dirs[c], p.open[c] = dir, fd
			}
		}
		if !ok && c != "cpuacct" {
			p.missing = append(p.missing, c)
		}
	}
	if len(p.dirs) == 0 {
		return nil, errs
	}
	return p, nil
}

func (p *v1) Missing() []string { return p.missing }
func (p *v1) Describe() string  { return "cgroup v1" }

func (p *v1) Remove() error {
	var err error
	for _, fd := range p.open {
		unix.Close(fd)
	}
	p.open = nil
	for _, dir := range p.unique() {
		err = errors.Join(err, removeDir(dir))
	}
	return err
}

// unique lists the directories, each once: cpu and cpuacct are often one hierarchy.
func (p *v1) unique() []string {
	var dirs []string
	for _, dir := range p.dirs {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

func (p *v1) Make(name string) (Group, error) {
	g := &v1Group{parent: p, name: name}
	for _, dir := range p.unique() {
		if err := unix.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			g.Remove()
			return nil, fmt.Errorf("make cgroup %s/%s: %w", dir, name, err)
		}
	}
	return g, nil
}

type v1Group struct {
	parent *v1
	name   string
	limits Limits // that are set; zero is not set
}

func (g *v1Group) FD() int { return -1 }

// at is where the group is in the hierarchy of a controller, if there is one.
func (g *v1Group) at(controller string) (place, bool) {
	fd, ok := g.parent.open[controller]
	return place{fd, g.name, g.parent.dirs[controller]}, ok
}

func (g *v1Group) Attach(pid int) error {
	for _, dir := range g.parent.unique() {
		if err := write(full(filepath.Join(dir, g.name)), "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// Limit writes what is another limit than there is. What was limited cannot be unlimited.
func (g *v1Group) Limit(l Limits) error {
	change := l
	if l.MemoryBytes == g.limits.MemoryBytes {
		change.MemoryBytes = 0
	}
	if l.Pids == g.limits.Pids {
		change.Pids = 0
	}
	if l.CPUs == g.limits.CPUs {
		change.CPUs = 0
	}
	if err := limitV1(g.at, change); err != nil {
		return err
	}
	if l.MemoryBytes > 0 {
		g.limits.MemoryBytes = l.MemoryBytes
	}
	if l.Pids > 0 {
		g.limits.Pids = l.Pids
	}
	if l.CPUs > 0 {
		g.limits.CPUs = l.CPUs
	}
	return nil
}

// Bounds of what a group may have kept to be as good as new: charges for what the kernel
// keeps at hand, and gives up when somebody needs the room; and how many processes there were
// at most, for that peak cannot be set back: fewer than any program has with those of ours.
const (
	keptBytes = 1 << 20
	keptPeak  = 1
)

// Renew finds everything that an environment can leave: what cannot be set back must not
// have been touched.
func (g *v1Group) Renew(stayed int) bool {
	if at, ok := g.at("pids"); ok {
		if readInt(at, "pids.current") != int64(stayed) || readField(at, "pids.events", "max") != 0 || readInt(at, "pids.peak") > int64(stayed+1+keptPeak) {
			return false
		}
	}
	if at, ok := g.at("memory"); ok && !renewMemory(at) {
		return false
	}
	if at, ok := g.at("cpuacct"); ok && write(at, "cpuacct.usage", "0") != nil {
		return false
	}
	if at, ok := g.at("cpu"); ok && g.limits.CPUs > 0 {
		// Its part of the period that runs is full again.
		micros, _ := quota(g.limits.CPUs)
		return write(at, "cpu.cfs_quota_us", strconv.FormatInt(micros, 10)) == nil
	}
	return true
}

func renewMemory(at place) bool {
	if readField(at, "memory.oom_control", "oom_kill") != 0 || readInt(at, "memory.kmem.tcp.usage_in_bytes") != 0 {
		return false
	}
	if readInt(at, "memory.usage_in_bytes") > keptBytes {
		if write(at, "memory.force_empty", "0") != nil || readInt(at, "memory.usage_in_bytes") > keptBytes {
			return false
		}
	}
	return write(at, "memory.max_usage_in_bytes", "0") == nil
}

// Limit bounds all groups together.
func (p *v1) Limit(l Limits) error {
	l.CPUs = 0
	return limitV1(func(c string) (place, bool) { return full(p.dirs[c]), p.dirs[c] != "" }, l)
}

// limitV1 sets limits in the directories of controllers.
func limitV1(placeOf func(controller string) (place, bool), l Limits) error {
	if at, ok := placeOf("memory"); ok && l.MemoryBytes > 0 {
		bytes := strconv.FormatInt(l.MemoryBytes, 10)
		// Memory and swap together: no swap. A kernel without swap accounting
		// lacks the file. Together they are never less than memory alone: what is
		// lowered begins with that, what is raised ends with it.
		files := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
		if !has(at, files[1]) {
			files = files[:1]
		} else if l.MemoryBytes > readInt(at, files[1]) {
			slices.Reverse(files)
		}
		for _, file := range files {
			if err := write(at, file, bytes); err != nil {
				return err
			}
		}
	}
	// What TCP buffers is not counted as memory in version 1 (2.2 GiB were held by an
	// environment with 64 MiB), but has a limit of its own. Who is at it has to wait
	// until something is read. A kernel without it lacks the file.
	if at, ok := placeOf("memory"); ok && l.MemoryBytes > 0 {
		const file = "memory.kmem.tcp.limit_in_bytes"
		if has(at, file) {
			if err := write(at, file, strconv.FormatInt(l.MemoryBytes/4, 10)); err != nil {
				return err
			}
		}
	}
	if at, ok := placeOf("pids"); ok && l.Pids > 0 {
		if err := write(at, "pids.max", strconv.Itoa(l.Pids)); err != nil {
			return err
		}
	}
	if at, ok := placeOf("cpu"); ok && l.CPUs > 0 {
		micros, period := quota(l.CPUs)
		if err := write(at, "cpu.cfs_period_us", strconv.FormatInt(period, 10)); err != nil {
			return err
		}
		if err := write(at, "cpu.cfs_quota_us", strconv.FormatInt(micros, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (g *v1Group) Stat() Stat {
	var s Stat
	if at, ok := g.at("memory"); ok {
		s.MemoryPeak = readInt(at, "memory.max_usage_in_bytes")
		s.OOMKills = readField(at, "memory.oom_control", "oom_kill")
	}
	if at, ok := g.at("pids"); ok {
		s.PidsPeak = int(readInt(at, "pids.peak"))
		s.PidsRefused = readField(at, "pids.events", "max")
	}
	if at, ok := g.at("cpuacct"); ok {
		s.CPU = cpuTime(readInt(at, "cpuacct.usage"))
	}
	return s
}

func (g *v1Group) Remove() error {
	var err error
	for _, dir := range g.parent.unique() {
		err = errors.Join(err, removeDir(filepath.Join(dir, g.name)))
	}
	return err
}
