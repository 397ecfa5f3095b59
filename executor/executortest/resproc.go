package executortest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// processCases multiply, hide, stop, and do not listen.
var processCases = []Case{
	{
		Name: "res/fork-bomb", Row: "fork bomb", Ends: executor.CauseWall,
		Outside: func(t *Trial) {
			bomb{
				ends: executor.CauseWall, key: "limits.wall", limit: "1.5s",
				change: func(s *executor.Spec) {
					s.Limits.Pids, s.Limits.Wall = 32, 1500*time.Millisecond
					t.python(s, `
while True:
    try:
        os.fork()
    except OSError:
        pass
`)
				},
				then: func(t *Trial, r Result) {
					// Those that the cgroup holds, and the init with them.
					t.Check("at most 33 processes at a time", r.Usage.Pids <= 33, true)
				},
			}.outside(t)
		},
	},
	{
		Name: "res/fork-refused", Row: "fork bomb", Ends: executor.CausePids,
		Outside: bomb{
			ends: executor.CausePids, key: "limits.pids", limit: "24", watched: "cgroup.pids", unwatched: executor.CauseExit,
			code: 4, change: func(s *executor.Spec) { s.Limits.Pids = 24 },
			then: func(t *Trial, r Result) {
				t.Check("what fork(2) says", strings.Contains(r.Stdout, "resource temporarily unavailable"), true)
			},
		}.outside,
		Inside: func(in *Inside) {
			if in.Part() == "child" {
				time.Sleep(time.Hour)
			}
			for range 64 {
				if err := in.Again("child").Start(); err != nil {
					in.Attempt("one more process", err, syscall.EAGAIN)
					fmt.Println(err)
					os.Exit(4)
				}
			}
			in.Check("64 processes", "had", "refused")
		},
	},
	{
		Name: "res/thread-bomb", Row: "thread bomb", Invisible: "clone(2) answers EAGAIN, and the program goes on",
		Outside: func(t *Trial) {
			bomb{ends: executor.CauseExit, change: func(s *executor.Spec) {
				s.Limits.Pids = 24
				t.python(s, `
import threading
started = 0
try:
    while started < 100:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        started += 1
except RuntimeError as e:
    check("one more thread", e, "can't start new thread")
check("threads of 24", started, 23)
sys.stdout.flush()
os._exit(0)
`)
			}}.outside(t)
		},
	},
	{
		Name: "res/zombies", Row: "zombie flood", Invisible: "fork(2) answers EAGAIN, and the program goes on",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.Pids = 32 }}.outside,
		Inside: func(in *Inside) {
			switch in.Part() {
			case "leaf":
				return
			case "parent": // of one that it does not wait for, and that outlives it
				in.Must(in.Again("leaf").Start())
				return
			}
			// Orphans are the init's to reap, or there would soon be no room.
			for range 48 {
				if err := in.Again("parent").Run(); err != nil {
					in.Attempt("one more that leaves an orphan", err, 0)
					return
				}
			}
			in.Attempt("more orphans that ended than there is room for", nil, 0)
			// One's own zombies count until one waits for them.
			var err error
			for range 64 {
				cmd := exec.Command("/usr/bin/true")
				if err = cmd.Start(); err != nil {
					break
				}
			}
			in.Attempt("one more beside zombies of its own", err, syscall.EAGAIN)
		},
	},
	{
		Name: "res/orphans", Row: "orphans after kill: double fork, setsid, new process group", Invisible: "the end of the program is recorded, its orphans are not",
		Outside: bomb{ends: executor.CauseExit}.outside, // and what is left is looked for after all bombs
		Inside: func(in *Inside) {
			if in.Part() == "sleep" {
				signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
				time.Sleep(time.Hour)
			}
			if in.Part() == "middle" {
				in.Must(in.Again("sleep").Start())
				return
			}
			for _, attr := range []*syscall.SysProcAttr{nil, {Setsid: true}, {Setpgid: true}} {
				for _, part := range []string{"sleep", "middle"} {
					cmd := in.Again(part)
					cmd.SysProcAttr = attr
					in.Must(cmd.Start())
				}
			}
			time.Sleep(100 * time.Millisecond)
			in.Attempt("leave six processes behind", nil, 0)
		},
	},
	{
		Name: "res/stopped", Row: "freeze or stop itself", Ends: executor.CauseWall,
		Outside: func(t *Trial) {
			t.quietly()
			n := t.neighbour()
			for _, how := range []string{"itself", "group"} {
				spec := t.Spec(how)
				spec.Limits.Wall = 700 * time.Millisecond
				p := t.Start(spec)
				r := p.Wait()
				t.Check("the wall limit of one that stopped "+how, r.Cause, executor.CauseWall)

				spec = t.Spec(how)
				out, stdout, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				spec.Command.Stdout = stdout
				p = t.Start(spec)
				stdout.Close()
				bufio.NewReader(out).ReadString('\n')
				out.Close()
				time.Sleep(20 * time.Millisecond) // for it to have stopped
				t.Attempt("ask who stopped "+how+" to end", p.Signal(syscall.SIGTERM), 0)
				n.answers()
				p.Kill(executor.CausePolicy, "it does not answer")
				r = p.Wait()
				t.Check("the end of one that stopped "+how, r.Cause, executor.CausePolicy)
			}
		},
		Inside: func(in *Inside) {
			pid := os.Getpid()
			if in.Part() == "group" {
				pid = 0
				in.Must(in.Again("child").Start())
			}
			if in.Part() == "child" {
				time.Sleep(time.Hour)
			}
			fmt.Println("about to stop")
			syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(time.Hour)
		},
	},
	{
		Name: "res/deaf", Row: "ignoring SIGTERM", Ends: executor.CausePolicy,
		Outside: func(t *Trial) {
			out, stdout, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			spec := t.Spec()
			spec.Command.Stdout = stdout
			p := t.Start(spec)
			stdout.Close()
			lines := bufio.NewReader(out)
			lines.ReadString('\n')
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
				t.Attempt(fmt.Sprint("signal ", sig), p.Signal(sig), 0)
				line, _ := lines.ReadString('\n')
				t.Check(fmt.Sprint("what it says to ", sig), strings.TrimSpace(line), "heard "+sig.String())
			}
			p.Kill(executor.CausePolicy, "enough")
			t.Check("the end of the program", p.Wait().Cause, executor.CausePolicy)
		},
		Inside: func(*Inside) {
			c := make(chan os.Signal, 8)
			signal.Notify(c)
			fmt.Println("listening")
			for s := range c {
				if s != syscall.SIGURG { // the Go runtime's own
					fmt.Println("heard", s)
				}
			}
		},
	},
	{
		Name: "res/processor", Row: "CPU accounting", Ends: executor.CauseCPU,
		Outside: bomb{
			ends: executor.CauseCPU, key: "limits.cpu", limit: "300ms",
			change: func(s *executor.Spec) { s.Limits.CPU = 300 * time.Millisecond },
		}.outside,
		Inside: func(*Inside) {
			for range 4 {
				go func() {
					for { //nolint:staticcheck // this is what it is for
					}
				}()
			}
			select {}
		},
	},
	{
		Name: "res/short-processes", Row: "CPU accounting with many short processes", Ends: executor.CauseCPU,
		Outside: bomb{
			ends: executor.CauseCPU, key: "limits.cpu", limit: "500ms",
			change: func(s *executor.Spec) {
				s.Command.Args = []string{"sh", "-c", "while :; do /bin/true; done"}
				s.Limits.CPU = 500 * time.Millisecond
			},
		}.outside,
	},
	{
		Name: "res/timers", Row: "timers", Invisible: "timer_create(2) answers EAGAIN by itself",
		Outside: func(t *Trial) {
			bomb{ends: executor.CauseExit, change: func(s *executor.Spec) {
				t.python(s, `
made = 0
timer = ctypes.c_void_p()
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_long), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48)]
while made < 200000:
    r, e = call(libc.timer_create, 1, ctypes.byref(Event(0, signal.SIGUSR1, 0)), ctypes.byref(timer))
    if r == -1:
        break
    made += 1
attempt("timers without end", e, "EAGAIN")
check("at most 256 of them", made <= 256, True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
class Value(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p)]
sent = 0
while sent < 200000:
    r, e = call(libc.sigqueue, os.getpid(), int(signal.SIGRTMIN), Value(None))
    if r == -1:
        break
    sent += 1
attempt("signals that wait, without end", e, "EAGAIN")
check("at most 256 of these too", sent <= 256, True)
`)
			}}.outside(t)
		},
	},
	{
		Name: "res/priority", Row: "taking the processor from others", Invisible: "the kernel refuses by itself",
		Inside: func(in *Inside) {
			in.Attempt("nice -20", unix.Setpriority(unix.PRIO_PROCESS, 0, -20), syscall.EACCES)
			err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
			in.Attempt("real-time scheduling", err, syscall.EPERM)
			err = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_DEADLINE, Runtime: 1e7, Deadline: 2e7, Period: 2e7}, 0)
			in.Attempt("deadline scheduling", err, syscall.EPERM)
			in.Attempt("locked memory of 1 MiB", unix.Mlock(make([]byte, 1<<20)), syscall.ENOMEM)
			for resource, name := range map[int]string{
				unix.RLIMIT_NOFILE: "open files", unix.RLIMIT_FSIZE: "file size", unix.RLIMIT_NPROC: "processes",
				unix.RLIMIT_MEMLOCK: "locked memory", unix.RLIMIT_MSGQUEUE: "message queues", unix.RLIMIT_SIGPENDING: "timers and signals",
				unix.RLIMIT_NICE: "nice", unix.RLIMIT_RTPRIO: "real-time priority",
			} {
				var l unix.Rlimit
				in.Must(unix.Prlimit(0, resource, nil, &l))
				l.Max++
				in.Attempt("raise the limit of "+name, unix.Prlimit(0, resource, &l, nil), syscall.EPERM)
			}
		},
	},
}
