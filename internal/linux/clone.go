package linux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kinds of reports.
const (
	ReportStarted = 1 + iota // the program runs
	ReportFailed             // a step failed
	ReportExited             // the program has ended
)

// Report is what a child tells its parent.
type Report struct {
	Kind        int32
	stage, step int32
	errno       int32
	status      int32
	_           int32
	utimeMicros int64
	stimeMicros int64
	maxRSS      int64
}

// Status is how the program ended.
func (r *Report) Status() syscall.WaitStatus { return syscall.WaitStatus(uint32(r.status)) }

// CPU is the processor time, user and system, of the program and of those of
// its descendants that it waited for.
func (r *Report) CPU() time.Duration {
	return time.Duration(r.utimeMicros+r.stimeMicros) * time.Microsecond
}

// MaxRSS is the largest resident set of one process, in bytes.
func (r *Report) MaxRSS() int64 { return r.maxRSS }

// StepError is a step that failed.
type StepError struct {
	What    string // what the step was to do: "mount proc"
	Execute bool   // the step was the last one of Script.Program: the execve
	Errno   unix.Errno
}

func (e *StepError) Error() string { return e.What + ": " + e.Errno.Error() }
func (e *StepError) Unwrap() error { return e.Errno }

// ErrChildGone is returned when the child died without a report: somebody
// killed it.
var ErrChildGone = errors.New("the child has died")

// Child is a cloned child.
type Child struct {
	Pid   int
	PidFD int // closed by the caller
}

type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// Clone makes the child: a copy of this process with one thread, which runs the
// stage Born and then waits for [Script.Go]. flags are CLONE_NEW* flags; cgroup
// is a descriptor of a cgroup v2 to be born in, or -1.
//
// The child inherits the namespaces, the root and the working directory of the
// calling *thread*, and PR_SET_PDEATHSIG of the child is about the death of that
// thread: call it from a goroutine locked to a thread that stays.
//
// Source: clone(2), clone3 of Linux 5.7 (CLONE_INTO_CGROUP, CLONE_CLEAR_SIGHAND 5.5).
func (s *Script) Clone(flags uint64, cgroup int) (Child, error) {
	if s.err != nil {
		return Child{}, s.err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Child{}, fmt.Errorf("make a control socket: %w", err)
	}
	s.prepare(pair[1])
	args := &cloneArgs{
		flags:      flags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidFD:      uint64(uintptr(unsafe.Pointer(&s.a.pidfd))), // not on our stack, which may move
		exitSignal: uint64(unix.SIGCHLD),
	}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	runtime.LockOSThread()
	pid, errno := rawClone(args, s.a)
	runtime.UnlockOSThread()
	unix.Close(pair[1])
	if errno != 0 {
		unix.Close(pair[0])
		return Child{}, fmt.Errorf("clone a child: %w", unix.Errno(errno))
	}
	// Children to come have no business with this memory.
	unix.Madvise(s.mem, unix.MADV_DONTFORK)
	unix.SetNonblock(pair[0], true)
	s.ctl = pair[0]
	return Child{Pid: int(pid), PidFD: int(s.a.pidfd)}, nil
}

