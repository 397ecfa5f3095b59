package spawner

import (
	"fmt"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/internal/linux"
)

// judge says how an environment ended: cause is why we killed it, nil if we did
// not; report and err are the init's last word.
func (i *instance) judge(cause *executor.Exit, report linux.Report, err error, stat cgroup.Stat) executor.Exit {
	l := &i.spec.Limits
	usage := i.used(stat)
	oom := i.outOfMemory()
	if err == nil {
		usage.CPU = max(usage.CPU, report.CPU()-i.before) // no accounting by cgroup
	}
	if err == nil && usage.MemoryBytes < report.MaxRSS() {
		usage.MemoryBytes = report.MaxRSS()
	}
	var exit executor.Exit
	switch {
	case cause != nil:
		exit = *cause
		exit.Code, exit.Signal = 128+int(syscall.SIGKILL), int(syscall.SIGKILL)
	case err != nil && stat.OOMKills > 0:
		exit = oom
		exit.Code, exit.Signal = 128+int(syscall.SIGKILL), int(syscall.SIGKILL)
	case err != nil:
		exit = executor.Exit{Cause: executor.CauseInternal, Detail: "its init was killed from outside", Code: 128 + int(syscall.SIGKILL), Signal: int(syscall.SIGKILL)}
	default:
		exit = byStatus(report.Status(), l)
		failed := exit.Cause == executor.CauseSignal || exit.Cause == executor.CauseExit && exit.Code != 0
		killed := exit.Signal == int(syscall.SIGKILL) || exit.Cause == executor.CauseExit && exit.Code != 0
		full := (*executor.Exit)(nil)
		if failed {
			full = i.fullVolume()
		}
		switch {
		case stat.OOMKills > 0 && !killed:
			// It lost a part of itself and ended before we could end it: whether it
			// calls that a success is not its to say.
			exit = oom
			exit.Code, exit.Signal = 128+int(syscall.SIGKILL), int(syscall.SIGKILL)
		case killed && (stat.OOMKills > 0 || l.MemoryBytes > 0 && report.MaxRSS() > l.MemoryBytes):
			// The kernel's word, or, where only each process is bounded, one of
			// them that was beyond the limit of all.
			oom.Code, oom.Signal = exit.Code, exit.Signal
			exit = oom
		case stat.PidsRefused > 0 && exit.Cause == executor.CauseExit && exit.Code != 0:
			exit.Cause, exit.Limit, exit.Key = executor.CausePids, fmt.Sprint(l.Pids), "limits.pids"
			exit.Detail = fmt.Sprintf("it failed after it was refused more than %d processes and threads", l.Pids)
		case full != nil:
			full.Code, full.Signal = exit.Code, exit.Signal
			exit = *full
		}
	}
	exit.Usage = usage
	return exit
}

// outOfMemory is the end by the limit of memory. An environment without one of its
// own shares that of the application.
func (i *instance) outOfMemory() executor.Exit {
	if l := i.spec.Limits.MemoryBytes; l > 0 {
		return executor.Exit{Cause: executor.CauseOOM, Limit: bytesText(l), Key: "limits.memory", Detail: "it used more memory than " + bytesText(l)}
	}
	exit := executor.Exit{Cause: executor.CauseOOM, Key: "budget.memory", Detail: "memory ran out"}
	if b := i.server.hello.Budget.MemoryBytes; b > 0 {
		exit.Limit = bytesText(b)
		exit.Detail = "its application used more memory than " + exit.Limit
	}
	return exit
}

// byStatus reads a wait status.
func byStatus(status syscall.WaitStatus, l *executor.Limits) executor.Exit {
	if status.Exited() {
		return executor.Exit{Cause: executor.CauseExit, Code: status.ExitStatus()}
	}
	sig := status.Signal()
	exit := executor.Exit{Cause: limitSignal(sig), Code: 128 + int(sig), Signal: int(sig)}
	switch exit.Cause {
	case executor.CauseSeccomp:
		exit.Detail = "it made a system call of a foreign ABI"
	case executor.CauseDisk:
		exit.Limit, exit.Key = bytesText(l.FileBytes), "limits.file_size"
		exit.Detail = "it wrote a file larger than " + exit.Limit
	case executor.CauseCPU:
		exit.Limit, exit.Key = l.CPU.String(), "limits.cpu"
		exit.Detail = "it used more processor time than " + exit.Limit
	default:
		exit.Detail = "it was ended by signal " + sig.String()
	}
	return exit
}

// bytesText writes a number of bytes with the largest unit that keeps it whole.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	u := 0
	for n >= 1024 && n%1024 == 0 && u < len(units)-1 {
		n /= 1024
		u++
	}
	return fmt.Sprintf("%d%s", n, units[u])
}

// stat reads what the group of i has used; nothing on a host without.
func (i *instance) stat() cgroup.Stat {
	if i.group == nil {
		return cgroup.Stat{}
	}
	return i.group.Stat()
}

// usage is what the tree has used up to now.
func (i *instance) usage() executor.Usage {
	i.mu.Lock()
	ended, final := i.ended, i.final
	i.mu.Unlock()
	if ended {
		return final
	}
	return i.used(i.stat())
}

// used puts together what the group and the sampler have seen.
func (i *instance) used(st cgroup.Stat) executor.Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	return executor.Usage{
		Wall:        time.Since(i.began),
		CPU:         max(max(i.seen.CPU, st.CPU)-i.before, 0),
		MemoryBytes: max(i.seen.MemoryBytes, st.MemoryPeak),
		Pids:        max(i.seen.Pids, st.PidsPeak-i.ours),
	}
}
