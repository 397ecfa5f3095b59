package cgroup

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func cpuTime(nanos int64) time.Duration { return time.Duration(nanos) }

// StartTime is when process pid started, in clock ticks since boot, "" if there
// is no such process. With the pid it names a process for good.
//
// Source: proc_pid_stat(5), field 22. The name, field 2, may hold anything, so
// that counting begins after its last parenthesis.
func StartTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return ""
	}
	return f[19]
}

func alive(pid int, start string) bool { return StartTime(pid) == start }
