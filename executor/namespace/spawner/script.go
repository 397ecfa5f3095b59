package spawner

import (
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/executor/namespace/seccomp"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// cwd is AT_FDCWD as an argument.
const cwd = ^uintptr(99)

// scripts writes what blanks are to do.
type scripts struct {
	ids         *ids
	landlock    int // ABI, 0 without
	filters     map[seccomp.May][]unix.SockFilter
	initFilter  []unix.SockFilter
	lastCap     uintptr
	hardLimits  map[int]uint64
	memoryGroup bool // a cgroup bounds memory
	pidsGroup   bool // a cgroup bounds processes
}

// become has the init take its own id, and die with the spawner from then on:
// the death signal is cleared when credentials change.
func (w *scripts) become(s *linux.Script, id uintptr) {
	g := &s.Setup
	g.Add("drop groups", unix.SYS_SETGROUPS, 0, 0).Accept(unix.EPERM)
	g.Add("take the init's group", unix.SYS_SETRESGID, id, id, id)
	g.Add("take the init's user", unix.SYS_SETRESUID, id, id, id)
	g.Add("hide from debuggers", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	g.Add("die with the spawner", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	g.Add("take a name", unix.SYS_PRCTL, unix.PR_SET_NAME, s.String("cofferdam-init"))
	g.Add("begin a session", unix.SYS_SETSID)
	g.Add("set the umask", unix.SYS_UMASK, 0o022)
}

// mountProc is the step that a container around us can make impossible.
const (
	mountProc   = "mount /proc"
	procFlags   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	procOptions = "hidepid=2,subset=pid"
)

// files has the init enter the file tree at descriptor tree. own is the
// descriptor of the tmpfs with the files of the spec, or -1; binds are those of
// the trees that are its own, by number of the mount.
func (w *scripts) files(s *linux.Script, spec *link.Start, mounts []placed, tree uintptr, own int, binds map[int]uintptr) {
	g := &s.Setup
	empty := s.String("")
	if n := spec.Limits.Inotify; n > 0 {
		w.ucount(s, "max_inotify_instances", n)
		w.ucount(s, "max_inotify_watches", n*executor.InotifyWatches)
	}
	if own >= 0 {
		g.Add("bring the files", unix.SYS_MOVE_MOUNT, uintptr(own), empty, cwd, s.String("/files"), unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	w.enter(s, tree)
	w.tmpfs(s, "/tmp", "tmp", spec.Limits.TmpBytes, 0)
	w.tmpfs(s, "/dev/shm", "dev/shm", spec.Limits.TmpBytes, 0)
	for n, m := range mounts {
		if !m.own || m.inFiles {
			continue
		}
		target := strings.TrimPrefix(m.Target, "/")
		if m.point {
			w.point(s, m)
		}
		switch m.Kind {
		case executor.MountTmpfs:
			point := w.open(s, target)
			g.Add("go to mount point "+m.Target, unix.SYS_FCHDIR, 0).From(0, point)
			w.tmpfs(s, m.Target, ".", m.SizeBytes, m.Inodes)
			g.Add("go back to the file tree", unix.SYS_CHDIR, s.String("/base"))
		case executor.MountFile:
			point, file := w.open(s, target), s.Slot()
			g.Add("open file "+m.Target, unix.SYS_OPEN_TREE, cwd, s.String("/files/"+strconv.Itoa(n)), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).Into(file)
			g.Add("mount file "+m.Target, unix.SYS_MOVE_MOUNT, 0, empty, 0, empty, ontoItself).From(0, file).From(2, point)
		case executor.MountSymlink:
			dir := w.open(s, path.Dir(target))
			g.Add("link "+m.Target, unix.SYS_SYMLINKAT, s.String(m.Source), 0, s.String(path.Base(target))).From(1, dir)
		default:
			if _, have := binds[n]; !have {
				continue // comes with the claim
			}
			point := w.open(s, target)
			g.Add("mount "+m.Target, unix.SYS_MOVE_MOUNT, binds[n], empty, 0, empty, ontoItself).From(2, point)
		}
	}
	w.leave(s)
}

// ucount sets a limit of the environment's user namespace, in whose /proc of the program's there is nothing of
// it: namespaces(7). It counts in those around it as well, where the limits are the host's.
func (w *scripts) ucount(s *linux.Script, name string, n int) {
	file, fd, text := "/proc/sys/user/"+name, s.Slot(), strconv.Itoa(n)
	s.Setup.Add("open "+file+" for limits.inotify", unix.SYS_OPENAT, cwd, s.String(file), unix.O_WRONLY|unix.O_CLOEXEC).Into(fd)
	s.Setup.Add("write "+text+" to "+file, unix.SYS_WRITE, 0, s.String(text), uintptr(len(text))).From(0, fd)
}

// enter puts the file tree in its place and goes there.
func (w *scripts) enter(s *linux.Script, tree uintptr) {
	g := &s.Setup
	g.Add("enter the file tree", unix.SYS_MOVE_MOUNT, tree, s.String(""), cwd, s.String("/base"), unix.MOVE_MOUNT_F_EMPTY_PATH)
	g.Add("go to the file tree", unix.SYS_CHDIR, s.String("/base"))
	g.Add(mountProc, unix.SYS_MOUNT, s.String("proc"), s.String("proc"), s.String("proc"),
		procFlags, s.String(procOptions))
}

// leave leaves everything else.
func (w *scripts) leave(s *linux.Script) {
	g := &s.Setup
	dot := s.String(".")
	g.Add("enter the root", unix.SYS_PIVOT_ROOT, dot, dot)
	g.Add("leave the old root", unix.SYS_UMOUNT2, dot, unix.MNT_DETACH)
	g.Add("go to the root", unix.SYS_CHDIR, s.String("/"))
}

// ontoItself are the flags of move_mount(2) for two descriptors and no paths.
const ontoItself = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH

// open opens target, a path in the tree, without following a link: it may lie in a
// volume, where the program has been before (CVE-2021-30465).
func (w *scripts) open(s *linux.Script, target string) linux.Slot {
	how := make([]byte, unix.SizeofOpenHow)
	binary.NativeEndian.PutUint64(how, unix.O_PATH|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	fd := s.Slot()
	s.Setup.Add("open mount point /"+target, unix.SYS_OPENAT2, cwd, s.String(target), s.Bytes(how), uintptr(len(how))).Into(fd)
	return fd
}

// tmpfs mounts one that belongs to the program, and counts as its memory. at is target
// from where the init is.
func (w *scripts) tmpfs(s *linux.Script, target, at string, size, inodes int64) {
	if inodes <= 0 {
		inodes = max(size/4096, 256)
	}
	mode := "1777"
	if target != "/tmp" && target != "/dev/shm" {
		mode = "755"
	}
	options := fmt.Sprintf("mode=%s,uid=%d,gid=%d,size=%d,nr_inodes=%d", mode, programID, programID, size, inodes)
	s.Setup.Add("mount tmpfs "+target, unix.SYS_MOUNT, s.String("tmpfs"), s.String(at),
		s.String("tmpfs"), unix.MS_NOSUID|unix.MS_NODEV, s.String(options))
}

// point makes the mount point of m within a tmpfs that is still as the script
// made it: nobody else has been there.
func (w *scripts) point(s *linux.Script, m placed) {
	g := &s.Setup
	at := m.pointAt
	last := path.Dir(m.Target)
	if m.isDir {
		last = m.Target
	}
	if within(last, at) && last != at {
		for part := range strings.SplitSeq(strings.TrimPrefix(last, at+"/"), "/") {
			at = path.Join(at, part)
			g.Add("make directory "+at, unix.SYS_MKDIRAT, cwd, s.String(at[1:]), 0o755).Accept(unix.EEXIST)
		}
	}
	if !m.isDir && m.Kind != executor.MountSymlink {
		g.Add("make mount point "+m.Target, unix.SYS_MKNODAT, cwd, s.String(m.Target[1:]), unix.S_IFREG|0o444, 0).Accept(unix.EEXIST)
	}
}

// begin has an init become what it is to be, whatever it is to run. A blank has done so ahead.
func (w *scripts) begin(s *linux.Script) {
	w.become(s, w.ids.init())
	s.Setup.Add("make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	w.capabilities(s, &s.Setup)
}

// capabilities gives up what even a later exec could bring back.
func (w *scripts) capabilities(s *linux.Script, g *linux.Stage) {
	g.Add("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for c := uintptr(0); c <= w.lastCap; c++ {
		g.Add("drop capability "+strconv.Itoa(int(c)), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
	}
}

// noCapabilities appends the step that empties the capability sets.
func noCapabilities(s *linux.Script, g *linux.Stage) {
	header := s.Bytes([]byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0}) // _LINUX_CAPABILITY_VERSION_3, this thread
	g.Add("give up capabilities", unix.SYS_CAPSET, header, s.Bytes(make([]byte, 24)))
}

// seal takes from the init what it needs no longer: everything.
func (w *scripts) seal(s *linux.Script) {
	g := &s.Seal
	noCapabilities(s, g)
	g.Add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	g.Add("filter the init", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, s.Filter(w.initFilter))
}

// nothing is how many descriptors a program's process has while it waits to be claimed.
const nothing = -1

// program writes the steps of the program's process, up to where it executes the program. keep
// descriptors stay open; nothing says that it waits there to be claimed. No rules say
// that Landlock comes only then.
func (w *scripts) program(s *linux.Script, spec *link.Start, rules []rule, keep int) error {
	g := &s.Program
	g.Add("begin a session", unix.SYS_SETSID)
	w.rlimits(s, &spec.Limits)
	g.Add("take the program's group", unix.SYS_SETRESGID, programID, programID, programID)
	g.Add("take the program's user", unix.SYS_SETRESUID, programID, programID, programID)
	noCapabilities(s, g)
	g.Add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	g.Add("hide from debuggers", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0) // until execve: those inside see it now
	if rules != nil {
		w.restrict(s, g, rules)
	}
	if keep == nothing {
		g.Add("close descriptors", unix.SYS_CLOSE_RANGE, 0, linux.ControlFD-1, 0)
		g.Add("close descriptors", unix.SYS_CLOSE_RANGE, linux.ControlFD+1, uintptr(^uint32(0)), 0)
	} else {
		g.Add("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(keep), uintptr(^uint32(0)), 0)
	}
	filter := w.filters[seccomp.May{Sendfile: spec.Sendfile, Inotify: spec.Limits.Inotify > 0}]
	g.Add("filter system calls", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, s.Filter(filter))
	w.seal(s)
	return s.Err()
}

// arrive has a program be where it is to begin. Not before descriptors are closed:
// /proc/self/fd/N would lead to what the set-up has open (CVE-2024-21626).
func (w *scripts) arrive(s *linux.Script, g *linux.Stage, c *link.Command) {
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	g.Add("go to directory "+dir, unix.SYS_CHDIR, s.String(dir))
	g.UnblockSignals()
}

// forkJoins are the namespaces of an environment that a fork is not born in. The last one takes
// away what it may do in others.
var forkJoins = [...]struct {
	name string
	kind uintptr
}{
	{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"mnt", unix.CLONE_NEWNS},
	{"cgroup", unix.CLONE_NEWCGROUP}, {"user", unix.CLONE_NEWUSER},
}

// fork writes the steps of a process that is a fork already, and of another user
// namespace when it comes. What execve would do is done by hand: there is nothing left of the
// set-up to be seen. One descriptor more stays open, which
// zygote.py closes; after that come the namespaces.
func (w *scripts) fork(s *linux.Script, spec *link.Start, writable []rule, keep int) error {
	g := &s.Program
	for n, ns := range forkJoins {
		g.Add("enter the environment's "+ns.name+" namespace", unix.SYS_SETNS, uintptr(keep+1+n), ns.kind)
	}
	w.capabilities(s, g)
	if err := w.program(s, spec, writable, keep+1); err != nil {
		return err
	}
	w.arrive(s, g, &spec.Command)
	g.Add("take a name", unix.SYS_PRCTL, unix.PR_SET_NAME, s.String(path.Base(spec.Fork.Interpreter[0])))
	g.Add("be seen from inside", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	return s.Err()
}

// execute writes the last steps: the program is tried at each place of PATH, as execvp(3)
// does.
func (w *scripts) execute(s *linux.Script, c *link.Command) error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return fmt.Errorf("no program to run")
	}
	g := &s.Claim
	w.arrive(s, g, c)
	argv, envp := s.Strings(c.Args), s.Strings(c.Env)
	paths := []string{c.Args[0]}
	if !strings.Contains(c.Args[0], "/") {
		paths = nil
		for dir := range strings.SplitSeq(lookup(c.Env, "PATH", "/usr/local/bin:/usr/bin:/bin"), ":") {
			paths = append(paths, path.Join("/", dir, c.Args[0]))
		}
		if len(paths) > 32 {
			return fmt.Errorf("PATH has %d places: at most 32", len(paths))
		}
	}
	for i, p := range paths {
		step := g.Add("execute "+c.Args[0], unix.SYS_EXECVE, s.String(p), argv, envp)
		if i < len(paths)-1 {
			step.Accept(unix.ENOENT)
		}
	}
	return nil
}

func lookup(env []string, name, fallback string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return fallback
}

// rlimits sets what holds for each process alone: getrlimit(2). No limit is
// ever raised above what the spawner has.
func (w *scripts) rlimits(s *linux.Script, l *executor.Limits) {
	set := func(what string, resource int, soft, hard int64) {
		limit := func(n int64) uint64 {
			if n < 0 {
				return w.hardLimits[resource]
			}
			return min(uint64(n), w.hardLimits[resource])
		}
		s.Program.Add("limit "+what, unix.SYS_PRLIMIT64, 0, uintptr(resource), s.Rlimit(limit(soft), limit(hard)), 0)
	}
	set("open files", unix.RLIMIT_NOFILE, int64(l.OpenFiles), int64(l.OpenFiles))
	set("file size", unix.RLIMIT_FSIZE, l.FileBytes, l.FileBytes)
	set("core files", unix.RLIMIT_CORE, 1, 1) // less than any, and no handler either: core(5)
	// These two count for whoever made the namespace as well, who would have none left.
	set("message queues", unix.RLIMIT_MSGQUEUE, 0, 0) // the filter has none either
	set("timers and signals that wait", unix.RLIMIT_SIGPENDING, 256, 256)
	set("locked memory", unix.RLIMIT_MEMLOCK, 64<<10, 64<<10)
	set("nice", unix.RLIMIT_NICE, 0, 0)
	set("real-time priority", unix.RLIMIT_RTPRIO, 0, 0)
	if l.Pids > 0 {
		pids := int64(l.Pids)
		switch {
		case w.pidsGroup:
			pids += 16 // a second line: the cgroup refuses first, and counts it
		case w.ids.single():
			pids++ // the init has the same user
		}
		set("processes", unix.RLIMIT_NPROC, pids, pids)
	}
	if l.CPU > 0 {
		seconds := int64((l.CPU + time.Second - 1) / time.Second)
		set("processor time", unix.RLIMIT_CPU, seconds+1, seconds+2)
	}
	if !w.memoryGroup && l.MemoryBytes > 0 {
		// Private writable memory, used or not, with room for runtimes that
		// reserve much and use little. What is used is the watcher's to judge.
		data := 2*l.MemoryBytes + 192<<20
		set("data", unix.RLIMIT_DATA, data, data)
	}
}

// hardLimits reads the spawner's own.
func hardLimits() map[int]uint64 {
	limits := map[int]uint64{}
	for _, r := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_CORE, unix.RLIMIT_MSGQUEUE, unix.RLIMIT_SIGPENDING, unix.RLIMIT_MEMLOCK, unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO, unix.RLIMIT_NPROC, unix.RLIMIT_CPU, unix.RLIMIT_DATA} {
		var l unix.Rlimit
		if unix.Prlimit(0, r, nil, &l) == nil {
			limits[r] = l.Max
		}
	}
	return limits
}

// limitSignal tells whether a signal means that a limit was hit.
func limitSignal(sig syscall.Signal) executor.Cause {
	switch sig {
	case syscall.SIGSYS:
		return executor.CauseSeccomp
	case syscall.SIGXFSZ:
		return executor.CauseDisk
	case syscall.SIGXCPU:
		return executor.CauseCPU
	}
	return executor.CauseSignal
}
