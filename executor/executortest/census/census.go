// Package census counts what an executor could leave behind on a machine, so that
// a test can say that nothing is.
//
// Take a census before and one after, and ask for the difference:
//
//	before := c.Take()
//	…
//	if left := c.Settle(before, 10*time.Second); len(left) > 0 { … }
//
// Things with an identity (processes, mounts, cgroups, files, sockets) are compared
// one by one; what a process merely holds (descriptors, threads, memory) is
// compared as a number with an allowance.
//
// Only what belongs to the calling process is looked at, so that other tests on
// the machine do no harm: its descendants, which includes orphans once [Adopt] has
// been called, cgroups of its applications, and directories that it names.
//
// Trusted: no. It runs in tests, and a test with a wrong census proves nothing.
package census

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Scope says what is looked at, besides the caller's descendants.
type Scope struct {
	Apps []string       // whose cgroups are counted: by name, or by name.pid of the spawner
	Dirs []string       // below which files are counted
	Pids map[string]int // by name: processes whose holdings are counted
	Grow map[string]int // what a number may grow by: "descriptors", "threads", "KiB"

	// Count compares how many things there are, and not which: an executor at
	// work keeps a few blank environments ready, and never the same.
	Count bool
}

// Census is what was there.
type Census struct {
	things  map[string]map[string]bool // by kind
	numbers map[string]int             // by "kind of name"
}

// Kinds of things, of each of which nothing may be left.
var kinds = []string{"process", "mount", "cgroup", "network namespace", "socket", "file"}

// Adopt makes the caller the parent of all orphans among its descendants. Without
// it what outlives its parent would be out of sight.
func Adopt() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// reap waits for adopted children that are dead, as an init does. A child of the
// caller's own may be among them, that its os.Process has not waited for yet; then
// that one is told ECHILD. So it is done as the last thing, while nothing is run.
func reap() {
	self := os.Getpid()
	for _, p := range processes() {
		if p.parent == self && p.state == "Z" {
			unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
}

// Take counts what there is.
func (s *Scope) Take() Census {
	c := Census{things: map[string]map[string]bool{}, numbers: map[string]int{}}
	for _, k := range kinds {
		c.things[k] = map[string]bool{}
	}
	c.processes()
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		c.add("mount", strings.TrimSpace(line))
	}
	for _, app := range s.Apps {
		c.cgroups(app)
	}
	for _, dir := range s.Dirs {
		c.files(dir)
	}
	for name, pid := range s.Pids {
		c.holdings(name, pid)
	}
	return c
}

func (c *Census) add(kind, what string) { c.things[kind][what] = true }

// processes finds the descendants of the caller and the network namespaces that
// they are in.
func (c *Census) processes() {
	all := processes()
	parents := map[int]int{}
	for _, p := range all {
		parents[p.pid] = p.parent
	}
	self := os.Getpid()
	c.network("self", self)
	for _, p := range all {
		for q := p.parent; q > 1; q = parents[q] {
			if q == self {
				c.add("process", fmt.Sprintf("%d (%s, %s, since tick %s)", p.pid, p.name, p.state, p.start))
				c.network(p.name, p.pid)
				break
			}
		}
	}
}

// network notes the network namespace of a process, and those that it has open.
func (c *Census) network(name string, pid int) {
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil {
		c.add("network namespace", link)
	}
	for _, link := range descriptors(pid) {
		if strings.HasPrefix(link, "net:[") {
			c.add("network namespace", link)
		}
	}
}

// cgroups finds the directories of an application in every hierarchy.
func (c *Census) cgroups(app string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/cofferdam-"+app+".") {
			c.add("cgroup", path)
		}
		return nil
	})
}

// files finds what lies below dir, sockets apart.
func (c *Census) files(dir string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil || path == dir:
		case d.Type()&os.ModeSocket != 0:
			c.add("socket", path)
		default:
			c.add("file", path)
		}
		return nil
	})
	for line := range strings.Lines(read("/proc/net/unix")) {
		if f := strings.Fields(line); len(f) == 8 && strings.HasPrefix(f[7], dir+"/") {
			c.add("socket", "bound to "+f[7])
		}
	}
}

// holdings counts what a process holds.
func (c *Census) holdings(name string, pid int) {
	of := " of " + name
	c.numbers["descriptors"+of] = len(descriptors(pid))
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/status", pid))) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch key {
		case "Threads":
			c.numbers["threads"+of] = n
		case "VmRSS":
			c.numbers["KiB"+of] = n
		}
	}
	// Its mounts are its own business as long as they do not become more. Threads
	// can have mount namespaces of their own.
	tables := map[string]bool{}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		if ns, err := os.Readlink(task + "/ns/mnt"); err == nil && !tables[ns] {
			tables[ns] = true
			c.numbers["mounts"+of] += strings.Count(read(task+"/mountinfo"), "\n")
		}
	}
}

// Number is a holding: "descriptors of spawner".
func (c Census) Number(what string) int { return c.numbers[what] }

// Left says what is in after and was not in before, and what numbers have grown
// beyond what they may.
func (s *Scope) Left(before, after Census) (left []string) {
	for _, kind := range kinds {
		if s.Count && len(after.things[kind]) <= len(before.things[kind]) {
			continue
		}
		for what := range after.things[kind] {
			if !before.things[kind][what] {
				left = append(left, kind+": "+what)
			}
		}
	}
	for what, n := range after.numbers {
		unit, _, _ := strings.Cut(what, " ")
		if n == 0 {
			left = append(left, what+": cannot be looked at")
		}
		if was := before.numbers[what]; n > was+s.Grow[unit] {
			left = append(left, fmt.Sprintf("%s: %d, before %d", what, n, was))
		}
	}
	sort.Strings(left)
	return left
}

// Settle takes censuses until nothing is left or time is up: the kernel takes
// things down by and by. It returns what is left.
func (s *Scope) Settle(before Census, within time.Duration) []string {
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		reap()
		left := s.Left(before, s.Take())
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// Report is one line for people: how much was compared, and what is left.
func (s *Scope) Report(c Census, left []string) string {
	text := fmt.Sprintf("%d kinds of things and %d numbers compared, %d left", len(kinds), len(c.numbers), len(left))
	if len(left) > 0 {
		text += "\n  " + strings.Join(left, "\n  ")
	}
	return text
}

// process is a line of the list of processes.
type process struct {
	pid, parent        int
	name, state, start string
}

// processes lists all that there are: proc_pid_stat(5).
func processes() (all []process) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s := read("/proc/" + e.Name() + "/stat")
		open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
		if open < 0 || end < open {
			continue // gone meanwhile
		}
		f := strings.Fields(s[end+1:])
		if len(f) < 20 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		all = append(all, process{pid: pid, parent: parent, name: s[open+1 : end], state: f[0], start: f[19]})
	}
	return all
}

// descriptors lists what a process has open.
func descriptors(pid int) (links []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			links = append(links, link)
		}
	}
	return links
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
