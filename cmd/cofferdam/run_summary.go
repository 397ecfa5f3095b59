package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"cofferdam/executor"
)

// summary says in five lines what the program can reach.
func (o *runOptions) summary(w io.Writer, spec *executor.Spec, weaker, missing []string) {
	var files []string
	if !o.noRuntime {
		files = append(files, "the host's programs (read-only)")
	}
	for _, m := range spec.Mounts {
		if m.Kind != executor.MountBind {
			continue
		}
		way := "read-only"
		if m.Writable {
			way = "writable"
		}
		files = append(files, fmt.Sprintf("%s as %s (%s)", m.Source, m.Target, way))
	}
	files = append(files, fmt.Sprintf("an empty /tmp (%v)", &o.tmp))
	enforced := "nothing is missing"
	var lacks []string
	for _, name := range missing {
		if slices.Contains(o.allowDegraded, name) {
			lacks = append(lacks, name)
		}
	}
	for _, name := range weaker {
		lacks = append(lacks, name+" (weaker)")
	}
	if len(lacks) > 0 {
		enforced = strings.Join(lacks, ", ")
	}
	for _, line := range [][2]string{
		{"files", strings.Join(files, ", ")},
		{"network", "none"},
		{"messages", "none"},
		{"limits", fmt.Sprintf("memory %v, %v processes, %v cores, wall %v, processor time %v, output %v", &o.memory, &o.pids, &o.cpus, &o.wall, &o.cpu, &o.output)},
		{"not enforced", enforced},
	} {
		fmt.Fprintf(w, "cofferdam: %-13s %s\n", line[0], printable(line[1]))
	}
}
