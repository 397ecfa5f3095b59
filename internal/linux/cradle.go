package linux

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cradle is a process that makes children. It was cloned from this one, but has next to
// none of its memory: so what is cloned from it is cloned in no time, costs this process no
// page fault, and keeps nothing of it. It has a [Room] and a stack, and executes what it is
// told over a socket.
//
// Its children are this process's children, in the cgroup that the cradle is in.
// It is safe for concurrent use: one child is made after the other.
type Cradle struct {
	room   *Room
	child  Child
	inside bool // numbers are other ones than here where its children are
	guest  bool // in a user namespace where nobody has its ids

	mu     sync.Mutex
	script *Script // its own; guarded by mu
	ctl    int     // guarded by mu; -1 once it has gone
}

// CradleName is what ps calls a cradle, and a child of one until it takes another name.
const CradleName = "cofferdam-nest"

// NewCradle makes a cradle that makes children out of scripts of room.
//
// It inherits the namespaces, the root and the working directory of the calling *thread*, and
// PR_SET_PDEATHSIG of it and of its children is about the death of that thread: call it from
// a goroutine locked to a thread that stays.
//
// Source: clone(2), clone3 of Linux 5.7 (CLONE_INTO_CGROUP, CLONE_CLEAR_SIGHAND 5.5).
func NewCradle(room *Room) (*Cradle, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	drops, err := droppable(threadPointer())
	if err != nil {
		return nil, err
	}
	c, theirs, err := prepareCradle(room, -1, -1, false)
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	a := c.script.a
	copy(a.drops[:], drops)
	a.args = cloneArgs{
		flags:      unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidFD:      uint64(uintptr(unsafe.Pointer(&a.pidfd))), // not on our stack, which may move
		exitSignal: uint64(unix.SIGCHLD),
	}
	pid, errno := rawClone(a)
	if errno != 0 {
		c.Close()
		return nil, fmt.Errorf("clone a cradle: %w", unix.Errno(errno))
	}
	c.child = Child{Pid: int(pid), PidFD: int(a.pidfd)}
	return c, nil
}

