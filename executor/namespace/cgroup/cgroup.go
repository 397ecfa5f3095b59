// Package cgroup bounds what a tree of processes uses, by whichever mechanism
// the host offers.
//
// A [Parent] is the place under the caller's own cgroup where the groups of one
// application live; a [Group] is one environment. Two implementations exist:
// version 2, a delegated subtree, and version 1, a directory in each of the
// hierarchies memory, pids, cpu and cpuacct. [Open] picks one; what it lacks is
// told by [Parent.Missing] and never papered over.
//
// Trusted: yes. A limit that is not enforced lets one program starve the others.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a group. A field that is not positive is no limit.
type Limits struct {
	MemoryBytes int64
	Pids        int
	CPUs        float64
}

// Stat is what a group has used.
type Stat struct {
	CPU         time.Duration
	MemoryPeak  int64
	PidsPeak    int
	OOMKills    int64 // processes killed because of the limit
	PidsRefused int64 // forks refused because of the limit
}

// Parent makes groups.
type Parent interface {
	// Make makes an empty group without limits.
	Make(name string) (Group, error)
	// Limit bounds all groups together. Shares of the processor are left alone.
	Limit(Limits) error
	// Missing lists the controllers of "memory", "pids", "cpu" that the host lacks.
	Missing() []string
	// Describe says which mechanism this is.
	Describe() string
	// Remove removes the parent itself, once its groups are gone.
	Remove() error
}

// Group is one environment's.
type Group interface {
	// FD is a descriptor to be born into with CLONE_INTO_CGROUP, or -1.
	FD() int
	// Attach moves a process into the group; a group with FD needs it not.
	Attach(pid int) error
	// Limit sets the limits.
	Limit(Limits) error
	// Stat reads what was used.
	Stat() Stat
	// Renew makes the group, in which so many processes of ours have stayed, as good as
	// new, and reports false if it cannot be that, so that it has to be removed.
	Renew(stayed int) bool
	// Remove removes the group, whose processes have ended.
	Remove() error
}

// Open finds the cgroups of this process below root (usually /sys/fs/cgroup),
// with proc as the directory of this process in procfs, and prepares the parent
// for name. mine are the processes that may be moved to another cgroup. name must say who uses it: see [Name]; parents whose owner is gone are swept. Without any usable hierarchy
// the parent is nil and the error says why.
func Open(root, proc, name string, mine []int) (Parent, error) {
	own, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return nil, err
	}
	paths, err := hierarchies(string(own), root)
	if err != nil {
		return nil, err
	}
	if p, err2 := openV2(paths, root, name, mine); p != nil {
		return p, nil
	} else if err2 != nil {
		err = err2
	}
	p, err1 := openV1(paths, name)
	if p != nil {
		return p, nil
	}
	return nil, errors.Join(err, err1)
}

// hierarchies maps controller names, and "" for version 2, to the directory of
// our own cgroup.
func hierarchies(own, root string) (map[string]string, error) {
	paths := map[string]string{}
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || strings.Contains(f[2], "/..") {
			continue // a cgroup outside our view of the hierarchy
		}
		if f[0] == "0" && f[1] == "" {
			for _, dir := range []string{root, filepath.Join(root, "unified")} {
				if isV2(dir) {
					paths[""] = filepath.Join(dir, f[2])
					break
				}
			}
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			for _, dir := range []string{filepath.Join(root, c), filepath.Join(root, f[1])} {
				if _, err := os.Stat(filepath.Join(dir, f[2], "cgroup.procs")); err == nil {
					paths[c] = filepath.Join(dir, f[2])
					break
				}
			}
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy below %s", root)
	}
	return paths, nil
}

func isV2(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Prefix is what the names of parents begin with.
const Prefix = "cofferdam-"

// Name is the name of the parent of app, owned by process pid that started at
// start (clock ticks since boot, field 22 of /proc/PID/stat).
func Name(app string, pid int, start string) string {
	return fmt.Sprintf("%s%s.%d.%s", Prefix, app, pid, start)
}

// sweep removes, next to own, empty parents of app whose owner is gone. alive
// tells whether the process pid that started at start still lives.
func sweep(own, name string, alive func(pid int, start string) bool) {
	app, _, _ := strings.Cut(strings.TrimPrefix(name, Prefix), ".")
	dirs, _ := filepath.Glob(filepath.Join(own, Prefix+app+".*"))
	for _, dir := range dirs {
		f := strings.Split(filepath.Base(dir), ".")
		if len(f) != 3 || filepath.Base(dir) == name {
			continue
		}
		if pid, err := strconv.Atoi(f[1]); err == nil && !alive(pid, f[2]) {
			removeTree(dir)
		}
	}
}

// removeTree removes a directory of cgroups from the leaves up. Groups that
// still hold processes stay.
func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeTree(filepath.Join(dir, e.Name()))
		}
	}
	unix.Rmdir(dir)
}

// removeDir removes one cgroup. The kernel says EBUSY for a moment after the
// last process has been reaped.
func removeDir(dir string) error {
	var err error
	for wait := time.Millisecond; wait < 2*time.Second; wait *= 2 {
		if err = unix.Rmdir(dir); err != unix.EBUSY {
			break
		}
		time.Sleep(wait)
	}
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

// place is where the files of a group are: below a directory that stays open, for the whole way from
// the root costs more than a file.
type place struct {
	fd    int    // of that directory, or AT_FDCWD
	dir   string // from there
	below string // what that directory is called
}

// full is a place by its whole path.
func full(dir string) place { return place{fd: unix.AT_FDCWD, dir: dir} }

func (p place) open(file string, flags int) (int, error) {
	return unix.Openat(p.fd, p.dir+"/"+file, flags|unix.O_CLOEXEC, 0)
}

func write(at place, file, value string) error {
	fd, err := at.open(file, unix.O_WRONLY)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("set %s of %s to %q: %w", file, filepath.Join(at.below, at.dir), value, err)
	}
	return nil
}

func has(at place, file string) bool {
	return unix.Faccessat(at.fd, at.dir+"/"+file, unix.F_OK, 0) == nil
}

func read(at place, file string) string {
	fd, err := at.open(file, unix.O_RDONLY)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, _ := unix.Read(fd, buf[:])
	return strings.TrimSpace(string(buf[:max(n, 0)]))
}

func readInt(at place, file string) int64 {
	n, _ := strconv.ParseInt(read(at, file), 10, 64)
	return n
}

// readField is the value of key in a file of lines "key value".
func readField(at place, file, key string) int64 {
	for line := range strings.Lines(read(at, file)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// The period of a limit of processor time, in microseconds. An environment with one of two
// processors may have both for half of it, and neighbours then wait: of the kernel's
// own choice, 100 ms, they notice.
const (
	cpuPeriodMicros    = 20_000
	minQuotaMicros     = 1_000     // the kernel takes no less
	maxCPUPeriodMicros = 1_000_000 // and no more
)

// quota is CPUs as microseconds per period, and the period.
func quota(cpus float64) (micros, period int64) {
	period = cpuPeriodMicros
	if cpus*cpuPeriodMicros < minQuotaMicros {
		period = min(int64(minQuotaMicros/cpus), maxCPUPeriodMicros)
	}
	return max(int64(cpus*float64(period)), minQuotaMicros), period
}
