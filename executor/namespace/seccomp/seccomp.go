// Package seccomp says which system calls a program may make.
//
// The answer is an allow list for the native ABI. [Program] is the filter for
// programs, [Init] the one for the init of an environment:
//
//   - a foreign ABI (int 0x80 on amd64, x32) kills the process: a list written
//     for one ABI says nothing about the numbers of another;
//   - a call that the table refuses gives EPERM, a socket of another family than
//     AF_UNIX, AF_INET and AF_INET6 EAFNOSUPPORT, of another protocol than TCP and
//     UDP EPROTONOSUPPORT;
//   - socket options that bring in code beyond that (TLS in the kernel, ESP over UDP,
//     filters) give ENOPROTOOPT;
//   - any other call, known or from a kernel to come, gives ENOSYS, so that
//     libraries fall back. So does clone3, whose flags a filter cannot see.
//
// The limit of core files stays what it is, and who sets it is told that it is done: most who do want
// none, and there is none. With another value than the one that it begins with the kernel
// would run the host's handler of core dumps, if there is one, outside of all limits: core(5).
//
// A file cannot be given the set-user-id or set-group-id bit. What a program leaves in
// a directory of the host lies there without the mount option that makes them void
// inside, and as an ordinary user it belongs to that user: whoever runs it would be them.
//
// A program adds no filters of its own: what the kernel translates them into is memory that it counts for
// nobody, with one bound for the host (net.core.bpf_jit_limit), and where it is met no filter can be set at all, ours
// neither. Nor does it take huge pages, which are few, and reserved for somebody else, if there are any.
//
// Where no cgroup accounts for memory, somebody has to look at processes to see
// what they use, and what no process maps is nowhere to be seen: there memory that
// lives without being mapped cannot be had.
//
// The filter is a binary search over the numbers, because its length is paid
// for at every start: 125 instructions load in a third of the time of 650.
//
// Trusted: yes. A call allowed here is kernel code that programs can reach.
package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Actions of the kernel, seccomp(2).
const (
	allow       = 0x7fff0000 // SECCOMP_RET_ALLOW
	killProcess = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	errnoAction = 0x00050000 // SECCOMP_RET_ERRNO, errno in the low 16 bits

	// Offsets in struct seccomp_data; both architectures are little endian.
	offNr, offArch, offArg = 0, 4, 16
)

// namespaceFlags are the flags of clone that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Bits of modes, and the flags of open(2) without which there is no mode.
const (
	setID     = unix.S_ISUID | unix.S_ISGID
	makesFile = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
)

// ioctls that push input into a terminal, CVE-2017-5226 and CVE-2023-1523, and the one
// that puts another line discipline under it, most of which nobody has looked at for
// long.
const (
	tiocsti   = 0x5412
	tioclinux = 0x541c
	tiocsetd  = 0x5423
)

// protocols of sockets. Any other is a module that the kernel would load for
// whoever asks, and code that few others run: SCTP, MPTCP, SMC, L2TP, UDP-Lite. 1
// is PF_UNIX for one family, and for the others ICMP, which needs a privilege.
var protocols = []uint32{0, unix.PF_UNIX, unix.IPPROTO_TCP, unix.IPPROTO_UDP}

// socketOptions are those that are refused, by level. Together with the protocols
// they are a good part of what was found in kernels over the years.
var socketOptions = []levelOptions{
	{unix.SOL_SOCKET, []uint32{unix.SO_ATTACH_FILTER, unix.SO_ATTACH_BPF, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_REUSEPORT_EBPF}},
	{unix.SOL_TCP, []uint32{unix.TCP_ULP, unix.TCP_REPAIR}},
	{unix.SOL_UDP, []uint32{unix.UDP_ENCAP}},
}

// bufferOptions would have a socket buffer megabytes, which nobody sees.
var bufferOptions = levelOptions{unix.SOL_SOCKET, []uint32{unix.SO_SNDBUF, unix.SO_RCVBUF}}

