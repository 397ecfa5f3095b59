package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// State is where a service is in its life.
type State string

// The states of a service.
const (
	Waiting  State = "waiting"  // for those it depends on
	Starting State = "starting" // runs, and does not answer yet
	Ready    State = "ready"
	Backoff  State = "backoff"  // ended; will be started again
	Exited   State = "exited"   // ended; will not be started again
	Broken   State = "broken"   // ended too often
	Stopped  State = "stopped"  // by the operator
	Queued   State = "queued"   // on demand; waits for the budget to have room
	Warm     State = "warm"     // ready, and nobody's yet
	Prepared State = "prepared" // no instance, but what one will be made of
)

// readyTimeout is how long an instance may take until it answers.
const readyTimeout = 30 * time.Second

// unit keeps one service running.
type unit struct {
	s    *Supervisor
	spec *manifest.Service

	ready, failed chan struct{} // one of them is closed, once, by settle
	settled       sync.Once
	starts        atomic.Uint64
	stands        chan struct{} // has room for one; see standby

	orders  chan *order
	pending *order // to be fulfilled by the next instance; read and written by run alone
	turning bool   // the last one ended for it; as pending
	halt    *order // as pending

	mu       sync.Mutex
	state    State
	detail   string
	current  *instance
	spare    *spare // nil for none
	restarts int
	lastExit *executor.Exit
	follows  bool // it did not start because another one did not
}

func newUnit(s *Supervisor, svc *manifest.Service) *unit {
	return &unit{s: s, spec: svc, state: Waiting, ready: make(chan struct{}), failed: make(chan struct{}), orders: make(chan *order), stands: make(chan struct{}, 1)}
}

// keep keeps the service running, until it is not to be started again.
func (u *unit) keep(ctx context.Context) {
	u.set(Waiting, "")
	for _, dep := range u.spec.DependsOn {
		other := u.s.now().units[dep]
		if other == nil {
			continue // it has been taken out of the manifest
		}
		select {
		case <-other.ready:
			continue
		default:
			u.set(Waiting, "for "+dep)
		}
		for came := false; !came; {
			select {
			case <-other.ready:
				came = true
			case <-other.failed:
				u.mu.Lock()
				u.follows = true
				u.mu.Unlock()
				u.end(Broken, fmt.Sprintf("depends on %q, which did not start", dep))
				return
			case o := <-u.orders:
				if u.take(o); u.halted() {
					return
				}
			case <-ctx.Done():
				u.set(Stopped, "")
				return
			}
		}
	}
	var spares sync.WaitGroup
	standing, cancel := context.WithCancel(ctx)
	spares.Go(func() { u.standby(standing) })
	defer spares.Wait()
	defer cancel()
	next := rhythm{policy: u.spec.Restart}
	for {
		in, err := u.once(ctx)
		if ctx.Err() != nil {
			u.set(Stopped, "")
			return
		}
		var exit executor.Exit
		var detail, retired string
		var served bool
		if err == nil {
			exit, retired, served = in.proc.Exit(), in.retirement(), in.served.Load()
			detail = Ending(exit)
		} else {
			detail = err.Error()
			u.s.Logger.Error("instance", "service", u.spec.Name, "error", err)
		}
		if u.turns(detail) {
			continue // at once: the operator wants another one
		}
		if u.halted() {
			return
		}
		if errors.Is(err, executor.ErrUnsupported) {
			u.end(Broken, detail) // the next one would not fare better
			return
		}
		if retired != "" {
			u.settle(false) // however politely it ended
			u.end(Exited, retired)
			return
		}
		if !u.again(exit, err) {
			u.end(Exited, detail)
			return
		}
		wait, broken := next.ended(time.Now(), served, u.s.jitter)
		if broken {
			u.end(Broken, next.tooOften(detail))
			return
		}
		if u.standsBy() {
			u.restarted(exit.Cause)
			continue // nobody has to wait
		}
		u.set(Backoff, detail)
		select {
		case <-time.After(wait):
		case o := <-u.orders:
			if u.take(o); u.halted() {
				return
			}
		case <-ctx.Done():
			u.set(Stopped, "")
			return
		}
		u.restarted(exit.Cause)
	}
}

func (u *unit) restarted(cause executor.Cause) {
	u.mu.Lock()
	u.restarts++
	u.mu.Unlock()
	u.s.tallyOf(u.spec.Name).restarted(cause)
}

// again tells whether the policy wants another instance.
func (u *unit) again(exit executor.Exit, err error) bool {
	switch u.spec.Restart.Policy {
	case "no":
		return false
	case "on-failure":
		return err != nil || exit.Code != 0
	}
	return true
}

// once runs one instance from start to end. When ctx ends it is stopped.
func (u *unit) once(ctx context.Context) (*instance, error) {
	u.s.monitor.SetState(u.spec.Name, monitor.Up)
	in := u.promote(ctx)
	if in != nil {
		u.set(Starting, "")
	} else {
		begun, err := u.s.begins(ctx)
		if err != nil {
			return nil, err
		}
		u.set(Starting, "")
		in, err = u.s.start(ctx, u.spec, launch{number: u.starts.Add(1)})
		begun()
		if err != nil {
			return nil, err
		}
	}
	u.mu.Lock()
	u.current = in
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		exit := in.proc.Exit()
		u.current, u.lastExit = nil, &exit
		u.mu.Unlock()
	}()
	var well <-chan struct{}
	if err := in.awaitReady(ctx, readyTimeout); err == nil {
		u.set(Ready, "")
		well = in.well
	} else if ctx.Err() == nil {
		in.proc.Kill(executor.CausePolicy, err.Error())
	}
	select {
	case <-well:
		u.settle(true)
		u.fulfil(in)
		u.stand()
	case <-in.proc.Done():
	case <-ctx.Done():
	}
	in = u.attend(ctx, in)
	in.end()
	return in, nil
}

func (u *unit) end(state State, detail string) {
	u.set(state, detail)
	told := monitor.Stopped
	if state == Broken {
		told = monitor.Broken
	}
	u.s.monitor.SetState(u.spec.Name, told)
	if state == Broken {
		u.s.record(audit.Record{Kind: audit.KindLimit, Subject: u.spec.Name, Op: "restart", Object: string(state), Detail: detail})
	}
	level := slog.LevelWarn
	if state == Exited {
		level = slog.LevelInfo
	}
	u.s.Logger.Log(context.Background(), level, "service "+string(state), "service", u.spec.Name, "detail", detail)
	u.mu.Lock()
	done := state == Exited && u.lastExit != nil && u.lastExit.Code == 0
	u.mu.Unlock()
	u.settle(done) // a job that ended well is what its dependants wait for
}

// settle says, the first time, whether the service came up.
func (u *unit) settle(up bool) {
	u.settled.Do(func() {
		if up {
			close(u.ready)
		} else {
			close(u.failed)
		}
		u.mu.Lock()
		state, detail := u.state, u.detail
		u.mu.Unlock()
		u.tell(Progress{Service: u.spec.Name, State: state, Detail: detail, Settled: true, Failed: !up})
	})
}

func (u *unit) set(state State, detail string) {
	u.mu.Lock()
	u.state, u.detail = state, detail
	u.mu.Unlock()
	u.tell(Progress{Service: u.spec.Name, State: state, Detail: detail})
}

func (u *unit) tell(p Progress) {
	if u.s.Progress != nil {
		u.s.Progress(p)
	}
}
