package canary

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// probe is one thing that must not work.
type probe struct {
	name   string // what is tried
	proves string // the protection
	want   string // the only right answer inside

	// try returns what came of it: works, the name of an errno, or a word. It
	// runs on both sides, so it does no harm where it works.
	try func(*told) string

	bait   bool // outside it must work, or the bait is none
	within bool // it holds its own control, and is not tried outside
	state  bool // it looks at what is, instead of being refused something
}

// works is the answer of what worked.
const works = "works"

// probes is the list. The order is that of the answers; what fills up comes last.
var probes = []probe{
	{name: "connect to a TCP listener of the host", proves: "network-namespace", want: "ECONNREFUSED", bait: true, try: dialTCP},
	{name: "connect to an abstract socket of the host", proves: "network-namespace", want: "ECONNREFUSED", bait: true, try: dialAbstract},
	{name: "be in the host's network namespace", proves: "network-namespace", want: own, state: true, try: space("net")},
	{name: "connect to a Unix socket of the host by its path", proves: "mount-namespace", want: "ENOENT", bait: true, try: dialPath},
	{name: "read a file of the host", proves: "mount-namespace", want: "ENOENT", bait: true, try: readFile},
	{name: "write to the root", proves: "mount-namespace", want: "EROFS", bait: true, try: writeFile},
	{name: "be in the host's mount namespace", proves: "mount-namespace", want: own, state: true, try: space("mnt")},
	{name: "be in the host's pid namespace", proves: "pid-namespace", want: own, state: true, try: space("pid")},
	{name: "signal every process", proves: "pid-namespace", want: "ESRCH", try: signalAll},
	{name: "see other processes in /proc", proves: "pid-namespace", want: "none", try: seeProcesses},
	{name: "be in the host's user namespace", proves: "user-namespace", want: own, state: true, try: space("user")},
	{name: "be in the host's ipc namespace", proves: "ipc-namespace", want: own, state: true, try: space("ipc")},
	{name: "be in the host's uts namespace", proves: "uts-namespace", want: own, state: true, try: space("uts")},
	{name: "be in the host's cgroup namespace", proves: "cgroup-namespace", want: own, state: true, try: space("cgroup")},
	{name: "have capabilities", proves: "capabilities", want: "none", state: true, try: capabilities},
	{name: "gain privileges by exec", proves: "capabilities", want: "none", state: true, try: newPrivileges},
	{name: "unshare(CLONE_NEWUSER)", proves: "seccomp", want: "EPERM", try: func(*told) string {
		// Outside it is EINVAL: a process with several threads cannot.
		return word(unix.Unshare(unix.CLONE_NEWUSER))
	}},
	{name: "setns(2)", proves: "seccomp", want: "EPERM", try: func(*told) string { return word(unix.Setns(-1, 0)) }},
	{name: "mount(2)", proves: "seccomp", want: "EPERM", try: func(*told) string { return raw(unix.SYS_MOUNT) }},
	{name: "ptrace(2)", proves: "seccomp", want: "EPERM", try: func(*told) string { return raw(unix.SYS_PTRACE, unix.PTRACE_CONT, ^uintptr(0)) }},
	{name: "process_vm_readv(2)", proves: "seccomp", want: "EPERM", try: func(*told) string {
		return raw(unix.SYS_PROCESS_VM_READV, ^uintptr(0), 0, 0, 0, 0)
	}},
	{name: "keyctl(2)", proves: "seccomp", want: "EPERM", try: func(*told) string { return raw(unix.SYS_KEYCTL, ^uintptr(0)) }},
	{name: "io_uring_setup(2)", proves: "seccomp", want: "EPERM", try: func(*told) string { return raw(unix.SYS_IO_URING_SETUP) }},
	{name: "socket(AF_NETLINK)", proves: "seccomp", want: "EAFNOSUPPORT", try: socket(unix.AF_NETLINK)},
	{name: "openat2(2), as a call that is not listed", proves: "seccomp", want: "ENOSYS", try: func(*told) string {
		fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
		if err == nil {
			unix.Close(fd)
		}
		return word(err)
	}},
	{name: "clone3(2), whose flags no filter sees", proves: "seccomp", want: "ENOSYS", try: func(*told) string { return raw(unix.SYS_CLONE3) }},
	{name: "be without a Landlock domain", proves: "landlock", want: "restricted", state: true, try: func(t *told) string {
		if n := layers(); n < t.Layers {
			return "restricted"
		}
		return "free"
	}},
	{name: "fork without end", proves: "cgroup.pids", want: "EAGAIN", within: true, try: forkOn},
}

// word is an answer made of an error.
func word(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return works
	case !errors.As(err, &errno):
		return "failed"
	}
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return "errno-" + strconv.Itoa(int(errno))
}

// raw makes a call with arguments that no kernel accepts, should it come so far.
func raw(nr uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 {
		return works
	}
	return word(errno)
}

func socket(family int) func(*told) string {
	return func(*told) string {
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return word(err)
	}
}

func readFile(t *told) string {
	_, err := os.ReadFile(t.File)
	return word(err)
}

func writeFile(t *told) string {
	return word(os.WriteFile(t.Write, nil, 0o600))
}

// signalAll sends everybody the signal 0, which is none: kill(2). It leaves out
// the init and the caller, so that inside nobody is left.
func signalAll(*told) string { return word(unix.Kill(-1, 0)) }

func seeProcesses(*told) string {
	dir, err := os.Open("/proc")
	if err != nil {
		return word(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return word(err)
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != 1 && pid != os.Getpid() {
			return works
		}
	}
	return "none"
}

// The answers of [space].
const (
	own    = "own"
	shared = "shared"
)

var kinds = []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}

// space compares a namespace with that of the trusted process.
func space(kind string) func(*told) string {
	return func(t *told) string {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		switch {
		case err != nil:
			return word(err)
		case link == t.Spaces[kind] || t.Spaces[kind] == "":
			return shared
		}
		return own
	}
}

// spaces are the namespaces of this process.
func spaces() map[string]string {
	all := map[string]string{}
	for _, kind := range kinds {
		all[kind], _ = os.Readlink("/proc/self/ns/" + kind)
	}
	return all
}

// capabilities looks at those that we have and those that an exec could bring.
func capabilities(*told) string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return word(err)
	}
	for _, d := range data {
		if d.Effective|d.Permitted|d.Inheritable != 0 {
			return "some"
		}
	}
	for c := uintptr(0); c < 64; c++ {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err == nil && has != 0 {
			return "some-by-exec"
		}
	}
	return "none"
}

func newPrivileges(*told) string {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	switch {
	case err != nil:
		return word(err)
	case set == 1:
		return "none"
	}
	return works
}

// layers is how many Landlock domains a thread of ours can still put on: fewer
// inside than outside, where there are none (landlock(7) allows 16). Nothing else
// tells: mounts and namespaces refuse first what Landlock would.
func layers() int { return linux.LandlockRoom() }

// forkOn forks until it is refused. That some forks were not is the control.
func forkOn(*told) string {
	n, err := linux.Forks(2 * maxPids)
	switch {
	case err != nil && n == 0:
		return "none"
	case err != nil && n > maxPids:
		return "late" // something refuses, but not the limit
	}
	return word(err)
}
