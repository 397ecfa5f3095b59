package cgroup

import (
	"errors"
	"fmt"
	"os"
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
	missing []string
}

func openV1(own map[string]string, name string) (Parent, error) {
	p := &v1{dirs: map[string]string{}}
	var errs error
	for _, c := range []string{"memory", "pids", "cpu", "cpuacct"} {
		base, ok := own[c]
		if ok {
			sweep(base, name, alive)
			dir := filepath.Join(base, name)
			if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
				errs = errors.Join(errs, fmt.Errorf("make cgroup %s: %w", dir, err))
				ok = false
			} else {
				p.dirs[c] = dir
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

func (g *v1Group) dir(controller string) string {
	if d, ok := g.parent.dirs[controller]; ok {
		return filepath.Join(d, g.name)
	}
	return ""
}

func (g *v1Group) Attach(pid int) error {
	for _, dir := range g.parent.unique() {
		if err := write(filepath.Join(dir, g.name), "cgroup.procs", strconv.Itoa(pid)); err != nil {
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
	if err := limitV1(g.dir, change); err != nil {
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
	if dir := g.dir("pids"); dir != "" {
		if readInt(dir, "pids.current") != int64(stayed) || readField(dir, "pids.events", "max") != 0 || readInt(dir, "pids.peak") > int64(stayed+1+keptPeak) {
			return false
		}
	}
	if dir := g.dir("memory"); dir != "" && !renewMemory(dir) {
		return false
	}
	if dir := g.dir("cpuacct"); dir != "" && write(dir, "cpuacct.usage", "0") != nil {
		return false
	}
	if dir := g.dir("cpu"); dir != "" && g.limits.CPUs > 0 {
		// Its part of the period that runs is full again.
		micros, _ := quota(g.limits.CPUs)
		return write(dir, "cpu.cfs_quota_us", strconv.FormatInt(micros, 10)) == nil
	}
	return true
}

func renewMemory(dir string) bool {
	if readField(dir, "memory.oom_control", "oom_kill") != 0 || readInt(dir, "memory.kmem.tcp.usage_in_bytes") != 0 {
		return false
	}
	if readInt(dir, "memory.usage_in_bytes") > keptBytes {
		if write(dir, "memory.force_empty", "0") != nil || readInt(dir, "memory.usage_in_bytes") > keptBytes {
			return false
		}
	}
	return write(dir, "memory.max_usage_in_bytes", "0") == nil
}

// Limit bounds all groups together.
func (p *v1) Limit(l Limits) error {
	l.CPUs = 0
	return limitV1(func(c string) string { return p.dirs[c] }, l)
}

// limitV1 sets limits in the directories of controllers.
func limitV1(dirOf func(controller string) string, l Limits) error {
	if dir := dirOf("memory"); dir != "" && l.MemoryBytes > 0 {
		bytes := strconv.FormatInt(l.MemoryBytes, 10)
		// Memory and swap together: no swap. A kernel without swap accounting
		// lacks the file. Together they are never less than memory alone: what is
		// lowered begins with that, what is raised ends with it.
		files := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
		if _, err := os.Stat(filepath.Join(dir, files[1])); err != nil {
			files = files[:1]
		} else if l.MemoryBytes > readInt(dir, files[1]) {
			slices.Reverse(files)
		}
		for _, file := range files {
			if err := write(dir, file, bytes); err != nil {
				return err
			}
		}
	}
	// What TCP buffers is not counted as memory in version 1 (2.2 GiB were held by an
	// environment with 64 MiB), but has a limit of its own. Who is at it has to wait
	// until something is read. A kernel without it lacks the file.
	if dir := dirOf("memory"); dir != "" && l.MemoryBytes > 0 {
		const file = "memory.kmem.tcp.limit_in_bytes"
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			if err := write(dir, file, strconv.FormatInt(l.MemoryBytes/4, 10)); err != nil {
				return err
			}
		}
	}
	if dir := dirOf("pids"); dir != "" && l.Pids > 0 {
		if err := write(dir, "pids.max", strconv.Itoa(l.Pids)); err != nil {
			return err
		}
	}
	if dir := dirOf("cpu"); dir != "" && l.CPUs > 0 {
		micros, period := quota(l.CPUs)
		if err := write(dir, "cpu.cfs_period_us", strconv.FormatInt(period, 10)); err != nil {
			return err
		}
		if err := write(dir, "cpu.cfs_quota_us", strconv.FormatInt(micros, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (g *v1Group) Stat() Stat {
	var s Stat
	if dir := g.dir("memory"); dir != "" {
		s.MemoryPeak = readInt(dir, "memory.max_usage_in_bytes")
		s.OOMKills = readField(dir, "memory.oom_control", "oom_kill")
	}
	if dir := g.dir("pids"); dir != "" {
		s.PidsPeak = int(readInt(dir, "pids.peak"))
		s.PidsRefused = readField(dir, "pids.events", "max")
	}
	if dir := g.dir("cpuacct"); dir != "" {
		s.CPU = cpuTime(readInt(dir, "cpuacct.usage"))
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
