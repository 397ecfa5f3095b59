package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"cofferdam/executor"
)

// summary says in five lines what the program can reach.
func (o *runOptions) summary(w io.Writer, spec *executor.Spec, missing []string) {
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
	if len(missing) == 0 {
		missing = []string{"nothing is missing"}
	}
	for _, line := range [][2]string{
		{"files", strings.Join(files, ", ")},
		{"network", "none"},
		{"messages", "none"},
		{"limits", fmt.Sprintf("memory %v, processes %v, cores %v, wall %v, processor time %v, output %v", &o.memory, &o.pids, &o.cpus, &o.wall, &o.cpu, &o.output)},
		{"not enforced", strings.Join(missing, ", ")},
	} {
		fmt.Fprintf(w, "cofferdam: %-13s %s\n", line[0], printable(line[1]))
	}
}

// hint names arguments that are files of the host and that the program does not
// see: the most likely reason for it to fail.
func hint(w io.Writer, spec *executor.Spec) {
	for _, arg := range spec.Command.Args {
		if strings.HasPrefix(arg, "-") || !strings.ContainsAny(arg, "./") || seen(spec, arg) {
			continue
		}
		if _, err := os.Lstat(arg); err == nil {
			fmt.Fprintf(w, "cofferdam: %s is a file of the host that the program does not see; show it with --ro\n", printable(arg))
		}
	}
}

// seen tells whether a path is in something that is shown.
func seen(spec *executor.Spec, name string) bool {
	if !path.IsAbs(name) {
		name = path.Join(spec.Command.Dir, name)
	}
	name = path.Clean(name)
	for _, m := range spec.Mounts {
		shown := []string{m.Target}
		if m.Kind == executor.MountRuntime {
			shown = []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"}
		}
		for _, dir := range shown {
			if name == dir || strings.HasPrefix(name, dir+"/") {
				return true
			}
		}
	}
	return strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/dev/")
}
