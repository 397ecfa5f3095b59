package own

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
)

// Machine is where something is measured, as whom, and how busy it was before.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Kernel string  `json:"kernel"`
	System string  `json:"system"`
	Cgroup string  `json:"cgroup"`
	User   string  `json:"user"`
	Load   float64 `json:"load"` // programs that ran or wanted to, over the last minute
}

// ThisMachine looks at the machine.
func ThisMachine() Machine {
	m := Machine{
		CPU: field("/proc/cpuinfo", "model name", ":"), Cores: runtime.NumCPU(), Kernel: "Linux " + content("/proc/sys/kernel/osrelease"),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`), Cgroup: "v1", User: "an ordinary user",
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroup = "v2"
	}
	if u, err := user.Current(); err == nil && u.Uid == "0" {
		m.User = u.Username
	}
	if words := strings.Fields(content("/proc/loadavg")); len(words) > 0 {
		m.Load, _ = strconv.ParseFloat(words[0], 64)
	}
	return m
}

// String is one line for people.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, cgroup %s, as %s, load %.1f before", m.CPU, m.Cores, m.Kernel, m.System, m.Cgroup, m.User, m.Load)
}

// Busy tells whether others use so much of the machine that figures are theirs too.
func (m Machine) Busy() bool { return m.Load > float64(m.Cores)/2 }

func content(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// field is the value of the first line of the file that begins with name.
func field(file, name, sep string) string {
	for line := range strings.SplitSeq(content(file), "\n") {
		if strings.HasPrefix(line, name) {
			_, value, _ := strings.Cut(line, sep)
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