// shareOptions have memory shared with the kernel, or of it kept by a socket; tellOptions tell of the
// network that a socket is in, or show what has come instead of reading it. See Sendfile.
var (
	shareOptions = []levelOptions{{unix.SOL_SOCKET, []uint32{unix.SO_ZEROCOPY, unix.SO_RESERVE_MEM}}}
	tellOptions  = []levelOptions{
		{unix.SOL_SOCKET, []uint32{unix.SO_MEMINFO, unix.SO_NETNS_COOKIE}},
		{unix.SOL_TCP, []uint32{unix.TCP_ZEROCOPY_RECEIVE}},
	}
)

// byReference are the calls that pass on pages instead of what is in them: of a file or a pipe that somebody
// may write to, into a socket that somebody else reads, and into what the kernel believed to be its own
// (CVE-2022-0847). To libraries they look like calls for which these are the wrong kinds of files, so that they copy.
var byReference = []uint32{unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_TEE}

// watching are the calls of inotify(7). What they make is counted for whoever made the namespace of an environment, so
// for one user of the host, who has 128 in all: of many environments one would leave none to the others, or to the host.
var watching = []uint32{unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH}

// May is what some programs may and others may not. The zero value is what most get.
type May struct {
	Sendfile bool // pass memory on by reference; they have no sockets of other environments then
	Inotify  bool // watch files; how much of it is not for a filter to say
}

type levelOptions struct {
	level   uint32
	options []uint32
}

// hidden are the calls that make memory which need not be mapped to be kept. To
// libraries they look like calls that the kernel does not have.
var hidden = []uint32{unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET}

// Program is the filter for programs. accounted says that the kernel counts all
// their memory, mapped or not.
func Program(accounted bool, may May) []unix.SockFilter {
	rules := map[uint32][]unix.SockFilter{}
	for _, nr := range append(slices.Clone(allowed), allowedHere...) {
		rules[nr] = ret(allow)
	}
	for _, nr := range append(slices.Clone(refused), refusedHere...) {
		rules[nr] = ret(errnoAction | uint32(unix.EPERM))
	}
	sockets := slices.Concat(
		onlyIf(0, unix.EAFNOSUPPORT, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6),
		oneOf(2, unix.EPROTONOSUPPORT, protocols...))
	rules[unix.SYS_SOCKET] = sockets
	rules[unix.SYS_SOCKETPAIR] = sockets
	setOptions := slices.Clone(socketOptions)
	rules[unix.SYS_CLONE] = noneOfBits(0, namespaceFlags)
	// Only the low half of the number is compared, as the kernel does; to
	// compare all 64 bits is CVE-2019-10063.
	rules[unix.SYS_IOCTL] = noneOf(1, tiocsti, tioclinux, tiocsetd)
	// A lease makes whoever opens the file for writing wait, on the host too.
	rules[unix.SYS_FCNTL] = noneOf(1, unix.F_SETLEASE, unix.F_NOTIFY)
	// What would have the scheduler keep neighbours off a core, and pages be shared
	// with whoever has the same.
	// And filters, which the kernel then says that it was built without.
	rules[unix.SYS_PRCTL] = append(unlessOneOf(0, unix.EINVAL, unix.PR_SET_SECCOMP), noneOf(0, unix.PR_SCHED_CORE, unix.PR_SET_MEMORY_MERGE)...)
	rules[unix.SYS_MADVISE] = noneOf(2, unix.MADV_MERGEABLE)
	// Of other processes it would be the init's, where that has the program's id.
	rules[unix.SYS_PRLIMIT64] = append(onlyIf(0, unix.EPERM, 0), keptAsIs(1, unix.RLIMIT_CORE, 2, 3)...)
	rules[unix.SYS_SETRLIMIT] = noneOfAs(0, 0, unix.RLIMIT_CORE)
	rules[unix.SYS_PERSONALITY] = oneOf(0, unix.EPERM, 0, 0xffffffff)
	for nr, flags := range huge {
		rules[nr] = noneOfBits(flags.arg, flags.bits)
	}
	for _, table := range []map[uint32]int{modes, modesHere} {
		for nr, mode := range table {
			rules[nr] = noneOfBits(mode, setID)
		}
	}
	for _, table := range []map[uint32]int{opens, opensHere} {
		for nr, flags := range table {
			rules[nr] = noneOfBitsIf(flags, makesFile, flags+1, setID)
		}
	}
	if !accounted {
		for _, nr := range hidden {
			delete(rules, nr)
		}
		rules[unix.SYS_MMAP] = append(unlessBits(3, unix.MAP_HUGETLB), notBothBits(3, unix.MAP_SHARED, unix.MAP_ANONYMOUS)...)
		setOptions = append(setOptions, bufferOptions)
	}
	if !may.Inotify {
		for _, nr := range append(slices.Clone(watching), watchingHere...) {
			delete(rules, nr)
		}
	}
	if !may.Sendfile {
		for _, nr := range byReference {
			rules[nr] = ret(errnoAction | uint32(unix.EINVAL))
		}
		setOptions = append(setOptions, shareOptions...)
		rules[unix.SYS_GETSOCKOPT] = noneOfPairs(1, 2, unix.ENOPROTOOPT, tellOptions)
	}
	rules[unix.SYS_SETSOCKOPT] = noneOfPairs(1, 2, unix.ENOPROTOOPT, setOptions)
	return assemble(rules, ret(errnoAction|uint32(unix.ENOSYS)))
}

