package supervisor

import (
	"context"
	"slices"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// ailing is how spares of a service fare: those that end before they are anybody's are
// replaced later and later.
type ailing struct {
	delay     time.Duration
	notBefore time.Time
}

// ended notes that one has ended by itself, after so long.
func (a *ailing) ended(policy manifest.Restart, lived time.Duration, part jitter) {
	if a.delay == 0 || lived > policy.Period {
		a.delay = policy.Backoff
	}
	a.notBefore = time.Now().Add(a.delay/2 + part(a.delay-a.delay/2))
	a.delay = min(2*a.delay, policy.BackoffMax)
}

// refillPause is after how long it is looked again whether the budget has room for spares.
const refillPause = 200 * time.Millisecond

// keepWarm keeps as many spares as the service is to have, until ctx ends. They have what
// is left of the budget, and of the places, and nobody waits for them.
func (p *pool) keepWarm(ctx context.Context) {
	p.mu.Lock()
	deps := p.spec.DependsOn
	p.mu.Unlock()
	for _, dep := range deps {
		other := p.s.now().units[dep]
		if other == nil {
			continue // it has been taken out of the manifest
		}
		select {
		case <-other.ready:
		case <-other.failed: // then what is started fails, and is tried again
		case <-ctx.Done():
			return
		}
	}
	for ctx.Err() == nil {
		p.mu.Lock()
		changed := p.changed
		wait := p.refill()
		p.mu.Unlock()
		awaitChange(ctx, changed, wait)
	}
}

// refill starts the spares that are missing and that there is room for, and returns after how
// long to look again at the latest, 0 for when something changes. The caller holds mu.
func (p *pool) refill() (wait time.Duration) {
	for !p.closed && !p.halted && len(p.spares) < p.spec.Warm && len(p.members)+len(p.spares) < p.spec.MaxInstances {
		if left := time.Until(p.ailing.notBefore); left > 0 {
			return left
		}
		if !p.s.admission.take(p.spec) {
			return refillPause
		}
		sp := newSpare(p.s, p.spec, 0)
		p.spares = append(p.spares, sp)
		p.lives.Go(func() { p.keep(sp) })
	}
	return 0
}

// keep is the life of a spare in the pool.
func (p *pool) keep(sp *spare) {
	began := time.Now()
	go func() {
		<-sp.settled
		p.mu.Lock()
		defer p.mu.Unlock()
		p.notify() // somebody may take it
	}()
	sp.live()
	p.mu.Lock()
	defer p.mu.Unlock()
	if sp.taken {
		return
	}
	p.s.admission.release(sp.svc)
	p.spares = slices.DeleteFunc(p.spares, func(o *spare) bool { return o == sp })
	if !sp.ending {
		p.ailing.ended(sp.svc.Restart, time.Since(began), p.s.jitter)
	}
	p.notify()
}

// take takes out a spare that is ready, nil if there is none. The caller holds mu, and starts
// the next one by notifying.
func (p *pool) take() *instance {
	for i, sp := range p.spares {
		if in := sp.take(); in != nil {
			p.spares = slices.Delete(p.spares, i, i+1)
			p.ailing = ailing{} // it was well
			return in
		}
	}
	return nil
}

// giveWay ends a spare for somebody who waits for the budget, and reports whether there
// is one, or one is ending.
func (p *pool) giveWay() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spares) == 0 {
		return false
	}
	for _, sp := range p.spares {
		if sp.ending {
			return true
		}
	}
	p.spares[len(p.spares)-1].end() // which has waited least
	return true
}

// standbyPause is between one that takes over and the start of the next: those who have
// waited for it come first.
const standbyPause = 100 * time.Millisecond

// standby keeps one spare of a service that has one instance, for when that ends.
func (u *unit) standby(ctx context.Context) {
	var ill ailing
	for {
		select {
		case <-u.stands: // it is ready itself
		case <-ctx.Done():
			return
		}
		ill.notBefore = time.Now().Add(standbyPause)
		for again := true; again; {
			select {
			case <-time.After(time.Until(ill.notBefore)):
			case <-ctx.Done():
				return
			}
			again = u.spareOnce(ctx, &ill)
		}
	}
}

// spareOnce is the life of one spare, and reports whether there is to be another one before
// the service needs it.
func (u *unit) spareOnce(ctx context.Context, ill *ailing) (again bool) {
	began := time.Now()
	u.mu.Lock()
	spec := u.spec
	if spec.Warm == 0 {
		u.mu.Unlock()
		return false
	}
	sp := newSpare(u.s, spec, u.starts.Add(1))
	u.spare = sp
	u.mu.Unlock()
	go sp.live()
	select {
	case <-sp.over:
	case <-ctx.Done():
		u.mu.Lock()
		sp.end()
		u.mu.Unlock()
		<-sp.over
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spare = nil
	switch {
	case sp.taken:
		*ill = ailing{} // it was well
	case !sp.ending:
		ill.ended(spec.Restart, time.Since(began), u.s.jitter)
	}
	return !sp.taken && ctx.Err() == nil
}

// dropSpare lets another one be started in its place: it is not what is to run from now on. The
// caller holds mu.
func (u *unit) dropSpare() {
	if u.spare != nil {
		u.spare.end()
	}
}

// stand says that the instance that there is serves: now another one may be made ready.
func (u *unit) stand() {
	select {
	case u.stands <- struct{}{}:
	default:
	}
}

// standsBy tells whether another one is ready.
func (u *unit) standsBy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spare != nil && u.spare.ready()
}

// promote makes the one that is ready the service's, nil if there is none.
func (u *unit) promote(ctx context.Context) *instance {
	u.mu.Lock()
	var in *instance
	if u.spare != nil {
		in = u.spare.take()
	}
	u.mu.Unlock()
	if in == nil {
		return nil
	}
	if err := in.claim(ctx, launch{}); err != nil {
		u.s.Logger.Error("standby", "service", u.spec.Name, "error", err)
		in.proc.Kill(executor.CausePolicy, err.Error())
		in.end()
		return nil
	}
	return in
}
