package executortest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// Reasons why nothing is recorded of an attempt.
const (
	byFilter = "the system call filter answers in the kernel; no event reaches us"
	byKernel = "the kernel refuses by itself; no event reaches us"
	byState  = "it is a state that holds, and nothing is attempted"
	byAbsent = "there is nothing by that name inside; the kernel says so by itself"
	byClient = "the executor refuses before anything runs; whoever asked is told why"
)

// procCases are about descriptors and the identity of processes.
var procCases = []Case{
	{
		Name: "proc/capabilities", Row: "CVE-2022-29162; nomad#5783, CVE-2019-12618",
		Invisible: byState,
		Inside: func(in *Inside) {
			for _, want := range []string{
				"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
				"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
				"NoNewPrivs:\t1", "Seccomp:\t2", "SigBlk:\t0000000000000000",
				"Uid:\t1000\t1000\t1000\t1000", "Gid:\t1000\t1000\t1000\t1000",
			} {
				name, _, _ := strings.Cut(want, ":")
				in.Check("read "+name, name+":"+statusLine(in, name), want)
			}
			in.Attempt("raise an ambient capability", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0), unix.EPERM)
			in.Attempt("unset no_new_privs", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), unix.EINVAL)
			in.Attempt("set securebits", unix.Prctl(unix.PR_SET_SECUREBITS, 0x2f, 0, 0, 0), unix.EPERM)
			// _LINUX_CAPABILITY_VERSION_3, this thread, everything.
			head, all := []byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0}, make([]byte, 24)
			for i := range all {
				all[i] = 0xff
			}
			_, errno := raw.Call(unix.SYS_CAPSET, head, all)
			in.Attempt("set every capability", errno, unix.EPERM)
		},
	},
	{
		Name: "proc/users", Row: "CVE-2016-3697",
		Invisible: byKernel,
		// The files of users inside say that everybody is root.
		Outside: func(t *Trial) {
			spec := t.Spec()
			for _, f := range []string{"passwd", "group"} {
				spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/etc/" + f,
					Data: []byte("1000:x:0:0:1000:/:/bin/sh\n0:x:0:0::/:/bin/sh\napp:x:0:0::/:/bin/sh\n")})
			}
			if _, err := t.Executor.Start(context.Background(), spec); err == nil {
				// An executor may allow it; it must change nothing.
				t.Run(spec)
			}
			t.Run(t.Spec())
		},
		Inside: func(in *Inside) {
			in.Check("user", fmt.Sprint(os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid()), "1000 1000 1000 1000")
			for what, err := range map[string]error{
				"setuid(0)": raw0(unix.SYS_SETUID, 0), "setgid(0)": raw0(unix.SYS_SETGID, 0),
				"setresuid(0, 0, 0)": raw0(unix.SYS_SETRESUID, 0, 0, 0), "setreuid(-1, 0)": raw0(unix.SYS_SETREUID, -1, 0),
				"setuid(4294967295)": raw0(unix.SYS_SETUID, 0xffffffff), "setresgid(0, 0, 0)": raw0(unix.SYS_SETRESGID, 0, 0, 0),
			} {
				// EINVAL says that there is no such user inside.
				in.Attempt(what, err, unix.EPERM, unix.EINVAL)
			}
			_, errno := raw.Call(unix.SYS_SETGROUPS, 1, []byte{0, 0, 0, 0})
			in.Attempt("setgroups(0)", errno, unix.EPERM)
			raw.Call(unix.SYS_SETFSUID, 0)
			in.Check("user for files after setfsuid(0)", strings.Fields(statusLine(in, "Uid"))[3], 1000)
		},
	},
	{
		Name: "proc/descriptors", Row: "CVE-2024-21626",
		Invisible: byState,
		Outside: func(t *Trial) {
			t.Run(t.Spec("0 1 2"))
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			spec := t.Spec("0 1 2 3 4")
			spec.Extra = []*os.File{w, r}
			t.Run(spec)
			s := t.Start(t.Spec("wait"))
			s.Also("0 1 2")
		},
		Inside: func(in *Inside) {
			if in.Part() == "wait" {
				time.Sleep(time.Hour)
			}
			var open []string
			for fd := range 1024 {
				var st unix.Stat_t
				if unix.Fstat(fd, &st) != nil {
					continue
				}
				if link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); strings.HasPrefix(link, "anon_inode:") {
					continue // the Go runtime's own
				}
				open = append(open, strconv.Itoa(fd))
			}
			in.Check("open descriptors of 0 to 1023", strings.Join(open, " "), in.Part())
		},
	},
	{
		Name: "proc/working-directory", Row: "CVE-2024-21626",
		Invisible: byClient,
		// What the set-up has open is no place to begin at.
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"f": "x"})
			s := t.Start(func() *executor.Spec { spec := t.Spec("wait"); Share(spec, dir, "/d", true); return spec }())
			other := t.Dir(nil)
			for _, fd := range slices.Concat(numbers(0, 40), numbers(250, 256)) {
				name := fmt.Sprintf("/proc/self/fd/%d", fd)
				spec := t.Spec()
				spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/f", Data: []byte("x")})
				Share(spec, other, "/d", true)
				spec.Command.Dir = name
				p, err := t.Executor.Start(context.Background(), spec)
				if err == nil {
					p.Kill(executor.CausePolicy, "")
					<-p.Done()
				}
				t.Check("begin at "+name, err != nil, true)
				_, err = s.Exec(context.Background(), &executor.Command{Args: []string{probePath}, Dir: name})
				t.Check("exec at "+name, err != nil, true)
			}
		},
		Inside: func(in *Inside) {
			if in.Part() == "wait" {
				time.Sleep(time.Hour)
			}
		},
	},
	{
		Name: "proc/exe", Row: "CVE-2019-5736",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			// Only the mount keeps it from being written: the mode lets everybody.
			b, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			probe := filepath.Join(t.TempDir(), "probe")
			if err := os.WriteFile(probe, b, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(probe, 0o777); err != nil {
				t.Fatal(err)
			}
			spec := t.Spec()
			spec.Mounts[1].Source = probe
			t.Run(spec)
			after, err := os.ReadFile(probe)
			t.Check("the program afterwards", err == nil && string(after) == string(b), true)
		},
		Inside: func(in *Inside) {
			for _, name := range []string{"/proc/self/exe", "/proc/thread-self/exe", probePath} {
				for what, flags := range map[string]int{"write": os.O_WRONLY, "append": os.O_APPEND | os.O_WRONLY, "truncate": os.O_TRUNC | os.O_WRONLY} {
					_, err := os.OpenFile(name, flags, 0)
					in.Attempt(what+" "+name, err, unix.ETXTBSY, unix.EROFS)
				}
			}
			fd, err := unix.Open("/proc/self/exe", unix.O_PATH, 0)
			in.Must(err)
			_, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
			in.Attempt("open it again for writing through a descriptor", err, unix.ETXTBSY, unix.EROFS)
			in.Attempt("remove it", os.Remove(probePath), unix.EBUSY, unix.EROFS, unix.EACCES)
		},
	},
	{
		Name: "proc/init", Row: "CVE-2019-5736; CVE-2016-8659",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			kind := "two"
			if t.SingleID() {
				kind = "one"
			}
			t.Run(t.Spec(kind))
		},
		Inside: func(in *Inside) {
			single := in.Part() == "one"
			for _, name := range []string{"mem", "environ", "maps", "root", "cwd", "exe", "fd", "fdinfo", "ns/user", "ns/mnt", "cmdline", "status", "attr/current", "oom_score_adj", "limits", "syscall", "stack", "task/1/mem"} {
				_, err := os.Open("/proc/1/" + name)
				// hidepid: not even that it is there.
				in.Attempt("open /proc/1/"+name, err, unix.ENOENT)
			}
			in.Attempt("attach", unix.PtraceAttach(1), unix.EPERM)
			in.Attempt("seize", unix.PtraceSeize(1), unix.EPERM)
			buf := make([]byte, 8)
			local, remote := []unix.Iovec{{Base: &buf[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}
			_, err := unix.ProcessVMReadv(1, local, remote, 0)
			in.Attempt("process_vm_readv", err, unix.EPERM)
			_, err = unix.ProcessVMWritev(1, local, remote, 0)
			in.Attempt("process_vm_writev", err, unix.EPERM)
			pidfd, err := unix.PidfdOpen(1, 0)
			in.Must(err)
			for fd := range 4 {
				_, err = unix.PidfdGetfd(pidfd, fd, 0)
				in.Attempt(fmt.Sprintf("take its descriptor %d", fd), err, unix.EPERM)
			}
			in.Attempt("join its namespaces", unix.Setns(pidfd, unix.CLONE_NEWUSER), unix.EPERM)
			in.Attempt("process_madvise", raw0(unix.SYS_PROCESS_MADVISE, pidfd, 0, 0, 21, 0), unix.EPERM)
			in.Attempt("kcmp", raw0(unix.SYS_KCMP, os.Getpid(), 1, 0, 0, 0), unix.EPERM)
			in.Attempt("move_pages", raw0(unix.SYS_MOVE_PAGES, 1, 0, 0, 0, 0, 0), unix.EPERM)
			in.Attempt("migrate_pages", raw0(unix.SYS_MIGRATE_PAGES, 1, 0, 0, 0), unix.EPERM)
			in.Attempt("limit its processor time", unix.Prlimit(1, unix.RLIMIT_CPU, &unix.Rlimit{Cur: 0, Max: 0}, nil), unix.EPERM)
			in.Attempt("read its limits", unix.Prlimit(1, unix.RLIMIT_CPU, nil, new(unix.Rlimit)), unix.EPERM)
			// With one id for both the kernel takes the signal, and the init ignores it.
			// Where Landlock keeps signals within a domain it does not come to that.
			want := []syscall.Errno{unix.EPERM}
			if single {
				want = append(want, 0)
			}
			for sig := syscall.Signal(1); sig <= 64; sig++ {
				if sig == unix.SIGCONT {
					continue // may be sent within a session, which this is not
				}
				in.Attempt(fmt.Sprintf("signal %d", sig), syscall.Kill(1, sig), want...)
			}
			in.Attempt("signal through a pidfd", unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0), want...)
			in.Attempt("signal its thread", unix.Tgkill(1, 1, unix.SIGKILL), want...)
			info := make([]byte, 128)
			info[0], info[8] = byte(unix.SIGKILL), 0xff // SI_QUEUE
			in.Attempt("queue a signal", raw0(unix.SYS_RT_SIGQUEUEINFO, 1, int(unix.SIGKILL), info), want...)
			time.Sleep(10 * time.Millisecond)
			in.Attempt("it lives", syscall.Kill(1, 0), want...)
		},
	},
	{
		Name: "proc/exec-helper", Row: "CVE-2016-9962; CVE-2016-8659",
		Invisible: byKernel,
		// A racer inside looks at every process that an exec makes, as long as it is
		// not yet the program that was asked for.
		Outside: func(t *Trial) {
			s := t.Start(t.Spec("race"))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for range 40 {
				if _, err := s.Exec(ctx, &executor.Command{Args: []string{"/usr/bin/true"}}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Exec(ctx, &executor.Command{Args: []string{"/usr/bin/touch", "/tmp/done"}}); err != nil {
				t.Fatal(err)
			}
			r := s.Wait()
			t.Check("the end of the racer", r.Cause == executor.CauseExit && r.Code == 0, true)
		},
		Inside: raceExec,
	},
	{
		Name: "proc/environment", Row: "CVE-2021-21261",
		Invisible: byState,
		Outside: func(t *Trial) {
			for _, name := range []string{"LD_PRELOAD_SECRET", "LD_LIBRARY_PATH", "NODE_OPTIONS", "GIT_DIR", "PYTHONPATH", "BASH_ENV", "SECRET"} {
				t.Setenv(name, "/nowhere")
			}
			spec := t.Spec()
			spec.Command.Env = []string{"A=1"}
			t.Run(spec)
		},
		Inside: func(in *Inside) {
			in.Check("environment", strings.Join(os.Environ(), " "), "A=1")
			b, err := os.ReadFile("/proc/self/environ")
			in.Must(err)
			in.Check("environment in memory", strings.Trim(string(b), "\x00"), "A=1")
		},
	},
	{
		Name: "proc/raw-descriptors", Row: "CVE-2024-34346, CVE-2024-27933",
		Invisible: byAbsent,
		Inside: func(in *Inside) {
			for _, name := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/loop-control", "/dev/fuse", "/dev/kvm", "/dev/userfaultfd", "/dev/vhost-vsock", "/dev/net/tun", "/dev/tty", "/dev/tty1", "/dev/console", "/dev/ptmx", "/dev/pts/ptmx", "/dev/mapper/control", "/dev/uinput", "/dev/rtc0", "/dev/watchdog"} {
				_, err := os.OpenFile(name, os.O_RDWR, 0)
				in.Attempt("open "+name, err, unix.ENOENT)
			}
			for fd := 16; fd < 256; fd += 16 {
				_, err := os.Open(fmt.Sprintf("/dev/fd/%d", fd))
				in.Attempt(fmt.Sprintf("open /dev/fd/%d", fd), err, unix.ENOENT)
			}
			// Of whom a page is in memory, and where, is nobody's business.
			f, err := os.Open("/proc/self/pagemap")
			in.Must(err)
			b := []byte("here")
			entry := make([]byte, 8)
			_, err = f.ReadAt(entry, int64(raw.Address(b)/uintptr(os.Getpagesize())*8))
			in.Must(err)
			in.Check("physical address of a page", slices.Equal(entry[:6], make([]byte, 6)), true)
		},
	},
}

