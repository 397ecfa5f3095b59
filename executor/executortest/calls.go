package executortest

import (
	_ "embed"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// answers lists what each system call is answered, as a person would review it. It is
// written apart from the filter, so that two have to agree.
//
//go:embed testdata/calls_amd64.txt
var answers string

// lastCall is the highest number that is tried: kernels of today end below 480.
const lastCall = 600

// callCases are about the numbers of system calls themselves.
var callCases = []Case{
	{
		Name: "kernel/every-call", Row: "CVE-2021-41133",
		Invisible: byFilter,
		Outside: func(t *Trial) {
			if runtime.GOARCH != "amd64" {
				t.Skip("needs amd64: the list of answers is for its numbers")
			}
			accounted := "accounted"
			for _, p := range t.Executor.Protections() {
				if p.Name == "cgroup.memory" && p.Status != executor.Pass {
					accounted = "unaccounted"
				}
			}
			spec := t.Spec(accounted)
			spec.Limits.Wall = patience
			t.Run(spec)
		},
		Inside: everyCall,
	},
	{
		Name: "kernel/x32-numbers", Row: "i386, x32 and other ABIs",
		Invisible: "a child dies of it, whose end is the program's to see; of a program itself see kernel/x32",
		Outside: func(t *Trial) {
			if raw.X32 == 0 {
				t.Skip("needs amd64: no other architecture has this ABI")
			}
			t.Run(t.Spec())
		},
		Inside: func(in *Inside) {
			for _, nr := range []uintptr{unix.SYS_READ, unix.SYS_GETPID, unix.SYS_IOCTL, unix.SYS_EXECVE, unix.SYS_PTRACE, unix.SYS_MOUNT, 512, 520, 521, 527, 534, 536, 540, 545, 546, 547} {
				o, err := raw.InChild(time.Second, raw.X32|nr, [6]uintptr{})
				in.Must(err)
				in.Check(fmt.Sprintf("x32 call %d", nr), ending(o), "killed by SIGSYS")
			}
		},
	},
	{
		Name: "kernel/x32", Row: "i386, x32 and other ABIs",
		Ends: executor.CauseSeccomp,
		Outside: func(t *Trial) {
			if raw.X32 == 0 {
				t.Skip("needs amd64: no other architecture has this ABI")
			}
			r := t.Run(t.Spec())
			t.Check("signal", unix.SignalName(unix.Signal(r.Signal)), "SIGSYS")
		},
		Inside: func(*Inside) { raw.Call(raw.X32 | unix.SYS_GETPID) },
	},
	{
		Name: "kernel/i386", Row: "i386, x32 and other ABIs",
		Ends: executor.CauseSeccomp,
		Outside: func(t *Trial) {
			if n, ok := raw.Int80(20, 0, 0, 0); !ok || int(n) != os.Getpid() { // getpid
				t.Skip("needs ia32: no system calls of i386 on this host")
			}
			r := t.Run(t.Spec())
			t.Check("signal", unix.SignalName(unix.Signal(r.Signal)), "SIGSYS")
		},
		Inside: func(*Inside) { raw.Int80(20, 0, 0, 0) },
	},
}

// everyCall tries every number, with nothing for arguments and with everything.
func everyCall(in *Inside) {
	listed := map[uintptr][2]string{}
	for line := range strings.Lines(answers) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		if nr, err := strconv.Atoi(f[0]); err == nil {
			listed[uintptr(nr)] = [2]string{f[1], f[2]}
		}
	}
	in.Check("the list is long", len(listed) > 350, true)
	for nr := uintptr(0); nr <= lastCall; nr++ {
		row, ok := listed[nr]
		if !ok {
			row = [2]string{"without a name", "absent"}
		}
		answer := row[1]
		if answer == "hidden" {
			answer = map[string]string{"accounted": "allowed", "unaccounted": "absent"}[in.Part()]
		}
		for what, arg := range map[string]uintptr{"zeros": 0, "ones": ^uintptr(0)} {
			what := fmt.Sprintf("call %d (%s) with %s", nr, row[0], what)
			patience := 10 * time.Second // what the filter answers comes at once, but for a slow host
			if answer == "allowed" || answer == "trampoline" {
				patience = 100 * time.Millisecond // what is let through may wait for ever
			}
			o, err := raw.InChild(patience, nr, [6]uintptr{arg, arg, arg, arg, arg, arg})
			in.Must(err)
			switch answer {
			case "refused":
				in.Check(what, ending(o), "EPERM")
			case "absent":
				in.Check(what, ending(o), "ENOSYS")
			case "trampoline":
				in.Check(what+" does nothing", o.Returned && o.Errno == 0, false)
			default: // what it does is the kernel's affair, as long as there is a way
				in.Check(what+" may be made", ending(o) != "killed by SIGSYS", true)
			}
		}
	}
}

// ending puts an outcome into one word.
func ending(o raw.Outcome) string {
	switch {
	case o.Returned:
		return ended(o.Errno)
	case o.Status.Signaled():
		return "killed by " + unix.SignalName(o.Status.Signal())
	}
	return "ended"
}