// Init is the filter for the init of an environment: wait, report, end.
func Init() []unix.SockFilter {
	rules := map[uint32][]unix.SockFilter{}
	for _, nr := range []uint32{unix.SYS_WAIT4, unix.SYS_SENDMSG, unix.SYS_CLOSE_RANGE, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL} {
		rules[nr] = ret(allow)
	}
	return assemble(rules, ret(killProcess))
}

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}

func load(offset uint32) unix.SockFilter {
	return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset)
}

func ret(action uint32) []unix.SockFilter {
	return []unix.SockFilter{stmt(unix.BPF_RET|unix.BPF_K, action)}
}

// oneOf allows the call if the low half of argument arg is among values.
func oneOf(arg int, errno unix.Errno, values ...uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*arg))}
	for i, v := range values {
		code = append(code, jump(unix.BPF_JEQ, v, uint8(len(values)-i), 0))
	}
	return append(append(code, ret(errnoAction|uint32(errno))...), ret(allow)...)
}

// unlessOneOf goes on with what follows if the low half of argument arg is not among values.
func unlessOneOf(arg int, errno unix.Errno, values ...uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*arg))}
	for i, v := range values {
		last := uint8(0)
		if i == len(values)-1 {
			last = 1
		}
		code = append(code, jump(unix.BPF_JEQ, v, uint8(len(values)-1-i), last))
	}
	return append(code, ret(errnoAction|uint32(errno))...)
}

// unlessBits goes on with what follows if argument arg has none of bits, all in the low half.
func unlessBits(arg int, bits uint32) []unix.SockFilter {
	return append([]unix.SockFilter{load(uint32(offArg + 8*arg)), jump(unix.BPF_JSET, bits, 0, 1)}, ret(errnoAction|uint32(unix.EPERM))...)
}

// onlyIf goes on with what follows if the low half of argument arg is among values.
func onlyIf(arg int, errno unix.Errno, values ...uint32) []unix.SockFilter {
	code := oneOf(arg, errno, values...)
	return code[:len(code)-1] // all but the last: the permission
}

// noneOfPairs refuses the call if the low halves of arguments level and option are
// a pair of table.
func noneOfPairs(level, option int, errno unix.Errno, table []levelOptions) []unix.SockFilter {
	var code []unix.SockFilter
	for _, row := range table {
		n := len(row.options)
		code = append(code, load(uint32(offArg+8*level)), jump(unix.BPF_JEQ, row.level, 0, uint8(n+2)), load(uint32(offArg+8*option)))
		for i, o := range row.options {
			next := uint8(0)
			if i == n-1 {
				next = 1
			}
			code = append(code, jump(unix.BPF_JEQ, o, uint8(n-1-i), next))
		}
		code = append(code, ret(errnoAction|uint32(errno))...)
	}
	return append(code, ret(allow)...)
}

// noneOf refuses the call if the low half of argument arg is among values.
func noneOf(arg int, values ...uint32) []unix.SockFilter { return noneOfAs(unix.EPERM, arg, values...) }

