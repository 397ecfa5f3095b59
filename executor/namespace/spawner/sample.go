package spawner

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"cofferdam/executor"
)

// How often a running environment is looked at. The kernel enforces memory,
// processes and shares of the processor by itself; what is left is what it only
// counts.
const (
	idleEvery   = 250 * time.Millisecond // where all but the loss of a process is the kernel's
	idleMost    = 2 * time.Second        // and nothing has run since the last look
	sampleEvery = 50 * time.Millisecond  // where processor time is limited
	watchEvery  = 20 * time.Millisecond  // where nobody else looks after memory
)

// sample watches the limits that the kernel does not enforce, until i has ended.
func (i *instance) sample() {
	l := &i.spec.Limits
	every := idleEvery
	switch {
	case !i.server.scripts.memoryGroup:
		every = watchEvery
	case l.CPU > 0:
		every = sampleEvery
	}
	idle := idling{pause: every}
	tick := time.NewTimer(every)
	defer tick.Stop()
	for {
		select {
		case <-i.done:
			return
		case <-tick.C:
		}
		memory := i.look()
		stat := i.stat()
		cpu := i.used(stat).CPU
		if every == idleEvery {
			tick.Reset(idle.next(cpu))
		} else {
			tick.Reset(every)
		}
		if stat.OOMKills > 0 {
			// The kernel killed one process of it. A program that lost a part
			// of itself is not left to go on.
			i.kill(i.outOfMemory())
		}
		if l.MemoryBytes > 0 && memory > l.MemoryBytes {
			i.kill(i.outOfMemory())
		}
		if l.CPU > 0 && cpu > l.CPU {
			i.kill(executor.Exit{Cause: executor.CauseCPU, Limit: l.CPU.String(), Key: "limits.cpu", Detail: "it used more processor time than " + l.CPU.String()})
		}
	}
}

// idling makes looks at an environment in which nothing runs rarer: to lose a process takes memory, and
// to take memory takes processor time. So a host full of environments that wait has its processor
// for others.
type idling struct {
	pause time.Duration
	cpu   time.Duration // used until the last look
}

// next is the pause until the next look, after one that has found so much used. What is not counted at all
// says nothing.
func (d *idling) next(cpu time.Duration) time.Duration {
	if cpu == d.cpu && cpu > 0 {
		d.pause = min(2*d.pause, idleMost)
	} else {
		d.pause = idleEvery
	}
	d.cpu = cpu
	return d.pause
}

// look adds up what the processes use, on a host without accounting by cgroup,
// and returns their memory in bytes now. Elsewhere it does nothing.
func (i *instance) look() int64 {
	if i.server.scripts.memoryGroup {
		return 0
	}
	var memory int64
	init := i.blank.child.Pid
	pids := descendants(init, nil)
	for _, pid := range pids {
		memory += resident(pid)
	}
	cpu := i.spent.add(append(pids, init))
	i.mu.Lock()
	i.seen.MemoryBytes = max(i.seen.MemoryBytes, memory)
	i.seen.CPU = max(i.seen.CPU, cpu)
	i.seen.Pids = max(i.seen.Pids, len(pids))
	i.mu.Unlock()
	return memory
}

// descendants lists the processes below pid. Orphans of a pid namespace become
// children of its init, so that none escapes. Their number is bounded by the
// limit of processes.
func descendants(pid int, all []int) []int {
	for _, child := range children(pid) {
		all = descendants(child, append(all, child))
	}
	return all
}

// children lists those of a process: proc_pid_task(5).
func children(pid int) (all []int) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// resident is the memory of a process with shared pages divided among those
// that share them, what of it was swapped out, and its page tables, which can be
// large where what they map is not: proc_pid_smaps(5), proc_pid_status(5).
//
// Who executes a file of somebody else's that it may not read is beyond our own
// sight too, see ptrace(2); then shared pages count whole.
func resident(pid int) int64 {
	mapped := kibibytes(pid, "smaps_rollup", "Pss:", "SwapPss:")
	if mapped == 0 {
		mapped = kibibytes(pid, "status", "VmRSS:", "VmSwap:")
	}
	return mapped + kibibytes(pid, "status", "VmPTE:")
}

// kibibytes adds up, in bytes, the named lines of a file of a process.
func kibibytes(pid int, file string, names ...string) (sum int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && slices.Contains(names, f[0]) {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			sum += kib << 10
		}
	}
	return sum
}

// spent adds up the processor time of processes that come and go.
type spent struct {
	last map[process]time.Duration // of each that was there when last looked at
	gone time.Duration             // of those that are not any more
}

type process struct {
	pid   int
	start string // in ticks since the machine was started, to tell namesakes apart
}

// add looks at pids, an init and all below it, and returns what was spent so far.
//
// There are two ways to know. What a process was waited for is in the account of who
// did, orphans in the init's; but nobody has it if its parent ignores SIGCHLD. What
// was seen of a process remains; but what it did since, or one that was never seen,
// is missing. The larger one counts.
func (s *spent) add(pids []int) time.Duration {
	var waited, seen time.Duration
	now := make(map[process]time.Duration, len(pids))
	for _, pid := range pids {
		own, children, start := cpuOf(pid)
		now[process{pid, start}] = own
		waited += own + children
		seen += own
	}
	for p, t := range s.last {
		if _, ok := now[p]; !ok {
			s.gone += t
		}
	}
	s.last = now
	return max(waited, seen+s.gone)
}

// cpuOf is the processor time of a process, and that of its children that it
// waited for: proc_pid_stat(5), fields 14 to 17, in clock ticks of 10 ms. Field 22 is
// when it started.
func cpuOf(pid int) (own, children time.Duration, start string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return 0, 0, ""
	}
	ticks := func(n int) time.Duration {
		v, _ := strconv.ParseInt(f[n], 10, 64)
		return time.Duration(v) * 10 * time.Millisecond
	}
	return ticks(11) + ticks(12), ticks(13) + ticks(14), f[19]
}