// prepare fills in what the child needs to talk with us over its end ctl.
func (s *Script) prepare(ctl int) {
	a := s.a
	// The caller's Born steps come after ours, which leave nothing open but
	// the control socket.
	var own [4]step
	n := 0
	if ctl != ControlFD {
		own[n] = step{nr: unix.SYS_DUP3, args: [6]uintptr{uintptr(ctl), ControlFD, unix.O_CLOEXEC}}
		n++
	}
	own[n] = step{nr: unix.SYS_CLOSE_RANGE, args: [6]uintptr{0, ControlFD - 1, 0}}
	own[n+1] = step{nr: unix.SYS_CLOSE_RANGE, args: [6]uintptr{ControlFD + 1, uintptr(^uint32(0)), 0}}
	n += 2
	copy(a.born[n:], a.born[:a.count[stageBorn]])
	copy(a.born[:n], own[:n])
	a.count[stageBorn] += int32(n)
	names := make([]string, n)
	for i := range names {
		names[i] = "clear descriptors"
	}
	s.Born.names = append(names, s.Born.names...)

	point := func(p unsafe.Pointer, to unsafe.Pointer) { *(*uintptr)(p) = uintptr(to) }
	point(unsafe.Pointer(&a.goIov.Base), unsafe.Pointer(&a.goByte))
	a.goIov.SetLen(len(a.goByte))
	point(unsafe.Pointer(&a.goMsg.Iov), unsafe.Pointer(&a.goIov))
	a.goMsg.Iovlen = 1
	point(unsafe.Pointer(&a.goMsg.Control), unsafe.Pointer(&a.goCtl))
	a.goMsg.SetControllen(len(a.goCtl))

	point(unsafe.Pointer(&a.repIov.Base), unsafe.Pointer(&a.report))
	a.repIov.SetLen(int(unsafe.Sizeof(a.report)))
	point(unsafe.Pointer(&a.repMsg.Iov), unsafe.Pointer(&a.repIov))
	a.repMsg.Iovlen = 1
	a.pidMsg = a.repMsg
	point(unsafe.Pointer(&a.pidMsg.Control), unsafe.Pointer(&a.pidCtl))
	a.pidMsg.SetControllen(len(a.pidCtl))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&a.pidCtl))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
}

// rawClone blocks every signal, clones, and lets the parent go on as it was.
// The child never leaves runChild, with every signal blocked: an init has no
// use for one, and a handler of the Go runtime must not run in it.
//
//go:nosplit
//go:norace
//go:noinline
func rawClone(args *cloneArgs, a *arena) (pid, errno uintptr) {
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	r, _, e := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if e == 0 && r == 0 {
		runChild(a)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return r, uintptr(e)
}

// UnblockSignals appends the step that gives a program an empty signal mask.
func (g *Stage) UnblockSignals() {
	g.Add("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, g.script.Bytes(make([]byte, 8)), 0, 8)
}

// Control hands the control socket over to the caller, as a file that the
// runtime's poller knows.
func (s *Script) Control() *os.File {
	f := os.NewFile(uintptr(s.ctl), "control")
	s.ctl = -1
	return f
}

// Go lets the waiting child run Setup and Program. It gets fds, at most 253, as
// 0, 1, 2, …, in this order and without close-on-exec.
func (s *Script) Go(ctl *os.File, fds []int) error {
	if s.err != nil {
		return s.err
	}
	if len(fds) > maxFDs {
		return fmt.Errorf("%d descriptors for a child: at most %d", len(fds), maxFDs)
	}
	if err := SendFDs(ctl, []byte{1}, fds); err != nil {
		return fmt.Errorf("%w: %v", ErrChildGone, err)
	}
	return nil
}

// ReadReport waits for the next report. With [ReportStarted] comes a pidfd of
// the program, otherwise -1. A report that a step failed is returned as a
// [*StepError]. ErrChildGone says that the child is dead or dying.
func (s *Script) ReadReport(ctl *os.File) (Report, int, error) {
	var (
		r     Report
		pidfd = -1
		n     int
		rerr  error
		oob   [64]byte
	)
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	raw, err := ctl.SyscallConn()
	if err != nil {
		return r, -1, err
	}
	err = raw.Read(func(fd uintptr) bool {
		var oobn int
		n, oobn, _, _, rerr = unix.Recvmsg(int(fd), buf, oob[:], unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if rerr == unix.EAGAIN {
			return false
		}
		if rerr == nil && oobn > 0 {
			fds := parseFDs(oob[:oobn])
			if len(fds) > 0 {
				pidfd = fds[0]
			}
		}
		return true
	})
	if err != nil {
		return r, -1, err
	}
	if rerr != nil || n != len(buf) {
		return r, -1, ErrChildGone
	}
	if r.Kind == ReportFailed {
		last := !s.forked && r.stage == stageProgram && int(r.step) == len(s.Program.names)-1
		return r, -1, &StepError{What: s.name(r.stage, r.step), Execute: last, Errno: unix.Errno(r.errno)}
	}
	return r, pidfd, nil
}

func parseFDs(oob []byte) []int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var all []int
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}
