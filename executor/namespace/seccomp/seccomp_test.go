package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// run interprets a filter as the kernel does, for the instructions we use.
func run(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	words := map[uint32]uint32{offNr: nr, offArch: arch}
	for i, a := range args {
		words[uint32(offArg+8*i)] = uint32(a)
		words[uint32(offArg+8*i+4)] = uint32(a >> 32)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = words[in.K]
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&in.K != 0)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
	}
	t.Fatal("the filter ends without an answer")
	return 0
}

const (
	done   = errnoAction
	eperm  = errnoAction | uint32(unix.EPERM)
	enosys = errnoAction | uint32(unix.ENOSYS)
	efam   = errnoAction | uint32(unix.EAFNOSUPPORT)
	eproto = errnoAction | uint32(unix.EPROTONOSUPPORT)
	enoopt = errnoAction | uint32(unix.ENOPROTOOPT)
)

func TestProgram(t *testing.T) {
	prog := Program(true, May{})
	if len(prog) > 400 {
		t.Errorf("filter of %d instructions: its length is paid for at every start", len(prog))
	}
	for _, tt := range []struct {
		name string
		nr   uint32
		args []uint64
		want uint32
	}{
		{"read", unix.SYS_READ, nil, allow},
		{"clone thread", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allow},
		{"clone user", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER}, eperm},
		{"clone net and high bits", unix.SYS_CLONE, []uint64{1<<40 | unix.CLONE_NEWNET}, eperm},
		{"clone3", unix.SYS_CLONE3, nil, enosys},
		{"unix socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, allow},
		{"inet6 socket", unix.SYS_SOCKET, []uint64{unix.AF_INET6}, allow},
		{"netlink socket", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK}, efam},
		{"vsock pair", unix.SYS_SOCKETPAIR, []uint64{unix.AF_VSOCK}, efam},
		{"netlink socket of a protocol", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.IPPROTO_TCP}, efam},
		{"tcp socket", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP}, allow},
		{"udp socket", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, allow},
		{"unix pair", unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_STREAM, unix.PF_UNIX}, allow},
		{"sctp", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, eproto},
		{"mptcp and high bits", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_STREAM, 1<<40 | unix.IPPROTO_MPTCP}, eproto},
		{"udplite", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE}, eproto},
		{"nodelay", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_TCP, unix.TCP_NODELAY}, allow},
		{"reuse", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_REUSEADDR}, allow},
		{"the number of one level at another", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_IP, unix.TCP_ULP}, allow},
		{"udp without encapsulation", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_UDP, unix.UDP_SEGMENT}, allow},
		{"tls in the kernel", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_TCP, unix.TCP_ULP}, enoopt},
		{"repair", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_TCP, unix.TCP_REPAIR}, enoopt},
		{"esp over udp", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_UDP, unix.UDP_ENCAP}, enoopt},
		{"socket filter", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, enoopt},
		{"reuseport filter and high bits", unix.SYS_SETSOCKOPT, []uint64{3, 1<<40 | unix.SOL_SOCKET, 1<<40 | unix.SO_ATTACH_REUSEPORT_CBPF}, enoopt},
		{"tiocsti", unix.SYS_IOCTL, []uint64{0, tiocsti}, eperm},
		{"tiocsti with high bits, CVE-2019-10063", unix.SYS_IOCTL, []uint64{0, 1<<32 | tiocsti}, eperm},
		{"tioclinux", unix.SYS_IOCTL, []uint64{0, tioclinux}, eperm},
		{"tiocsetd", unix.SYS_IOCTL, []uint64{0, tiocsetd}, eperm},
		{"lock", unix.SYS_FCNTL, []uint64{3, unix.F_SETLK}, allow},
		{"lease", unix.SYS_FCNTL, []uint64{3, unix.F_SETLEASE}, eperm},
		{"limits of oneself", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE}, allow},
		{"files of oneself", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_NOFILE, 0x7fff00001000, 0x7fff00002000}, allow},
		{"core files of oneself", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE, 0, 0x7fff00002000}, allow},
		{"set core files", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE, 0x1000}, done},
		{"set core files from a high address", unix.SYS_PRLIMIT64, []uint64{0, 1<<40 | unix.RLIMIT_CORE, 1 << 40}, done},
		{"set core files and ask", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE, 0x1000, 0x2000}, eperm},
		{"set core files and ask high", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE, 0x1000, 1 << 40}, eperm},
		{"set core files, as before", unix.SYS_SETRLIMIT, []uint64{unix.RLIMIT_CORE, 0x1000}, done},
		{"set files, as before", unix.SYS_SETRLIMIT, []uint64{unix.RLIMIT_NOFILE, 0x1000}, allow},
		{"limits of another", unix.SYS_PRLIMIT64, []uint64{1, unix.RLIMIT_CORE}, eperm},
		{"a name for a thread", unix.SYS_PRCTL, []uint64{unix.PR_SET_NAME}, allow},
		{"a core of one's own", unix.SYS_PRCTL, []uint64{unix.PR_SCHED_CORE}, eperm},
		{"a filter", unix.SYS_PRCTL, []uint64{unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER}, errnoAction | uint32(unix.EINVAL)},
		{"a filter and high bits", unix.SYS_PRCTL, []uint64{1<<40 | unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER}, errnoAction | uint32(unix.EINVAL)},
		{"a filter by its own call", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_FILTER}, enosys},
		{"memory", unix.SYS_MMAP, []uint64{0, 4096, 3, unix.MAP_SHARED | unix.MAP_ANONYMOUS}, allow},
		{"huge pages", unix.SYS_MMAP, []uint64{0, 2 << 20, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB}, eperm},
		{"huger pages and high bits", unix.SYS_MMAP, []uint64{0, 1 << 30, 3, 1<<40 | unix.MAP_PRIVATE | unix.MAP_HUGETLB | 30<<26}, eperm},
		{"a file in memory", unix.SYS_MEMFD_CREATE, []uint64{0, unix.MFD_CLOEXEC}, allow},
		{"a file in huge pages", unix.SYS_MEMFD_CREATE, []uint64{0, unix.MFD_HUGETLB}, eperm},
		{"a segment", unix.SYS_SHMGET, []uint64{0, 4096, unix.IPC_CREAT | 0o600}, allow},
		{"a segment of huge pages", unix.SYS_SHMGET, []uint64{0, 2 << 20, unix.IPC_CREAT | 0o4000 | 0o600}, eperm},
		{"free memory", unix.SYS_MADVISE, []uint64{0, 4096, unix.MADV_DONTNEED}, allow},
		{"memory shared with whoever has the same", unix.SYS_MADVISE, []uint64{0, 4096, unix.MADV_MERGEABLE}, eperm},
		{"fionread", unix.SYS_IOCTL, []uint64{0, 0x541b}, allow},
		{"chmod", unix.SYS_FCHMODAT, []uint64{0, 0, 0o777}, allow},
		{"chmod u+s", unix.SYS_FCHMODAT, []uint64{0, 0, 0o4755}, eperm},
		{"chmod g+s and high bits", unix.SYS_FCHMOD, []uint64{0, 1<<40 | 0o2755}, eperm},
		{"chmod2 u+s", unix.SYS_FCHMODAT2, []uint64{0, 0, 0o4755}, eperm},
		{"mknod u+s", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFREG | 0o4755}, eperm},
		{"open without a mode", unix.SYS_OPENAT, []uint64{0, 0, unix.O_DIRECTORY, 0o7777}, allow},
		{"create", unix.SYS_OPENAT, []uint64{0, 0, unix.O_CREAT, 0o777}, allow},
		{"create u+s", unix.SYS_OPENAT, []uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o4755}, eperm},
		{"create g+s without a name", unix.SYS_OPENAT, []uint64{0, 0, unix.O_TMPFILE | unix.O_RDWR, 0o2755}, eperm},
		{"openat2", unix.SYS_OPENAT2, nil, enosys},
		{"personality query", unix.SYS_PERSONALITY, []uint64{0xffffffff}, allow},
		{"personality 32 bit", unix.SYS_PERSONALITY, []uint64{8}, eperm},
		{"ptrace", unix.SYS_PTRACE, nil, eperm},
		{"bpf", unix.SYS_BPF, nil, eperm},
		{"io_uring", unix.SYS_IO_URING_SETUP, nil, eperm},
		{"a call to come", 1000, nil, enosys},
		{"no call", 0xffffffff, nil, enosys},
		{"x32", 0x40000000 | unix.SYS_READ, nil, killProcess},
	} {
		if got := run(t, prog, auditArch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: action %#x, want %#x", tt.name, got, tt.want)
		}
	}
	if got := run(t, prog, unix.AUDIT_ARCH_I386, unix.SYS_READ); got != killProcess {
		t.Errorf("i386: action %#x, want the process killed", got)
	}
}

