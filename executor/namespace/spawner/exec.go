package spawner

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// Namespaces that a helper joins. The order is the kernel's.
const joined = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// exec runs a further program in i and returns how it ended. A helper, a child
// like an init, joins the namespaces and waits for the program. It cannot be
// seen from inside: it is not in the pid namespace, cannot be dumped, and has no
// descriptor but its control socket (CVE-2016-9962).
func (s *server) exec(gone *withdrawal, i *instance, req *link.Exec, fds []int) (executor.Exit, error) {
	if len(fds) != 3 {
		return executor.Exit{}, errors.New("an exec without its three streams")
	}
	init, err := i.dup(i.blank.child.PidFD)
	if err != nil {
		return executor.Exit{}, err
	}
	defer unix.Close(init)
	if err := i.admit(1); err != nil {
		return executor.Exit{}, err
	}
	defer i.admit(-1)
	sc, err := s.blanks.nests.room.NewScript()
	if err != nil {
		return executor.Exit{}, err
	}
	defer sc.Close()
	sc.Setup.Add("enter the environment", unix.SYS_SETNS, uintptr(len(fds)), joined)
	s.scripts.become(sc, s.ids.init())
	s.scripts.capabilities(sc, &sc.Setup)
	if i.waited {
		sc.Program.ToWait(0) // as the first program
	}
	if err := s.scripts.program(sc, i.spec, i.writable, len(fds)); err != nil {
		return executor.Exit{}, err
	}
	if err := s.scripts.execute(sc, &req.Command); err != nil {
		return executor.Exit{}, err
	}

	began := time.Now()
	// Not the nest of the blank, which gives it back as the environment ends. That of a fork has its
	// cradle in namespaces from where nobody may look at the init.
	from := i.nest
	if i.blank.fork != nil {
		from = &nest{group: i.group}
	}
	child, err := s.blanks.nests.clone(from, sc, 0, -1)
	if err != nil {
		return executor.Exit{}, i.stoppedOr(err)
	}
	ctl := sc.Control()
	defer ctl.Close()
	defer unix.Close(child.PidFD)
	defer reap(child.PidFD, nil)
	stop := func() { unix.PidfdSendSignal(child.PidFD, unix.SIGKILL, nil, 0) }
	defer stop()
	if err := sc.Go(ctl, append(slices.Clone(fds), init)); err != nil {
		return executor.Exit{}, i.stoppedOr(err)
	}
	begun := make(chan struct{})
	var ending sync.WaitGroup // while the helper's number is still its own
	gone.stopBy(func() { ending.Go(func() { endBelow(child.Pid, begun) }) })
	_, program, err := sc.ReadReport(ctl)
	close(begun)
	gone.stopBy(nil)
	ending.Wait()
	if err != nil {
		var step *linux.StepError
		if errors.As(err, &step) && step.Execute {
			return executor.Exit{}, &executor.StartError{Path: req.Command.Args[0], Err: step.Errno}
		}
		return executor.Exit{}, i.stoppedOr(err)
	}
	defer unix.Close(program)
	gone.stopBy(func() {
		// With what it started, as far as that is still in its process group.
		if unix.PidfdSendSignal(program, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP) != nil {
			unix.PidfdSendSignal(program, unix.SIGKILL, nil, 0) // before Linux 6.9
		}
	})
	defer gone.stopBy(nil)
	report, _, err := sc.ReadReport(ctl)
	if err != nil {
		return executor.Exit{}, i.stoppedOr(err)
	}
	exit := byStatus(report.Status(), &i.spec.Limits)
	exit.Usage = executor.Usage{Wall: time.Since(began), CPU: report.CPU(), MemoryBytes: report.MaxRSS()}
	return exit, nil
}

// endBelow kills what a helper has made, until the helper has told what became of it. By then it
// has the ids of the program that it is to be: before ABI 6 of Landlock others inside could stop
// it, for ever. The helper itself stays, for the two share their script.
func endBelow(helper int, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(5 * time.Millisecond):
		}
		for _, pid := range descendants(helper, nil) {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			if slices.Contains(descendants(helper, nil), pid) { // and is not somebody of the same number
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
	}
}

// admit counts programs started by exec, whose helpers must not be at the
// expense of the limit of processes.
func (i *instance) admit(n int) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended || i.over && n > 0 {
		return executor.ErrStopped
	}
	i.execs += n
	if i.group == nil {
		return nil
	}
	return i.group.Limit(groupLimits(&executor.Limits{Pids: i.spec.Limits.Pids}, i.ours+i.execs))
}

// stoppedOr is ErrStopped if the environment is ending, which explains any other
// error, and err otherwise.
func (i *instance) stoppedOr(err error) error {
	if errors.Is(err, unix.ESRCH) || readable(i.blank.child.PidFD) || errors.Is(err, os.ErrClosed) {
		return executor.ErrStopped
	}
	return err
}

// withdrawal is how a request is given up before its time. That can come before there
// is anything to stop, and even before the request is begun.
type withdrawal struct {
	mu   sync.Mutex
	gone bool   // guarded by mu: it was given up
	stop func() // guarded by mu: what is to be done then; nil if there is nothing
}

// stopBy says what stops the request, at once if it has been given up already.
func (w *withdrawal) stopBy(stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop = stop
	if w.gone && stop != nil {
		stop()
	}
}

func (w *withdrawal) cancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	if w.stop != nil {
		w.stop()
	}
}

// cancelable notes that a request can be given up, until forget.
func (s *server) cancelable(id uint64) *withdrawal {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &withdrawal{}
	s.cancels[id] = w
	return w
}

func (s *server) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cancels, id)
}

// cancel gives up a request, if it has not been answered.
func (s *server) cancel(id uint64) {
	s.mu.Lock()
	w := s.cancels[id]
	s.mu.Unlock()
	if w != nil {
		w.cancel()
	}
}
