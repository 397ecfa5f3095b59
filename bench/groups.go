package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"cofferdam/executor/namespace/cgroup"
)

// groups puts the process tree of each of pids in a cgroup of its own, below one for all, as environments are. What it
// returns removes them, once all that is in them has ended.
func groups(name string, pids ...int) (remove func(), err error) {
	self := os.Getpid()
	parent, err := cgroup.Open("/sys/fs/cgroup", "/proc/self", cgroup.Name("bench-"+name, self, cgroup.StartTime(self)), nil)
	if parent == nil {
		return nil, fmt.Errorf("%w: cgroups: %w", errMissing, err)
	}
	var made []cgroup.Group
	remove = func() {
		for _, g := range made {
			g.Remove()
		}
		parent.Remove()
	}
	if lacks := parent.Missing(); strings.Contains(strings.Join(lacks, " "), "cpu") {
		remove()
		return nil, fmt.Errorf("%w: cgroups of processor time", errMissing)
	}
	for i, pid := range pids {
		g, err := parent.Make(strconv.Itoa(i))
		if err != nil {
			remove()
			return nil, err
		}
		made = append(made, g)
		for _, p := range tree(pid) {
			err = errors.Join(err, g.Attach(p))
		}
		if err != nil {
			remove()
			return nil, err
		}
	}
	return remove, nil
}

// tree is a process and what it has started.
func tree(pid int) []int {
	all := []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, word := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(word); err == nil {
			all = append(all, tree(child)...)
		}
	}
	return all
}
