package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strings"
)

// machine is where it was measured, by whom, and what else it did then.
type machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Kernel  string `json:"kernel"`
	System  string `json:"system"`
	Cgroup  string `json:"cgroup"`
	User    string `json:"user"`
	Go      string `json:"go"`
	Version string `json:"version"` // of ours
	Load    string `json:"load"`    // before it began
	Command string `json:"command"`
}

func thisMachine() machine {
	m := machine{
		CPU: field("/proc/cpuinfo", "model name", ":"), Cores: runtime.NumCPU(), Kernel: "Linux " + line("/proc/sys/kernel/osrelease"),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`), Cgroup: "v1", Go: runtime.Version(), Load: "unknown",
		Version: output(binary, "--version"), Command: strings.Join(append([]string{"make bench"}, os.Args[1:]...), " "),
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroup = "v2"
	}
	if u, err := user.Current(); err == nil {
		m.User = u.Username
		if u.Uid != "0" {
			m.User = "an ordinary user"
		}
	}
	if words := strings.Fields(line("/proc/loadavg")); len(words) > 0 {
		m.Load = words[0]
	}
	return m
}

// String is for the head of the tables.
func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, cgroup %s, %s, as %s; %s; load before %s", m.CPU, m.Cores, m.Kernel, m.System, m.Cgroup, m.Go, m.User, m.Version, m.Load)
}

// like tells whether figures of both may stand in one table.
func (m machine) like(n machine) bool {
	return m.CPU == n.CPU && m.Cores == n.Cores && m.Kernel == n.Kernel && m.Cgroup == n.Cgroup && m.User == n.User
}

func line(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// field is the value of the first line of the file that begins with name.
func field(file, name, sep string) string {
	for l := range strings.SplitSeq(line(file), "\n") {
		if strings.HasPrefix(l, name) {
			_, value, _ := strings.Cut(l, sep)
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// output is the first line that a command prints, on either stream, or "".
func output(name string, args ...string) string {
	b, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return first
}
