package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// interpreters has those of one service wait that are executed before anybody wants one. Unlike
// environments in which nothing runs they use memory: so they have what the budget leaves over, but for
// one instance that could claim one, and give way as soon as somebody waits for it.
type interpreters struct {
	s      *Supervisor
	svc    *manifest.Service
	spec   *executor.Spec
	text   string        // see shapeText
	wake   chan struct{} // has one if it is to look
	ended  chan struct{} // closed when none waits any more
	cancel context.CancelFunc
	yields atomic.Bool // one is to give way

	mu   sync.Mutex
	held int                // guarded by mu: so many have their part of the budget
	stop context.CancelFunc // guarded by mu: of what is being asked of the executor, nil for nothing
}

// Between two looks whether they wait: whether what kept them from it is over, and whether there is
// room again.
const (
	aheadEvery     = 30 * time.Second
	aheadRoomEvery = time.Second
)

// keepAhead has interpreters of svc wait until the end of ctx, or of what it returns.
func (s *Supervisor) keepAhead(ctx context.Context, svc *manifest.Service, spec *executor.Spec, text string) *interpreters {
	ctx, cancel := context.WithCancel(ctx)
	k := &interpreters{s: s, svc: svc, spec: spec, text: text, wake: make(chan struct{}, 1), ended: make(chan struct{}), cancel: cancel}
	go k.keep(ctx)
	return k
}

// end ends those that wait.
func (k *interpreters) end() {
	k.cancel()
	<-k.ended
}

// keep is its life.
func (k *interpreters) keep(ctx context.Context) {
	defer close(k.ended)
	tell := func(format string, args ...any) { k.s.preparations.tell(k.svc.Name, fmt.Sprintf(format, args...)) }
	said := ""
	for {
		want, all := k.reserve(), k.svc.Ahead.Spares
		pause := aheadEvery
		err := k.ask(ctx, want)
		switch {
		case ctx.Err() != nil:
			k.s.Executor.Prepare(context.WithoutCancel(ctx), k.spec, 0)
			k.give(0)
			return
		case k.yields.Load():
			pause = 0 // and what came of it does not matter
		case err != nil:
			k.give(0)
			tell("nothing waits: %v", err)
			if err.Error() != said {
				k.s.Logger.Error("prepare", "service", k.svc.Name, "error", err)
			}
		case want < all:
			pause = aheadRoomEvery
			tell("%d of %d interpreters wait, for the budget has no room for more", want, all)
		default:
			tell("%s", wait(want, "interpreter"))
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		select {
		case <-time.After(pause):
		case <-k.wake:
		case <-ctx.Done():
		}
		if k.yields.Swap(false) && ctx.Err() == nil {
			k.mu.Lock()
			left := max(k.held-1, 0)
			k.mu.Unlock()
			k.ask(ctx, left)
			k.give(left)
		}
	}
}

// ask has so many wait, which a call of giveWay interrupts.
func (k *interpreters) ask(ctx context.Context, n int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	k.mu.Lock()
	k.stop = stop
	k.mu.Unlock()
	if k.yields.Load() {
		stop()
	}
	err := k.s.Executor.Prepare(ctx, k.spec, n)
	k.mu.Lock()
	k.stop = nil
	k.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		return errYields
	}
	return err
}

var errYields = errors.New("somebody waits for the budget")

// reserve takes a part of the budget for each that is to wait, as far as there is room, and says how many
// have theirs.
func (k *interpreters) reserve() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.held < k.svc.Ahead.Spares && k.s.admission.takeBeside(k.svc) {
		k.held++
	}
	return k.held
}

// give gives parts of the budget back, but for n.
func (k *interpreters) give(n int) {
	k.mu.Lock()
	surplus := max(k.held-n, 0)
	k.held -= surplus
	k.mu.Unlock()
	for range surplus {
		k.s.admission.release(k.svc)
	}
}

// giveWay has one end, if any has a part of the budget.
func (k *interpreters) giveWay() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == 0 {
		return false
	}
	k.yields.Store(true)
	if k.stop != nil {
		k.stop()
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return true
}
