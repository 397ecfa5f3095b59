package supervisor

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// spare is an instance that runs and is ready before anybody has asked for it, and that is
// nobody's: the monitor does not know it. Its wire socket and the names that resolve
// inside take connections, and nobody serves them, so that whatever it asks for waits
// until it is claimed; then it is asked as what it has become. It is claimed once, with
// a principal and labels, and from there on is like one that was started for
// them: what has not been asked by then has seen nothing of anybody's.
type spare struct {
	s      *Supervisor
	svc    *manifest.Service
	number uint64 // see launch

	settled chan struct{} // closed when it is ready, or will not be
	asked   chan struct{} // closed when it is to end
	claimed chan struct{} // closed when it is somebody's
	over    chan struct{} // closed when it is that, or has ended

	fate atomic.Bool // it is decided whether it is somebody's or ends: by whoever sets this

	in  *instance // nil if it did not start; fixed before settled is closed
	err error     // why it is not ready; fixed before settled is closed

	// guarded by the lock of whoever keeps it
	taken, ending bool
}

func newSpare(s *Supervisor, svc *manifest.Service, number uint64) *spare {
	return &spare{
		s: s, svc: svc, number: number,
		settled: make(chan struct{}), asked: make(chan struct{}), claimed: make(chan struct{}), over: make(chan struct{}),
	}
}

// live is its life, until it is somebody's.
func (sp *spare) live() {
	defer close(sp.over)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-sp.asked:
			cancel()
		case <-ctx.Done():
		}
	}()
	sp.in, sp.err = sp.s.start(ctx, sp.svc, launch{number: sp.number, spare: true})
	in := sp.in
	if sp.err == nil {
		sp.err = in.awaitWarm(ctx, readyTimeout)
	}
	if sp.err != nil && ctx.Err() == nil {
		sp.s.Logger.Error("spare", "service", sp.svc.Name, "error", sp.err)
	}
	close(sp.settled)
	if in == nil {
		return
	}
	if sp.err != nil {
		in.proc.Kill(executor.CausePolicy, sp.err.Error())
	}
	select {
	case <-sp.claimed:
		return
	case <-in.proc.Done():
	case <-sp.asked:
		// It has nothing that it could lose.
		in.proc.Kill(executor.CausePolicy, "nobody has claimed it")
	}
	if !sp.fate.CompareAndSwap(false, true) {
		return // somebody has taken it as it ended, and sees to that
	}
	in.end()
}

// ready tells whether it could be claimed. The caller holds the lock.
func (sp *spare) ready() bool {
	if sp.taken || sp.ending {
		return false
	}
	select {
	case <-sp.settled:
	default:
		return false
	}
	select {
	case <-sp.over:
		return false
	default:
		return sp.err == nil
	}
}

// take makes it the caller's, nil if it is not ready. The caller holds the lock.
func (sp *spare) take() *instance {
	if !sp.ready() || !sp.fate.CompareAndSwap(false, true) {
		return nil
	}
	sp.taken = true
	close(sp.claimed)
	return sp.in
}

// end asks it to end. The caller holds the lock.
func (sp *spare) end() {
	if !sp.taken && !sp.ending {
		sp.ending = true
		close(sp.asked)
	}
}

// status is what ps shows of it. The caller holds the lock.
func (sp *spare) status() Status {
	st := Status{Service: sp.svc.Name, State: Starting, Limits: limitsOf(sp.svc.Limits)}
	select {
	case <-sp.settled:
	default:
		return st
	}
	if sp.in != nil {
		st.Instance, st.Pid, st.Usage = sp.in.name, sp.in.proc.Pid(), sp.in.proc.Usage()
	}
	if sp.ready() {
		st.State = Warm
	}
	return st
}

// claim makes a spare that was taken an instance of whom l is for. It is served from now
// on, and what it has asked for by now is answered.
func (in *instance) claim(ctx context.Context, l launch) error {
	if err := in.become(ctx, l); err != nil {
		return fmt.Errorf("claim %s: %w", in.name, err)
	}
	in.spare.Store(false)
	in.attend(ctx)
	return nil
}

// awaitWarm returns once a spare has come as far as it can by itself: it listens on its
// ports and, if it answers methods, has knocked at the monitor's. From then on it is
// checked.
func (in *instance) awaitWarm(ctx context.Context, timeout time.Duration) error {
	deadline := time.After(timeout)
	for pause := firstLook; ; pause = min(2*pause, 100*time.Millisecond) {
		if (len(in.svc.Provides) == 0 || in.knocks()) && in.listens(ctx, in.svc.Ports()) {
			if in.svc.Health == nil || in.svc.Health.Call == "" {
				in.watching.Do(func() { go in.watch() })
			}
			return nil
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			return fmt.Errorf("not warm after %v: it must listen on its ports, and connect to the monitor if it provides calls", timeout)
		case <-in.proc.Done():
			return executor.ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// knocks tells whether somebody inside has connected to the wire socket, who is not
// accepted yet.
func (in *instance) knocks() bool {
	raw, err := in.wire.SyscallConn()
	if err != nil {
		return false
	}
	waits := false
	raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		waits = err == nil && n > 0
	})
	return waits
}