// prepareCradle returns one that is still to be cloned, and the end of its socket that is
// for it: number ctl in whoever clones it, or that very one if that is -1. inside is as for
// [Script.prepare]. root has it become root of the user namespace that it is born in.
func prepareCradle(room *Room, ctl, inside int, root bool) (*Cradle, int, error) {
	s, err := room.NewScript()
	if err != nil {
		return nil, -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.Close()
		return nil, -1, fmt.Errorf("make a control socket: %w", err)
	}
	if ctl < 0 {
		ctl = pair[1]
	}
	s.prepare(ctl, inside)
	if root {
		s.born.Add("drop groups", unix.SYS_SETGROUPS, 0, 0).Accept(unix.EPERM)
		s.born.Add("take root's group", unix.SYS_SETRESGID, 0, 0, 0)
		s.born.Add("take root's user", unix.SYS_SETRESUID, 0, 0, 0)
	}
	if inside >= 0 || root {
		// It has all of the room. Its memory counts as this process's, in whose user namespace alone
		// somebody may look at it then, or at what it makes.
		s.born.Add("hide from debuggers", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	}
	s.born.Add("die with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	s.born.Add("take a name", unix.SYS_PRCTL, unix.PR_SET_NAME, s.String(CradleName))
	return &Cradle{room: room, script: s, ctl: pair[0], child: Child{PidFD: -1}}, pair[1], s.err
}

// Another makes a cradle out of this one: where it is to be, for example, is for the caller to
// say, by its number.
func (c *Cradle) Another() (*Cradle, error) { return c.another(-1) }

// Inside makes one out of this one whose children are born in the user and pid namespaces of
// the process that pidfd refers to. Its ids are still this one's, which nobody has there: so it can
// [Cradle.Map] ids, and has [Cradle.Another] make children with new user namespaces. That one is root there, and
// nobody outside. Whoever else is there can look at neither.
//
// Source: setns(2), with a pidfd of Linux 5.8.
func (c *Cradle) Inside(pidfd int) (*Cradle, error) { return c.another(pidfd) }

func (c *Cradle) another(pidfd int) (*Cradle, error) {
	inside, fds := -1, []int(nil)
	if pidfd >= 0 {
		inside, fds = 1, []int{pidfd}
	}
	next, theirs, err := prepareCradle(c.room, 0, inside, c.guest)
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	next.inside, next.guest = c.inside || pidfd >= 0, pidfd >= 0
	if next.child, err = c.clone(messageCradle, next.script, 0, append([]int{theirs}, fds...), -1, -1); err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// Clone makes a child, which runs the stage Born and then waits for [Script.Go]. flags are
// CLONE_NEW* flags; net is a network namespace for it to be born in, or -1; group is a
// descriptor of a cgroup v2 to be born in, or -1.
func (c *Cradle) Clone(s *Script, flags uint64, net, group int) (Child, error) {
	if s.err != nil {
		return noChild, s.err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return noChild, fmt.Errorf("make a control socket: %w", err)
	}
	defer unix.Close(pair[1])
	s.prepare(0, -1)
	// What other scripts hold is none of its business.
	base, at := c.room.address(0), c.room.address(s.place)
	if at > base {
		s.born.Add("unmap the room", unix.SYS_MUNMAP, base, at-base)
	}
	if rest := base + uintptr(len(c.room.mem)) - at - uintptr(placeBytes); rest > 0 {
		s.born.Add("unmap the room", unix.SYS_MUNMAP, at+uintptr(placeBytes), rest)
	}
	child, err := c.clone(messageChild, s, flags, []int{pair[1]}, net, group)
	if err != nil {
		unix.Close(pair[0])
		return noChild, err
	}
	unix.SetNonblock(pair[0], true)
	s.ctl = pair[0]
	return child, nil
}

// noChild refers to nobody: descriptor 0 is one.
var noChild = Child{PidFD: -1}

// clone has the cradle make a child, which gets fds, the first of which is its control socket.
func (c *Cradle) clone(kind int32, s *Script, flags uint64, fds []int, net, group int) (Child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctl < 0 {
		return noChild, fmt.Errorf("clone a child: %w", ErrChildGone)
	}
	a := c.script.a
	a.net, a.home = -1, -1
	if net >= 0 {
		a.net = int32(len(fds))
		fds = append(fds, net)
		if c.room.home >= 0 {
			a.home = int32(len(fds))
			fds = append(fds, c.room.home)
		}
	}
	a.args = cloneArgs{
		// A child of ours, not of the cradle's.
		flags: flags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_PARENT,
		pidFD: uint64(uintptr(unsafe.Pointer(&a.pidCtl[16]))),
	}
	if group >= 0 {
		a.args.flags |= unix.CLONE_INTO_CGROUP
		a.args.cgroup = uint64(len(fds))
		fds = append(fds, group)
	}
	a.target = uintptr(unsafe.Pointer(s.a))
	r, got, err := c.tell(kind, fds)
	switch {
	case err != nil:
		return noChild, fmt.Errorf("clone a child: %w", err)
	case r.Kind != reportBorn: // it has not come to be what it was to be
		CloseFDs(got)
		c.gone()
		return noChild, fmt.Errorf("clone a child: %w: its cradle could not %s: %v", ErrChildGone, c.script.name(r.stage, r.step), unix.Errno(r.errno))
	case r.errno != 0:
		CloseFDs(got)
		return noChild, fmt.Errorf("clone a child: %w", unix.Errno(r.errno))
	case len(got) != 1:
		CloseFDs(got)
		return noChild, fmt.Errorf("clone a child: %d descriptors of it", len(got))
	case c.inside:
		pid, err := PidOf(got[0])
		if err != nil || pid <= 0 {
			CloseFDs(got)
			return noChild, fmt.Errorf("clone a child: %w (%v)", ErrChildGone, err)
		}
		return Child{Pid: pid, PidFD: got[0]}, nil
	default:
		return Child{Pid: int(r.status), PidFD: got[0]}, nil
	}
}

// tell sends a cradle a message, and returns its answer and what came with that. The caller holds mu.
func (c *Cradle) tell(kind int32, fds []int) (r Report, got []int, err error) {
	var oob [64]byte
	err = retry(func() error {
		return unix.Sendmsg(c.ctl, message{kind: kind}.bytes(), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	})
	n, oobn := 0, 0
	if err == nil {
		err = retry(func() (err error) {
			buf := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
			n, oobn, _, _, err = unix.Recvmsg(c.ctl, buf, oob[:], unix.MSG_CMSG_CLOEXEC)
			return err
		})
	}
	got = parseFDs(oob[:oobn])
	if err != nil || n != int(unsafe.Sizeof(r)) {
		CloseFDs(got)
		c.gone()
		return r, nil, ErrChildGone
	}
	return r, got, nil
}

// Map maps the ids of the user namespace of process pid, which was made in the one that c is in,
// to some of that one, with a text for each of uid_map(5) and gid_map.
//
// Those files of a process that cannot be dumped belong to root of the user namespace of its memory,
// which for what cradles make is this process's; and they are for somebody of the enclosing one.
// A cradle of [Cradle.Inside] is both.
func (c *Cradle) Map(pid int, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctl < 0 {
		return fmt.Errorf("map ids: %w", ErrChildGone)
	}
	s := c.script
	defer func(used int) { // what was not used is zero
		clear(s.a.data[used:s.used])
		s.used = used
	}(s.used)
	g := &s.Setup
	g.names, s.a.count[stageSetup] = nil, 0
	what := s.Bytes([]byte(text))
	for _, name := range []string{"uid_map", "gid_map"} {
		fd := s.Slot()
		path := fmt.Sprintf("/proc/%d/%s", pid, name)
		g.Add("open "+name, unix.SYS_OPENAT, 0, s.String(path), unix.O_WRONLY|unix.O_CLOEXEC).Into(fd)
		g.Add("write "+name, unix.SYS_WRITE, 0, what, uintptr(len(text))).From(0, fd)
	}
	if s.err != nil {
		return s.err
	}
	r, got, err := c.tell(messageSteps, nil)
	CloseFDs(got)
	switch {
	case err != nil:
		return fmt.Errorf("map ids: %w", err)
	case r.Kind != reportDone:
		c.gone()
		return fmt.Errorf("map ids: %w: its cradle could not %s: %v", ErrChildGone, s.name(r.stage, r.step), unix.Errno(r.errno))
	case unix.Errno(r.errno) == unix.ENOENT, unix.Errno(r.errno) == unix.ESRCH:
		return fmt.Errorf("map ids: %w", ErrChildGone)
	case r.errno != 0:
		return fmt.Errorf("map ids: %s: %w", s.name(r.stage, r.step), unix.Errno(r.errno))
	}
	return nil
}

// PidOf is the pid behind a pidfd, not positive if it is dead or not seen by us.
func PidOf(pidfd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, fmt.Errorf("look at a pidfd: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, nil
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// gone notes that nothing is to be had from it any more. The caller holds mu.
func (c *Cradle) gone() {
	if c.ctl >= 0 {
		unix.Close(c.ctl)
		c.ctl = -1
	}
}

// Gone tells whether it has ended, or is of no use.
func (c *Cradle) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctl < 0 {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(c.child.PidFD), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// Pid is its number.
func (c *Cradle) Pid() int { return c.child.Pid }

// Close ends it, and waits for its end. Its children live on.
func (c *Cradle) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone()
	if fd := c.child.PidFD; fd >= 0 {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		retry(func() error { return unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WALL, nil) })
		unix.Close(fd)
		c.child.PidFD = -1
	}
	if c.script != nil {
		c.script.Close()
		c.script = nil
	}
}

// droppable lists memory of ours that a child which does nothing but [runCradle] has no use for:
// all that is private and not of a file, other threads' stacks among it. What follows a
// program's file directly is the rest of that, the variables that begin as zero. What is next to keep stays.
//
// Source: proc_pid_maps(5).
func droppable(keep uintptr) ([]drop, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("look at our memory: %w", err)
	}
	defer f.Close()
	var all []drop
	var program uintptr // end of the last mapping of a program's file, and of what follows it
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 5 {
			continue
		}
		low, high, _ := strings.Cut(w[0], "-")
		from, _ := strconv.ParseUint(low, 16, 64)
		to, _ := strconv.ParseUint(high, 16, 64)
		private, name := strings.HasSuffix(w[1], "p"), ""
		if len(w) > 5 {
			name = w[5]
		}
		switch {
		case !private:
		case strings.HasPrefix(name, "/"), name == "" && uintptr(from) == program:
			program = uintptr(to)
		case name == "", name == "[stack]", name == "[heap]", strings.HasPrefix(name, "[anon:"):
			all = append(all, around(drop{uintptr(from), uintptr(to)}, keep)...)
		}
	}
	return all[:min(len(all), maxDrops)], lines.Err()
}

// around is d without the pages next to keep.
func around(d drop, keep uintptr) []drop {
	low, high := keep&^4095-4*4096, keep&^4095+4*4096
	if keep == 0 || d.from >= high || d.to <= low {
		return []drop{d}
	}
	return []drop{{d.from, max(d.from, low)}, {min(d.to, high), d.to}}
}