// raw0 makes a system call whose result does not matter.
func raw0(nr uintptr, args ...any) error {
	if _, errno := raw.Call(nr, args...); errno != 0 {
		return errno
	}
	return nil
}

// statusLine is a line of /proc/self/status.
func statusLine(in *Inside, name string) string {
	b, err := os.ReadFile("/proc/self/status")
	in.Must(err)
	_, got, _ := strings.Cut(string(b), "\n"+name+":")
	got, _, _ = strings.Cut(got, "\n")
	return got
}

// numbers are those from first to before last.
func numbers(first, last int) (all []int) {
	for n := first; n < last; n++ {
		all = append(all, n)
	}
	return all
}

// raceExec looks at processes that appear until /tmp/done does. By number, for they may
// be hidden in /proc.
func raceExec(in *Inside) {
	met, had := 0, map[string]bool{}
	for {
		if _, err := os.Stat("/tmp/done"); err == nil {
			break
		}
		for pid := os.Getpid() + 1; pid < os.Getpid()+120; pid++ {
			if syscall.Kill(pid, 0) == syscall.ESRCH {
				continue
			}
			if n, _ := strconv.Atoi(statusOf(pid, "Tgid")); n == os.Getpid() {
				continue // a thread of ours
			}
			met++
			dir := fmt.Sprintf("/proc/%d/", pid)
			exe, err := os.Readlink(dir + "exe")
			if err != nil || strings.HasPrefix(exe, "/usr/") {
				continue // out of reach, or already the program
			}
			// It is another program: what can be had of it?
			had["link to "+exe] = true
			if mem, err := os.OpenFile(dir+"mem", os.O_RDWR, 0); err == nil {
				mem.Close()
				had["memory of "+exe] = true
			}
			fds, _ := os.ReadDir(dir + "fd")
			for _, fd := range fds {
				if link, err := os.Readlink(dir + "fd/" + fd.Name()); err == nil {
					had["descriptor "+link+" of "+exe] = true
				}
			}
		}
	}
	in.Check("met a process of an exec", met > 0, true)
	in.Check("had of it before it was the program", strings.Join(slices.Sorted(maps.Keys(had)), ", "), "")
}

// statusOf is a line of the status of process pid, "" if that is out of reach.
func statusOf(pid int, name string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, got, _ := strings.Cut(string(b), "\n"+name+":\t")
	got, _, _ = strings.Cut(got, "\n")
	return got
}
