package supervisor

import (
	"container/list"
	"context"
	"fmt"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/wire"
)

// member is one instance of a pool, from the wish for it to its end.
type member struct {
	pool    *pool
	spec    *manifest.Service
	key     monitor.Key
	settled chan struct{} // closed when it serves, or will not
	err     error         // why it will not; fixed before settled is closed
	asked   chan struct{} // closed when it is to end
	turn    monitor.Turn  // for the budget
	from    *instance     // the spare that it is to become, nil for none

	// guarded by pool.mu
	state  State
	in     *instance
	uses   int
	since  time.Time     // when the last use ended
	place  *list.Element // among those that are idle; nil if it is not
	timer  *time.Timer   // runs while nobody uses it
	ending bool

	leaving bool // nobody else may use it: it ends as soon as nobody does
}

func newMember(p *pool, key monitor.Key) *member {
	return &member{pool: p, spec: p.spec, key: key, state: Queued, settled: make(chan struct{}), asked: make(chan struct{})}
}

// use counts one more. The caller holds pool.mu.
func (m *member) use() {
	m.uses++
	m.busy()
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
}

// busy takes it out of those that are idle. The caller holds pool.mu.
func (m *member) busy() {
	if m.place != nil {
		m.pool.idle.Remove(m.place)
		m.place = nil
	}
}

// idle tells whether it could end without harm to anybody. The caller holds pool.mu.
func (m *member) idle() bool { return m.uses == 0 && !m.ending }

// end asks it to end. The caller holds pool.mu.
func (m *member) end() {
	if !m.ending {
		m.ending = true
		m.pool.ending++
		m.busy()
		close(m.asked)
	}
}

// set notes where it is in its life.
func (m *member) set(state State, in *instance) {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.state, m.in = state, in
}

// settle says, the first time, whether it serves.
func (m *member) settle(err error) {
	m.err = err
	close(m.settled)
}

// live is its life.
func (m *member) live() {
	p := m.pool
	ctx, cancel := context.WithCancel(monitor.WithTurn(context.Background(), &m.turn))
	defer cancel()
	go func() {
		select {
		case <-m.asked:
			cancel()
		case <-ctx.Done():
		}
	}()
	in, err := m.begin(ctx)
	if err == nil {
		err = in.awaitReady(ctx, readyTimeout)
	}
	if err != nil && m.from != nil && ctx.Err() == nil {
		// The next one is started for this key: only then what becomes of it is its own affair.
		if in != nil {
			m.lose(in, err)
		}
		m.from = nil
		if in, err = m.begin(ctx); err == nil {
			err = in.awaitReady(ctx, readyTimeout)
		}
	}
	if in == nil {
		asked := ctx.Err() != nil
		if !asked {
			p.s.Logger.Error("instance", "service", m.spec.Name, "principal", m.key.Principal, "error", err)
		}
		p.gone(m, asked || err == wire.ErrBusy, false, err.Error())
		m.settle(err)
		return
	}
	if err == nil {
		m.set(Ready, in)
		m.settle(nil)
	} else if ctx.Err() == nil {
		in.proc.Kill(executor.CausePolicy, err.Error())
	}
	select {
	case <-in.proc.Done():
	case <-m.asked:
		in.stop(m.spec.StopGracePeriod)
	}
	in.end()
	p.s.admission.release(m.spec)
	exit := in.proc.Exit()
	retired := in.retirement()
	if retired != "" {
		p.retired(m.key, retired)
	}
	well := ctx.Err() != nil || retired != "" || exit.Code == 0 && m.spec.Restart.Policy == "on-failure"
	if !well {
		p.s.tallyOf(m.spec.Name).restarted(exit.Cause) // by the next who asks
	}
	p.gone(m, well, in.served.Load(), Ending(exit))
	if err != nil {
		m.settle(err)
	}
}

// begin starts it, after what it depends on and once the budget has room.
func (m *member) begin(ctx context.Context) (*instance, error) {
	s, svc := m.pool.s, m.spec
	for _, dep := range svc.DependsOn {
		u := s.now().units[dep]
		if u == nil {
			continue // it has been taken out of the manifest
		}
		select {
		case <-u.ready:
		case <-u.failed:
			return nil, fmt.Errorf("depends on %q, which did not start", dep)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if in := m.from; in != nil {
		err := in.claim(ctx, launch{principal: m.key.Principal, flow: &m.key.Flow})
		if err == nil {
			m.set(Starting, in)
			return in, nil
		}
		m.lose(in, err)
		return nil, err
	}
	if err := s.admitted(ctx, svc, m.key.Principal, m.key.Flow.Label); err != nil {
		return nil, err
	}
	m.set(Starting, nil)
	in, err := s.start(ctx, svc, launch{principal: m.key.Principal, flow: &m.key.Flow})
	if err != nil {
		s.admission.release(svc)
		return nil, err
	}
	m.set(Starting, in)
	return in, nil
}

// lose ends a spare that did not become what was wanted of it.
func (m *member) lose(in *instance, err error) {
	in.proc.Kill(executor.CausePolicy, err.Error())
	in.end()
	m.set(Starting, nil)
	m.pool.s.admission.release(m.spec)
}

// Ending is how an instance ended, for people.
func Ending(exit executor.Exit) string {
	if exit.Detail != "" {
		return exit.Detail
	}
	return fmt.Sprintf("%s, code %d", exit.Cause, exit.Code)
}
