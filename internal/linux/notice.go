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

// WaitCall is the call by which a program says that it waits: close(2) of a descriptor that no
// process has.
const WaitCall = 1<<31 - 1

// waitFilter has the kernel ask whoever listens what to answer to that, and is in nobody's
// way otherwise.
func waitFilter() []unix.SockFilter {
	const nr, low, high = 0, 16, 20 // in struct seccomp_data; both architectures are little endian
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: k}
	}
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	return []unix.SockFilter{
		load(nr), unless(unix.SYS_CLOSE, 5), load(low), unless(WaitCall, 3), load(high), unless(0, 1),
		ret(unix.SECCOMP_RET_USER_NOTIF), ret(unix.SECCOMP_RET_ALLOW),
	}
}

// ToWait appends the step that has somebody be asked about [WaitCall], with flags of seccomp(2). Where nobody
// listens the answer is ENOSYS.
func (g *Stage) ToWait(flags uintptr) Step {
	return g.Add("have it be asked when it waits", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, g.script.Filter(waitFilter()))
}

// Listen appends steps that have [WaitCall] wait for us: the parent gets, with a report
// [ReportReady], the descriptor for [NewNotice].
func (g *Stage) Listen() {
	s := g.script
	hand := make([]byte, 24)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&hand[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	control, fd := s.BytesWithSlot(hand, 16)
	report := Report{Kind: ReportReady}
	body := s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&report)), unsafe.Sizeof(report)))
	iov := unix.Iovec{Len: uint64(unsafe.Sizeof(report))}
	*(*uintptr)(unsafe.Pointer(&iov.Base)) = body
	at := s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&iov)), unsafe.Sizeof(iov)))
	msg := unix.Msghdr{Iovlen: 1}
	*(*uintptr)(unsafe.Pointer(&msg.Iov)) = at
	*(*uintptr)(unsafe.Pointer(&msg.Control)) = control
	msg.SetControllen(len(hand))
	message := s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&msg)), unsafe.Sizeof(msg)))
	g.ToWait(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER).Into(fd)
	g.Add("hand over who is asked", unix.SYS_SENDMSG, ControlFD, message, unix.MSG_NOSIGNAL)
}

// Notice is how we hear of a program that waits, and let it go on.
type Notice struct {
	f  *os.File
	id uint64 // of the call that waits, 0 until Await has returned
}

// ErrNotWaiting is returned when nobody is there who waits.
var ErrNotWaiting = errors.New("it does not wait")

// NewNotice takes over the descriptor that came of [Stage.Listen].
func NewNotice(fd int) (*Notice, error) {
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not poll it
		unix.Close(fd)
		return nil, fmt.Errorf("listen for who waits: %w", err)
	}
	return &Notice{f: os.NewFile(uintptr(fd), "notice")}, nil
}

// Close lets whoever waits, or comes to, go on with ENOSYS.
func (n *Notice) Close() error { return n.f.Close() }

// struct seccomp_notif, struct seccomp_notif_resp and struct seccomp_notif_addfd of seccomp(2).
type (
	noticeAsked struct {
		id         uint64
		pid, flags uint32
		data       [64]byte
	}
	noticeAnswer struct {
		id, val      uint64
		errno, flags int32
	}
	noticeFD struct {
		id                             uint64
		flags, source, target, fdFlags uint32
	}
)

// Await returns once somebody waits. [ErrNotWaiting] says that everybody who could has
// ended.
func (n *Notice) Await(within time.Duration) error {
	n.f.SetReadDeadline(time.Now().Add(within))
	raw, err := n.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); n == 0 && err == nil || err == unix.EINTR {
			return false
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			failed = ErrNotWaiting
			return true
		}
		var asked noticeAsked
		failed = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked))
		n.id = asked.id
		return failed != unix.ENOENT // it was gone, and may come again
	})
	return errors.Join(failed, err)
}

// Waits tells whether who did when Await returned still does.
func (n *Notice) Waits() bool {
	raw, err := n.f.SyscallConn()
	if err != nil {
		return false
	}
	failed := raw.Control(func(fd uintptr) { err = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&n.id)) })
	return failed == nil && err == nil
}

// Answer gives the one who waits fds, as the descriptors from 0 upwards in place of what it
// has there, and lets it go on. They have flags: 0 or O_CLOEXEC.
func (n *Notice) Answer(fds []int, flags int) error {
	raw, err := n.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for target, source := range fds {
			add := noticeFD{id: n.id, flags: unix.SECCOMP_ADDFD_FLAG_SETFD, source: uint32(source), target: uint32(target), fdFlags: uint32(flags)}
			if failed = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&add)); failed != nil {
				return
			}
		}
		failed = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&noticeAnswer{id: n.id}))
	})
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("answer who waits: %w", err)
	}
	return nil
}

// ioctl makes one that returns nothing, again if a signal has interrupted it.
func ioctl(fd, nr uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := syscall.Syscall(unix.SYS_IOCTL, fd, nr, uintptr(arg))
		switch errno {
		case unix.EINTR:
		case 0:
			return nil
		default:
			return errno
		}
	}
}
