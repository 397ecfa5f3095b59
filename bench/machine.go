package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"cofferdam/bench/own"
)

// machine is where it was measured, and with what.
type machine struct {
	own.Machine
	Go      string `json:"go"`
	Version string `json:"version"` // of ours
	Command string `json:"command"`
}

func thisMachine() machine {
	return machine{
		Machine: own.ThisMachine(), Go: runtime.Version(), Version: output(binary, "--version"),
		Command: strings.Join(append([]string{"scripts/bench"}, os.Args[1:]...), " "),
	}
}

// String is for the head of the tables. When, and how busy the machine was, stands with
// each scenario: they need not be of one run.
func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, cgroup %s, as %s; %s.", m.CPU, m.Cores, m.Kernel, m.System, m.Cgroup, m.User, m.Go)
}

// like tells whether figures of both may stand in one table.
func (m machine) like(n machine) bool {
	return m.CPU == n.CPU && m.Cores == n.Cores && m.Kernel == n.Kernel && m.Cgroup == n.Cgroup && m.User == n.User
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
