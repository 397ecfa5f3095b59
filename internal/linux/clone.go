package linux

import (
	"errors"
	"fmt"
	"os"
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
	ReportReady              // the program's process waits to be claimed, or the child to adopt one
	reportBorn               // a cradle has made a child, or could not
	reportDone               // a cradle has carried out its own steps, or could not
)

// The kinds of messages to children and cradles.
const (
	messageGo      = 1 + iota // carry out the rest of Setup and what follows
	messagePrepare            // carry out what there is of Setup
	messageChild              // make a child
	messageCradle             // make another cradle
	messageSteps              // carry out Setup, as a cradle
)

// Report is what a child tells its parent.
type Report struct {
	Kind        int32
	stage, step int32
	errno       int32
	status      int32
	alone       int32
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

// Alone tells that no descendant of the child lived when the program had ended.
func (r *Report) Alone() bool { return r.alone != 0 }

// Pid is the number, in its own namespace, of a process that reports of itself that it waits
// to be adopted.
func (r *Report) Pid() int { return int(r.status) }

// MaxRSS is the largest resident set of one process, in bytes.
func (r *Report) MaxRSS() int64 { return r.maxRSS }

// StepError is a step that failed.
type StepError struct {
	What    string // what the step was to do: "mount proc"
	Execute bool   // the step was the last one of Script.Claim: the execve
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

// prepare fills in what the child needs to talk with us over its end ctl. It enters the
// user namespace and, for its children, the pid namespace of the process that pidfd inside refers
// to, which is its number there; -1 for none.
func (s *Script) prepare(ctl, inside int) {
	a := s.a
	g := &s.born
	g.names, a.count[stageBorn] = nil, 0
	s.ownTLS()
	if ctl != ControlFD {
		g.Add("take the control socket", unix.SYS_DUP3, uintptr(ctl), ControlFD, unix.O_CLOEXEC)
	}
	if inside >= 0 {
		// This can fail, and says so on that socket.
		g.Add("enter namespaces", unix.SYS_SETNS, uintptr(inside), unix.CLONE_NEWUSER|unix.CLONE_NEWPID)
	}
	g.Add("clear descriptors", unix.SYS_CLOSE_RANGE, 0, ControlFD-1, 0)
	g.Add("clear descriptors", unix.SYS_CLOSE_RANGE, ControlFD+1, uintptr(^uint32(0)), 0)
	point := func(p unsafe.Pointer, to unsafe.Pointer) { *(*uintptr)(p) = uintptr(to) }
	point(unsafe.Pointer(&a.goIov.Base), unsafe.Pointer(&a.message))
	a.goIov.SetLen(int(unsafe.Sizeof(a.message)))
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
// The child never leaves runCradle, with every signal blocked: neither it nor an init
// has a use for one, and a handler of the Go runtime must not run in them.
//
//go:nosplit
//go:norace
//go:noinline
func rawClone(a *arena) (pid, errno uintptr) {
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	r, _, e := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&a.args)), unsafe.Sizeof(a.args), 0)
	if e == 0 && r == 0 {
		runCradle(a)
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

// Go lets the waiting child run the rest of Setup and all that follows, or the program's
// process what follows [Script.Ready]. Whoever it is gets fds, at most 253 at a time, as the
// lowest numbers that are free, in this order and without close-on-exec.
func (s *Script) Go(ctl *os.File, fds []int) error { return s.tell(ctl, messageGo, fds) }

// Prepare lets it run what there is of Setup, and wait again.
func (s *Script) Prepare(ctl *os.File, fds []int) error { return s.tell(ctl, messagePrepare, fds) }

// Ready is Go for a child whose program's process, once Program is carried out, is to
// report [ReportReady] and wait for another Go, which Claim comes after.
func (s *Script) Ready(ctl *os.File, fds []int) error {
	s.a.waits = 1
	return s.tell(ctl, messageGo, fds)
}

// Adopt is Go for a child whose program's process somebody else makes, as a child of it: it
// reports [ReportReady] once Setup is carried out, and waits for [Script.Adopted].
func (s *Script) Adopt(ctl *os.File, fds []int) error {
	s.a.adopts = 1
	return s.tell(ctl, messageGo, fds)
}

// Adopted tells the child that there is the program's process, which has number pid for it.
func (s *Script) Adopted(ctl *os.File, pid int) error {
	return s.send(ctl, message{kind: messageGo, pid: int32(pid)}, nil)
}

func (m message) bytes() []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))...)
}

// Claimed tells whether a program's process that was to wait has gone on.
func (s *Script) Claimed() bool { return s.a.claimed != 0 }

func (s *Script) tell(ctl *os.File, kind int32, fds []int) error {
	if s.err != nil {
		return s.err
	}
	return s.send(ctl, message{kind: kind, setup: s.a.count[stageSetup]}, fds)
}

func (s *Script) send(ctl *os.File, m message, fds []int) error {
	if len(fds) > maxFDs {
		return fmt.Errorf("%d descriptors for a child: at most %d", len(fds), maxFDs)
	}
	if err := SendFDs(ctl, m.bytes(), fds); err != nil {
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
		last := r.stage == stageClaim && int(r.step) == len(s.Claim.names)-1
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