// noneOfAs has it return errno then, success for 0.
func noneOfAs(errno unix.Errno, arg int, values ...uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*arg))}
	for i, v := range values {
		code = append(code, jump(unix.BPF_JEQ, v, uint8(len(values)-i), 0))
	}
	return append(append(code, ret(allow)...), ret(errnoAction|uint32(errno))...)
}

// keptAsIs allows the call unless the low half of argument arg is value and argument set, an
// address, is not null. Then nothing happens and the call is said to have succeeded, but for one that
// wants to know as well what was set before: argument old is not null.
func keptAsIs(arg int, value uint32, set, old int) []unix.SockFilter {
	half := func(arg, n int) unix.SockFilter { return load(uint32(offArg + 8*arg + 4*n)) }
	code := []unix.SockFilter{
		half(arg, 0), jump(unix.BPF_JEQ, value, 0, 4),
		half(set, 0), jump(unix.BPF_JEQ, 0, 0, 3),
		half(set, 1), jump(unix.BPF_JEQ, 0, 0, 1),
	}
	code = append(code, ret(allow)...)
	code = append(code, half(old, 0), jump(unix.BPF_JEQ, 0, 0, 3), half(old, 1), jump(unix.BPF_JEQ, 0, 0, 1))
	return append(append(code, ret(errnoAction)...), ret(errnoAction|uint32(unix.EPERM))...)
}

// noneOfBits refuses the call if argument arg has any of bits, all in the low half.
func noneOfBits(arg int, bits uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*arg)), jump(unix.BPF_JSET, bits, 1, 0)}
	return append(append(code, ret(allow)...), ret(errnoAction|uint32(unix.EPERM))...)
}

// noneOfBitsIf refuses the call if argument given has any of some, and argument arg
// any of bits, all in the low half.
func noneOfBitsIf(given int, some uint32, arg int, bits uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*given)), jump(unix.BPF_JSET, some, 0, 2)}
	return append(code, noneOfBits(arg, bits)...)
}

// notBothBits refuses the call if argument arg has both a and b, in the low half.
func notBothBits(arg int, a, b uint32) []unix.SockFilter {
	code := []unix.SockFilter{load(uint32(offArg + 8*arg)), jump(unix.BPF_JSET, a, 0, 2), jump(unix.BPF_JSET, b, 0, 1)}
	return append(append(code, ret(errnoAction|uint32(unix.EPERM))...), ret(allow)...)
}

// interval is a run of numbers, from first to the next interval, of one rule.
type interval struct {
	first uint32
	code  []unix.SockFilter
}

// assemble makes the filter of rules, with other for every other number.
func assemble(rules map[uint32][]unix.SockFilter, other []unix.SockFilter) []unix.SockFilter {
	var nrs []uint32
	for nr := range rules {
		nrs = append(nrs, nr)
	}
	slices.Sort(nrs)
	runs := []interval{{0, other}}
	add := func(first uint32, code []unix.SockFilter) {
		last := &runs[len(runs)-1]
		switch {
		case slices.Equal(last.code, code):
		case last.first == first:
			last.code = code
		default:
			runs = append(runs, interval{first, code})
		}
	}
	for i, nr := range nrs {
		add(nr, rules[nr])
		if i+1 == len(nrs) || nrs[i+1] != nr+1 {
			add(nr+1, other)
		}
	}
	add(0x40000000, ret(killProcess)) // x32: bit 30 of the number
	add(0x80000000, other)

	code := []unix.SockFilter{load(offArch), jump(unix.BPF_JEQ, auditArch, 1, 0)}
	code = append(code, ret(killProcess)...)
	code = append(code, load(offNr))
	return append(code, search(runs)...)
}

// search is a binary search for the last interval that begins at or below the
// number in the accumulator.
func search(runs []interval) []unix.SockFilter {
	if len(runs) == 1 {
		return runs[0].code
	}
	mid := len(runs) / 2
	low, high := search(runs[:mid]), search(runs[mid:])
	var code []unix.SockFilter
	if len(low) <= 255 {
		code = append(code, jump(unix.BPF_JGE, runs[mid].first, uint8(len(low)), 0))
	} else {
		code = append(code, jump(unix.BPF_JGE, runs[mid].first, 0, 1), stmt(unix.BPF_JMP|unix.BPF_JA, uint32(len(low))))
	}
	return append(append(code, low...), high...)
}