// The search finds what a walk through the tables finds, for every number.
func TestEveryNumber(t *testing.T) {
	want := map[uint32]uint32{}
	for _, nr := range append(append([]uint32{}, allowed...), allowedHere...) {
		want[nr] = allow
	}
	for _, nr := range append(append([]uint32{}, refused...), refusedHere...) {
		if want[nr] != 0 {
			t.Errorf("call %d is both allowed and refused", nr)
		}
		want[nr] = eperm
	}
	for _, nr := range byReference {
		want[nr] = errnoAction | uint32(unix.EINVAL)
	}
	for _, nr := range append(append([]uint32{}, watching...), watchingHere...) {
		want[nr] = enosys
	}
	special := map[uint32]bool{unix.SYS_SOCKET: true, unix.SYS_SETSOCKOPT: true, unix.SYS_GETSOCKOPT: true, unix.SYS_SOCKETPAIR: true, unix.SYS_CLONE: true, unix.SYS_IOCTL: true, unix.SYS_PERSONALITY: true, unix.SYS_PRLIMIT64: true}
	prog := Program(true, May{})
	for nr := uint32(0); nr < 1024; nr++ {
		if special[nr] {
			continue
		}
		w, ok := want[nr]
		if !ok {
			w = enosys
		}
		if got := run(t, prog, auditArch, nr); got != w {
			t.Errorf("call %d: action %#x, want %#x", nr, got, w)
		}
	}
}

