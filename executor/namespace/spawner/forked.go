package spawner

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// forked is a process that a zygote has made in the pid namespace of a blank, and that waits
// to become its program. It is a child of the blank's init. In other
// namespaces than that one, and as another user, it is only once it is told to.
type forked struct {
	zygote *zygote
	ctl    *os.File
	pidFD  int // -1 once an instance has it
	pid    int // its number for the init
}

func (f *forked) close() {
	f.zygote.living.Add(-1)
	f.ctl.Close()
	if f.pidFD >= 0 {
		unix.Close(f.pidFD)
	}
}

// fork has the zygote make a process in the blank k.
func (t *zygote) fork(k *blank) (err error) {
	if err := t.allow(); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a control socket: %w", err)
	}
	unix.SetNonblock(pair[0], true)
	t.living.Add(1)
	f := &forked{zygote: t, ctl: os.NewFile(uintptr(pair[0]), "control"), pidFD: -1}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	pidns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/pid", k.child.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = t.ask(pidns, pair[1])
		unix.Close(pidns)
	}
	unix.Close(pair[1])
	if err != nil {
		return err
	}
	f.ctl.SetReadDeadline(time.Now().Add(forkTimeout))
	report, pidfd, err := k.script.ReadReport(f.ctl)
	if f.pidFD = pidfd; err == nil && (report.Kind != linux.ReportReady || pidfd < 0) {
		err = errors.New("it does something else than wait")
	}
	if err != nil {
		return fmt.Errorf("a fork: %w", err)
	}
	f.pid = report.Pid()
	pid, err := linux.PidOf(pidfd)
	if err != nil {
		return err
	}
	if pid <= 0 {
		return fmt.Errorf("%w: what it made is dead", errZygoteGone)
	}
	if g := k.group(); g != nil {
		if err := g.Attach(pid); err != nil {
			return err
		}
		if readable(pidfd) { // it may be somebody of the same number
			return fmt.Errorf("%w: what it made has died", errZygoteGone)
		}
	}
	k.fork = f
	return nil
}

// adopt starts the program of i, which the zygote has forked: once the init has made the
// environment with set, the fork goes there, and the init waits for its end.
func (i *instance) adopt(set *setting, streams []int) error {
	k, sc, spec := i.blank, i.blank.script, i.spec
	f := k.fork
	i.began = time.Now()
	until := i.began.Add(startTimeout)
	if err := sc.Adopt(k.ctl, set.fds); err != nil {
		return err
	}
	script, err := sc.Pack(spec.Command.Args[len(spec.Fork.Interpreter):], spec.Command.Env, len(streams))
	if err != nil {
		return err
	}
	defer unix.Close(script)
	k.ctl.SetReadDeadline(until)
	if _, _, err := sc.ReadReport(k.ctl); err != nil {
		return i.startError(err)
	}
	k.ctl.SetReadDeadline(time.Time{})
	spaces, err := k.namespaces()
	if err != nil {
		return fmt.Errorf("%w: %v", linux.ErrChildGone, err)
	}
	err = linux.SendFDs(f.ctl, []byte{1}, slices.Concat(streams, []int{script}, spaces))
	linux.CloseFDs(spaces)
	if err != nil {
		return fmt.Errorf("%w: %v", linux.ErrChildGone, err)
	}
	f.ctl.SetReadDeadline(until)
	if _, _, err := sc.ReadReport(f.ctl); err != nil {
		return i.startError(err)
	}
	if err := sc.Adopted(k.ctl, f.pid); err != nil {
		return err
	}
	i.program, f.pidFD = f.pidFD, -1
	return nil
}

// namespaces opens those of a blank that its fork is to enter: a pidfd would not do, for
// nobody but us may look at an init.
func (k *blank) namespaces() (fds []int, err error) {
	for _, ns := range forkJoins {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", k.child.Pid, ns.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			linux.CloseFDs(fds)
			return nil, fmt.Errorf("open the namespaces of an environment: %w", err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
