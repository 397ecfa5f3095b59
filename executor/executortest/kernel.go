package executortest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// kernelCases are about the kernel's surface: what a program could reach in it.
var kernelCases = []Case{
	{
		Name: "kernel/namespaces", Row: "user namespace with nftables, qdisc, xfrm",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			for name, flag := range map[string]int{
				"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "network": unix.CLONE_NEWNET,
				"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
			} {
				in.Attempt("unshare "+name, unix.Unshare(flag), unix.EPERM)
				if flag != unix.CLONE_NEWTIME { // a bit that clone uses for the signal
					in.Attempt("clone "+name, raw0(unix.SYS_CLONE, flag|int(unix.SIGCHLD)), unix.EPERM)
					in.Attempt("clone user and "+name+" with high bits", raw0(unix.SYS_CLONE, uintptr(1<<40|unix.CLONE_NEWUSER|flag)|uintptr(unix.SIGCHLD)), unix.EPERM)
				}
				args := make([]byte, 88)
				args[3], args[2], args[0] = byte(flag>>24), byte(flag>>16), byte(flag)
				in.Attempt("clone3 "+name, raw0(unix.SYS_CLONE3, args, len(args)), unix.ENOSYS)
			}
			for _, ns := range []string{"user", "mnt", "net", "pid"} {
				f, err := os.Open("/proc/self/ns/" + ns)
				in.Must(err)
				in.Attempt("setns to our own "+ns, unix.Setns(int(f.Fd()), 0), unix.EPERM)
				// NS_GET_PARENT and NS_GET_USERNS: those outside are not handed out.
				for name, req := range map[string]uint{"parent": 0xb702, "owner": 0xb701} {
					_, err := unix.IoctlRetInt(int(f.Fd()), req)
					if ns == "user" && name == "owner" || ns != "user" && ns != "pid" && name == "parent" {
						continue // of which there is no such thing
					}
					if name == "owner" && (ns == "mnt" || ns == "pid") {
						continue // our own user namespace
					}
					in.Attempt(name+" of our "+ns+" namespace", err, unix.EPERM)
				}
			}
			// Project ids anybody may map; to give a file another takes the host's namespace.
			os.WriteFile("/proc/self/projid_map", []byte("0 0 100000\n"), 0)
			file, err := os.Create("/tmp/f")
			in.Must(err)
			project := make([]byte, 28) // FS_IOC_FSSETXATTR with a struct fsxattr; fsx_projid at 12
			project[12] = 7
			in.Attempt("give a file to another project", raw0(unix.SYS_IOCTL, int(file.Fd()), 0x401c5820, project),
				unix.EINVAL, unix.EOPNOTSUPP, unix.ENOTTY, unix.EPERM)
			for _, f := range []string{"uid_map", "gid_map", "setgroups"} {
				err := os.WriteFile("/proc/self/"+f, []byte("0 0 1\n"), 0)
				in.Attempt("write "+f, err, unix.EPERM, unix.EACCES, unix.EINVAL)
			}
		},
	},
	{
		Name: "kernel/mounts", Row: "CVE-2021-41133; CVE-2022-0185; overlay bugs, CVE-2023-0386",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			for _, fs := range []string{"tmpfs", "proc", "sysfs", "overlay", "cgroup", "cgroup2", "fuse", "ext4", "bpf", "devpts", "mqueue", "nfs", "binfmt_misc"} {
				in.Attempt("mount "+fs, unix.Mount("x", "/tmp", fs, 0, ""), unix.EPERM)
				_, err := unix.Fsopen(fs, 0)
				in.Attempt("fsopen "+fs, err, unix.EPERM)
			}
			in.Attempt("bind", unix.Mount("/usr", "/tmp", "", unix.MS_BIND, ""), unix.EPERM)
			in.Attempt("remount read-write", unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, ""), unix.EPERM)
			in.Attempt("share propagation", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""), unix.EPERM)
			in.Attempt("move", unix.Mount("/tmp", "/usr", "", unix.MS_MOVE, ""), unix.EPERM)
			in.Attempt("unmount /proc", unix.Unmount("/proc", unix.MNT_DETACH), unix.EPERM)
			in.Attempt("unmount /", unix.Unmount("/", unix.MNT_DETACH), unix.EPERM)
			in.Attempt("pivot_root", unix.PivotRoot("/tmp", "/tmp"), unix.EPERM)
			in.Attempt("chroot", unix.Chroot("/tmp"), unix.EPERM)
			_, err := unix.OpenTree(unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE)
			in.Attempt("open_tree", err, unix.EPERM)
			in.Attempt("open_tree_attr", raw0(unix.SYS_OPEN_TREE_ATTR, unix.AT_FDCWD, "/usr", 1, nil, 0), unix.EPERM)
			in.Attempt("move_mount", unix.MoveMount(unix.AT_FDCWD, "/tmp", unix.AT_FDCWD, "/usr", 0), unix.EPERM)
			in.Attempt("fsconfig", unix.FsconfigCreate(0), unix.EPERM)
			_, err = unix.Fsmount(0, 0, 0)
			in.Attempt("fsmount", err, unix.EPERM)
			in.Attempt("fspick", raw0(unix.SYS_FSPICK, unix.AT_FDCWD, "/", 0), unix.EPERM)
			in.Attempt("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, "/usr", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}), unix.EPERM)
			in.Attempt("statmount", raw0(unix.SYS_STATMOUNT), unix.EPERM)
			in.Attempt("listmount", raw0(unix.SYS_LISTMOUNT), unix.EPERM)
			_, _, err = unix.NameToHandleAt(unix.AT_FDCWD, "/usr", 0)
			in.Attempt("name_to_handle_at", err, unix.EPERM)
			_, err = unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), 0)
			in.Attempt("open_by_handle_at", err, unix.EPERM)
			in.Attempt("openat2", raw0(unix.SYS_OPENAT2, unix.AT_FDCWD, "/usr", make([]byte, 24), 24), unix.ENOSYS)
			in.Attempt("write where nothing may be written", os.WriteFile("/usr/x", nil, 0o600), unix.EROFS, unix.EACCES)
		},
	},
	{
		Name: "kernel/io-uring", Row: "io_uring",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			params := make([]byte, 120)
			in.Attempt("io_uring_setup", raw0(unix.SYS_IO_URING_SETUP, 1, params), unix.EPERM)
			in.Attempt("io_uring_enter", raw0(unix.SYS_IO_URING_ENTER, 0, 0, 0, 0, nil, 0), unix.EPERM)
			in.Attempt("io_uring_register", raw0(unix.SYS_IO_URING_REGISTER, -1, 17, nil, 0), unix.EPERM)
			in.Attempt("io_setup", raw0(unix.SYS_IO_SETUP, 1, make([]byte, 8)), unix.EPERM)
		},
	},
	{
		Name: "kernel/keyrings", Row: "keyrings, CVE-2016-0728",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			_, err := unix.AddKey("user", "cofferdam", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
			in.Attempt("add_key", err, unix.EPERM)
			_, err = unix.KeyctlJoinSessionKeyring("x")
			in.Attempt("keyctl", err, unix.EPERM)
			_, err = unix.RequestKey("user", "cofferdam", "", unix.KEY_SPEC_SESSION_KEYRING)
			in.Attempt("request_key", err, unix.EPERM)
			for _, name := range []string{"/proc/keys", "/proc/key-users"} {
				_, err := os.Open(name)
				in.Attempt("open "+name, err, unix.ENOENT)
			}
		},
	},
	{
		Name: "kernel/privileged", Row: "bpf, perf, userfaultfd, kexec, modules",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER0}, 0, -1, -1, 0)
			in.Attempt("perf_event_open", err, unix.EPERM)
			for name, err := range map[string]error{
				"bpf map": raw0(unix.SYS_BPF, 0, make([]byte, 64), 64), "bpf program": raw0(unix.SYS_BPF, 5, make([]byte, 128), 128),
				"userfaultfd": raw0(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1),
				"kexec_load":  raw0(unix.SYS_KEXEC_LOAD, 0, 0, nil, 0), "init_module": raw0(unix.SYS_INIT_MODULE, make([]byte, 64), 64, ""),
				"finit_module": raw0(unix.SYS_FINIT_MODULE, 0, "", 0), "delete_module": raw0(unix.SYS_DELETE_MODULE, "tun", 0),
				"reboot": raw0(unix.SYS_REBOOT, 0xfee1dead, 672274793, 0, nil), "swapon": raw0(unix.SYS_SWAPON, "/tmp/x", 0),
				"swapoff": raw0(unix.SYS_SWAPOFF, "/tmp/x"), "acct": raw0(unix.SYS_ACCT, "/tmp/x"), "syslog": raw0(unix.SYS_SYSLOG, 3, make([]byte, 64), 64),
				"settimeofday": raw0(unix.SYS_SETTIMEOFDAY, make([]byte, 16), nil), "clock_settime": raw0(unix.SYS_CLOCK_SETTIME, 0, make([]byte, 16)),
				"adjtimex": raw0(unix.SYS_ADJTIMEX, make([]byte, 208)), "sethostname": unix.Sethostname([]byte("x")), "setdomainname": unix.Setdomainname([]byte("x")),
				"vhangup": raw0(unix.SYS_VHANGUP), "quotactl": raw0(unix.SYS_QUOTACTL, 0, "/", 0, nil), "fanotify_init": raw0(unix.SYS_FANOTIFY_INIT, 0, 0),
				"vmsplice": raw0(unix.SYS_VMSPLICE, 1, nil, 0, 0), "lookup_dcookie": raw0(unix.SYS_LOOKUP_DCOOKIE, 0, nil, 0),
				"personality without randomness": raw0(unix.SYS_PERSONALITY, 0x0040000), "personality of 32 bits": raw0(unix.SYS_PERSONALITY, 8),
				"personality with pages that execute": raw0(unix.SYS_PERSONALITY, 0x0400000),
			} {
				in.Attempt(name, err, unix.EPERM)
			}
		},
	},
	{
		Name: "kernel/socket-families", Row: "AF_PACKET, AF_VSOCK, AF_CAN, TIPC, RDS; AF_ALG, CVE-2026-31431",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			for family := range 64 {
				for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_RDM, unix.SOCK_SEQPACKET, 10} {
					if family == unix.AF_UNIX || family == unix.AF_INET || family == unix.AF_INET6 {
						if kind != 10 || family == unix.AF_UNIX { // SOCK_PACKET
							continue
						}
						_, err := unix.Socket(family, kind, 0)
						in.Attempt(fmt.Sprintf("a socket of packets in family %d", family), err, unix.EPERM, unix.ESOCKTNOSUPPORT)
						continue
					}
					_, err := unix.Socket(family, kind, 0)
					in.Attempt(fmt.Sprintf("a socket of family %d, type %d", family, kind), err, unix.EAFNOSUPPORT)
				}
				if family == unix.AF_UNIX {
					continue
				}
				_, err := unix.Socketpair(family, unix.SOCK_STREAM, 0)
				in.Attempt(fmt.Sprintf("a pair of sockets of family %d", family), err, unix.EAFNOSUPPORT, unix.EOPNOTSUPP)
			}
			_, errno := raw.Call(unix.SYS_SOCKET, uintptr(1<<32|unix.AF_NETLINK), unix.SOCK_RAW, unix.NETLINK_ROUTE)
			in.Attempt("netlink with high bits", errno, unix.EAFNOSUPPORT)
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			in.Must(err)
			ifr, err := unix.NewIfreq("lo")
			in.Must(err)
			ifr.SetUint16(0)
			in.Attempt("set the loopback down", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr), unix.EPERM)
			in.Attempt("add a route", unix.IoctlIfreq(s, unix.SIOCADDRT, ifr), unix.EPERM)
			in.Attempt("filter packets", unix.SetsockoptString(s, unix.SOL_IP, 64, strings.Repeat("\x00", 128)), unix.EPERM, unix.ENOPROTOOPT)
			in.Attempt("add a policy of IPsec", unix.SetsockoptString(s, unix.SOL_IP, 17, strings.Repeat("\x00", 256)), unix.EPERM, unix.ENOPROTOOPT)
		},
	},
	{
		Name: "kernel/tracer", Row: "CVE-2017-5206; CVE-2019-12589",
		Invisible: byFilter,
		Inside: func(in *Inside) {
			if in.Part() == "child" {
				in.Attempt("be traced", raw0(unix.SYS_PTRACE, unix.PTRACE_TRACEME), unix.EPERM)
				time.Sleep(time.Hour)
			}
			in.Attempt("be traced", raw0(unix.SYS_PTRACE, unix.PTRACE_TRACEME), unix.EPERM)
			cmd := in.Again("child")
			in.Must(cmd.Start())
			defer cmd.Process.Kill()
			pid := cmd.Process.Pid
			in.Attempt("attach to a child", unix.PtraceAttach(pid), unix.EPERM)
			in.Attempt("seize a child", unix.PtraceSeize(pid), unix.EPERM)
			_, err := unix.ProcessVMReadv(pid, nil, nil, 0)
			in.Attempt("read a child", err, unix.EPERM)
			traced := exec.Command("/usr/bin/true")
			traced.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
			in.Check("start a child to trace", traced.Start() != nil, true)
			// There are no filters of one's own, which could be meant to deceive.
			prog := make([]byte, 16)                                             // struct sock_fprog
			code := []byte{unix.BPF_RET | unix.BPF_K, 0, 0, 0, 0, 0, 0xff, 0x7f} // SECCOMP_RET_ALLOW
			prog[0] = 1
			address := uint64(raw.Address(code))
			for i := range 8 {
				prog[8+i] = byte(address >> (8 * i))
			}
			_, errno := raw.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, prog)
			in.Attempt("add a filter that allows", errno, unix.ENOSYS)
			in.Attempt("mount after it", unix.Mount("x", "/tmp", "tmpfs", 0, ""), unix.EPERM)
			in.Attempt("be traced after it", raw0(unix.SYS_PTRACE, unix.PTRACE_TRACEME), unix.EPERM)
			in.Attempt("io_uring after it", raw0(unix.SYS_IO_URING_SETUP, 1, make([]byte, 120)), unix.EPERM)
		},
	},
	{
		Name: "kernel/process-options", Row: "bpf, perf, userfaultfd, kexec, modules",
		Invisible: byKernel,
		Inside: func(in *Inside) {
			for name, err := range map[string]error{
				"a core of one's own":     unix.Prctl(unix.PR_SCHED_CORE, 1, 0, 1, 0),
				"pages merged":            unix.Prctl(unix.PR_SET_MEMORY_MERGE, 1, 0, 0, 0),
				"another image file":      unix.Prctl(unix.PR_SET_MM, 13, 0, 0, 0),
				"an input/output flusher": unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0),
				"real-time scheduling":    raw0(unix.SYS_SCHED_SETSCHEDULER, 0, 1, []byte{50, 0, 0, 0}),
				"a deadline":              raw0(unix.SYS_SCHED_SETATTR, 0, append([]byte{48, 0, 0, 0, 6}, make([]byte, 43)...), 0),
				"real-time disk priority": raw0(unix.SYS_IOPRIO_SET, 1, 0, 1<<13),
				"limits of a neighbour":   unix.Prlimit(os.Getppid()+1, unix.RLIMIT_CORE, nil, new(unix.Rlimit)),
			} {
				in.Attempt(name, err, unix.EPERM, unix.EINVAL)
			}
			in.Attempt("a better nice value", unix.Setpriority(unix.PRIO_PROCESS, 0, -5), unix.EACCES)
			b := make([]byte, 2*os.Getpagesize())
			at := raw.Address(b)
			at = (at + uintptr(os.Getpagesize()) - 1) &^ uintptr(os.Getpagesize()-1)
			in.Attempt("a page merged", raw0(unix.SYS_MADVISE, at, os.Getpagesize(), unix.MADV_MERGEABLE), unix.EPERM)
			in.Attempt("poison a page", raw0(unix.SYS_MADVISE, at, os.Getpagesize(), unix.MADV_HWPOISON), unix.EPERM, unix.EINVAL)
			f, err := os.Open("/etc/passwd")
			in.Must(err)
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
			in.Attempt("a lease on a file", err, unix.EPERM)
			d, err := os.Open("/usr")
			in.Must(err)
			_, err = unix.FcntlInt(d.Fd(), unix.F_NOTIFY, 1)
			in.Attempt("signals of what happens in a directory", err, unix.EPERM)
			for _, r := range []int{unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO, unix.RLIMIT_NOFILE, unix.RLIMIT_MEMLOCK, unix.RLIMIT_MSGQUEUE, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC} {
				var l unix.Rlimit
				in.Must(unix.Getrlimit(r, &l))
				in.Check(fmt.Sprintf("limit %d is finite", r), l.Max != unix.RLIM_INFINITY, true)
				l.Max++
				in.Attempt(fmt.Sprintf("raise limit %d", r), unix.Setrlimit(r, &l), unix.EPERM)
			}
			in.Attempt("be spared by the OOM killer", os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0), unix.EACCES)
		},
	},
	{
		Name: "kernel/handlers", Row: "CVE-2022-0811; core_pattern, binfmt_misc, modprobe, uevent helper; CVE-2025-52881",
		Invisible: byAbsent,
		Inside: func(in *Inside) {
			for _, name := range []string{
				"/proc/sys", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/fs/binfmt_misc/register",
				"/proc/sys/kernel/poweroff_cmd", "/proc/sys/kernel/sysrq", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/usermodehelper/bset", "/proc/sys/net/ipv4/ip_forward",
				"/proc/sysrq-trigger", "/proc/kcore", "/proc/kmem", "/proc/kallsyms", "/proc/kmsg", "/proc/modules", "/proc/mtrr", "/proc/acpi", "/proc/scsi", "/proc/irq", "/proc/bus", "/proc/fs",
				"/sys", "/sys/kernel/uevent_helper", "/sys/kernel/debug", "/sys/kernel/security", "/sys/fs/bpf", "/sys/firmware", "/sys/module", "/sys/power/state", "/sys/kernel/vmcoreinfo",
			} {
				_, err := os.Open(name)
				in.Attempt("open "+name, err, unix.ENOENT)
			}
			for _, name := range []string{"/sys", "/proc/sys", "/proc/x"} {
				in.Attempt("make "+name, os.Mkdir(name, 0o755), unix.EROFS, unix.EACCES, unix.ENOENT)
			}
		},
	},
	{
		Name: "kernel/core-dump", Row: "core_pattern, binfmt_misc, modprobe, uevent helper; CVE-2022-0811",
		Ends: executor.CauseSignal,
		Outside: func(t *Trial) {
			dir := t.Dir(nil)
			spec := t.Spec("crash")
			spec.Command.Dir = "/d"
			Share(spec, dir, "/d", true)
			r := t.Run(spec)
			t.Check("signal", unix.SignalName(unix.Signal(r.Signal)), "SIGQUIT")
			left, err := filepath.Glob(dir + "/*")
			if err != nil {
				t.Fatal(err)
			}
			t.Check("files that the crash leaves", fmt.Sprint(left), "[]")
		},
		Inside: func(in *Inside) {
			// With exactly 1 there is neither a file nor a run of the host's handler.
			for _, n := range []uint64{1 << 20, 0} {
				limit := unix.Rlimit{Cur: n, Max: n}
				unix.Setrlimit(unix.RLIMIT_CORE, &limit)
				unix.Prlimit(0, unix.RLIMIT_CORE, &limit, &unix.Rlimit{})
				raw.Call(unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, bytes.Repeat(binary.NativeEndian.AppendUint64(nil, n), 2))
				in.Must(unix.Prlimit(0, unix.RLIMIT_CORE, nil, &limit))
				var err error
				if limit == (unix.Rlimit{Cur: 1, Max: 1}) {
					err = unix.EPERM
				}
				in.Attempt(fmt.Sprint("limit core files to ", n), err, unix.EPERM)
			}
			raw.Call(unix.SYS_RT_SIGACTION, int(unix.SIGQUIT), make([]byte, 32), nil, 8) // the default: dump core
			syscall.Kill(os.Getpid(), syscall.SIGQUIT)
			time.Sleep(time.Hour)
		},
	},
	{
		Name: "kernel/cgroup", Row: "CVE-2022-0492",
		Invisible: byAbsent,
		Inside: func(in *Inside) {
			for _, name := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs", "/proc/cgroups"} {
				_, err := os.OpenFile(name, os.O_WRONLY, 0)
				in.Attempt("open "+name, err, unix.ENOENT)
			}
			for _, opts := range []string{"rdma", "memory", "none,name=x"} {
				in.Attempt("mount cgroup "+opts, unix.Mount("cgroup", "/tmp", "cgroup", 0, opts), unix.EPERM)
			}
			in.Attempt("mount cgroup2", unix.Mount("cgroup", "/tmp", "cgroup2", 0, ""), unix.EPERM)
			in.Attempt("a cgroup namespace", unix.Unshare(unix.CLONE_NEWCGROUP), unix.EPERM)
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			in.Must(err)
			in.Check("cgroup among the mounts", strings.Contains(string(mounts), " cgroup"), false)
		},
	},
	{
		Name: "kernel/proc-masked", Row: "/proc/loadavg, sysinfo; /proc masking",
		Invisible: byAbsent,
		Inside: func(in *Inside) {
			for _, name := range []string{
				"loadavg", "meminfo", "stat", "uptime", "vmstat", "interrupts", "softirqs", "diskstats", "partitions", "locks", "swaps", "cpuinfo", "schedstat", "zoneinfo", "slabinfo",
				"buddyinfo", "pagetypeinfo", "kpagecount", "kpageflags", "timer_list", "sched_debug", "latency_stats", "version", "cmdline", "config.gz", "devices", "iomem", "ioports", "filesystems", "crypto", "pressure",
				"mounts", "net", "keys", "fb", "misc", "dma", "execdomains", "consoles", "cgroups", "tty", "driver", "sysvipc",
			} {
				_, err := os.Lstat("/proc/" + name)
				if name == "mounts" || name == "net" { // links to what is ours
					link, lerr := os.Readlink("/proc/" + name)
					if lerr == nil {
						in.Check("/proc/"+name+" leads to", strings.HasPrefix(link, "self/"), true)
						continue
					}
				}
				in.Attempt("look at /proc/"+name, err, unix.ENOENT)
			}
			var fs unix.Statfs_t
			in.Must(unix.Statfs("/proc", &fs))
			in.Check("file system of /proc", fs.Type, unix.PROC_SUPER_MAGIC)
			in.Must(unix.Statfs("/dev/shm", &fs))
			in.Check("file system of /dev/shm", fs.Type, unix.TMPFS_MAGIC)
		},
	},
	{
		Name: "kernel/devices", Row: "CVE-2025-31133; CVE-2025-52565",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			dir := t.Dir(nil)
			// Root of the host may have left device nodes in a directory that is shown.
			had := ""
			if os.Geteuid() == 0 {
				for name, dev := range map[string]uint64{"null": unix.Mkdev(1, 3), "mem": unix.Mkdev(1, 1), "kmsg": unix.Mkdev(1, 11)} {
					if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o666, int(dev)); err != nil {
						t.Fatal(err)
					}
					had += " " + name
				}
				if err := unix.Mknod(filepath.Join(dir, "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))); err != nil {
					t.Fatal(err)
				}
				had += " disk"
			}
			spec := t.Spec(strings.Fields(had)...)
			Share(spec, dir, "/rw", true)
			Share(spec, dir, "/ro", false)
			t.Run(spec)
		},
		Inside: func(in *Inside) {
			for _, name := range in.Args {
				for _, dir := range []string{"/rw/", "/ro/"} {
					for what, flags := range map[string]int{"read": os.O_RDONLY, "write": os.O_RDWR} {
						_, err := os.OpenFile(dir+name, flags|unix.O_NONBLOCK, 0)
						in.Attempt(what+" "+dir+name, err, unix.EACCES, unix.EROFS)
					}
				}
			}
			for _, dir := range []string{"/tmp", "/dev/shm", "/rw"} {
				for _, mode := range []uint32{unix.S_IFCHR, unix.S_IFBLK} {
					in.Attempt(fmt.Sprintf("make a device of type %#x in %s", mode, dir), unix.Mknod(dir+"/dev", mode|0o666, int(unix.Mkdev(1, 1))), unix.EPERM)
				}
				// A whiteout is the one device that anybody may make; it opens nothing.
				if unix.Mknod(dir+"/white", unix.S_IFCHR, 0) == nil {
					_, err := os.Open(dir + "/white")
					in.Attempt("open a whiteout in "+dir, err, unix.EACCES, unix.ENXIO)
				}
			}
			for name, want := range map[string]uint64{"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7), "random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9)} {
				var st unix.Stat_t
				in.Must(unix.Stat("/dev/"+name, &st))
				in.Check("number of /dev/"+name, st.Rdev, want)
				in.Attempt("remove /dev/"+name, os.Remove("/dev/"+name), unix.EBUSY, unix.EROFS, unix.EACCES)
				in.Attempt("replace /dev/"+name, os.Rename("/tmp", "/dev/"+name), unix.EXDEV, unix.EBUSY, unix.EROFS, unix.EACCES, unix.ENOTDIR)
			}
			in.Attempt("make /dev/console", os.Symlink("/proc/self/fd/0", "/dev/console"), unix.EROFS, unix.EACCES)
			names, err := filepath.Glob("/dev/*")
			in.Must(err)
			in.Check("what there is in /dev", strings.Join(names, " "), "/dev/fd /dev/full /dev/null /dev/random /dev/shm /dev/stderr /dev/stdin /dev/stdout /dev/urandom /dev/zero")
		},
	},
}