// Without accounting, memory that no process maps cannot be had.
func TestUnaccounted(t *testing.T) {
	prog := Program(false, May{})
	const mmap = unix.SYS_MMAP
	for _, tt := range []struct {
		name string
		nr   uint32
		args []uint64
		want uint32
	}{
		{"private memory", mmap, []uint64{0, 4096, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS}, allow},
		{"a shared file", mmap, []uint64{0, 4096, 3, unix.MAP_SHARED}, allow},
		{"shared memory", mmap, []uint64{0, 4096, 3, unix.MAP_SHARED | unix.MAP_ANONYMOUS}, eperm},
		{"shared and validated memory", mmap, []uint64{0, 4096, 3, 1<<40 | unix.MAP_SHARED_VALIDATE | unix.MAP_ANONYMOUS}, eperm},
		{"huge pages", mmap, []uint64{0, 2 << 20, 3, unix.MAP_PRIVATE | unix.MAP_HUGETLB}, eperm},
		{"memfd_create", unix.SYS_MEMFD_CREATE, nil, enosys},
		{"memfd_secret", unix.SYS_MEMFD_SECRET, nil, enosys},
		{"shmget", unix.SYS_SHMGET, nil, enosys},
		{"msgget", unix.SYS_MSGGET, nil, enosys},
		{"a large buffer", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_SNDBUF}, enoopt},
		{"a filter", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, enoopt},
		{"nodelay", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_TCP, unix.TCP_NODELAY}, allow},
		{"read", unix.SYS_READ, nil, allow},
	} {
		if got := run(t, prog, auditArch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: action %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

func TestInit(t *testing.T) {
	prog := Init()
	for nr, want := range map[uint32]uint32{
		unix.SYS_WAIT4: allow, unix.SYS_EXIT_GROUP: allow, unix.SYS_SENDMSG: allow,
		unix.SYS_OPENAT: killProcess, unix.SYS_EXECVE: killProcess, unix.SYS_CLONE: killProcess,
	} {
		if got := run(t, prog, auditArch, nr); got != want {
			t.Errorf("call %d of an init: action %#x, want %#x", nr, got, want)
		}
	}
}

func BenchmarkProgram(b *testing.B) {
	for b.Loop() {
		Program(true, May{})
	}
}

// No program has inotify, unless its manifest says how much of it.
func TestInotify(t *testing.T) {
	free, plain := Program(true, May{Inotify: true}), Program(true, May{})
	for _, nr := range append(append([]uint32{}, watching...), watchingHere...) {
		if got := run(t, plain, auditArch, nr); got != enosys {
			t.Errorf("call %d: action %#x, want %#x", nr, got, enosys)
		}
		if got := run(t, free, auditArch, nr); got != allow {
			t.Errorf("call %d, with inotify: action %#x, want it allowed", nr, got)
		}
	}
	if got := run(t, free, auditArch, unix.SYS_SPLICE); got == allow {
		t.Error("with inotify there is splice")
	}
	if got := run(t, Program(true, May{Sendfile: true}), auditArch, unix.SYS_INOTIFY_INIT1); got != enosys {
		t.Errorf("with sendfile inotify_init1 gives %#x", got)
	}
}

// No program passes memory on by reference, unless its manifest says so.
func TestSendfile(t *testing.T) {
	free, plain := Program(true, May{Sendfile: true}), Program(true, May{})
	for _, tt := range []struct {
		name string
		nr   uint32
		args []uint64
		want uint32
	}{
		{"sendfile", unix.SYS_SENDFILE, nil, errnoAction | uint32(unix.EINVAL)},
		{"splice", unix.SYS_SPLICE, nil, errnoAction | uint32(unix.EINVAL)},
		{"tee", unix.SYS_TEE, nil, errnoAction | uint32(unix.EINVAL)},
		{"send by reference", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_ZEROCOPY}, enoopt},
		{"reserve memory", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_RESERVE_MEM}, enoopt},
		{"map what comes", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_TCP, 1<<40 | unix.TCP_ZEROCOPY_RECEIVE}, enoopt},
		{"count what was dropped", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_MEMINFO}, enoopt},
		{"name the network", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE}, enoopt},
		{"errors", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_ERROR}, allow},
		{"nodelay", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_TCP, unix.TCP_NODELAY}, allow},
		{"read", unix.SYS_READ, nil, allow},
	} {
		if got := run(t, plain, auditArch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: action %#x, want %#x", tt.name, got, tt.want)
		}
		if got := run(t, free, auditArch, tt.nr, tt.args...); got != allow {
			t.Errorf("%s, with sendfile: action %#x, want it allowed", tt.name, got)
		}
	}
	// By what other calls memory would go on, the other filter refuses to all.
	for _, nr := range []uint32{unix.SYS_VMSPLICE, unix.SYS_IO_URING_SETUP} {
		if got := run(t, free, auditArch, nr); got != eperm {
			t.Errorf("call %d: action %#x, want %#x", nr, got, eperm)
		}
	}
}
