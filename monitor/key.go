package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cofferdam/label"
	"cofferdam/wire"
)

// Key says which instance of a service is the one that a caller gets, of one that
// has its instances per label or per principal: the instance that was started with it, and
// never one that was started with another.
type Key struct {
	Principal string // for whom it runs; "" for nobody
	Flow      Flow   // what it starts with
}

// Instances says which instance of a service is the one that a caller gets.
type Instances int

// The kinds of instances.
const (
	Shared       Instances = iota // any
	PerCall                       // a new one, at the label of the service joined with the caller's; only of programs per call
	PerLabel                      // one that is at that label
	PerPrincipal                  // the one that runs for whom the caller runs for
)

// ofCaller tells whether the labels of an instance depend on its caller's.
func (s *Service) ofCaller() bool { return s.Instances == PerCall || s.Instances == PerLabel }

// meets says which instance somebody gets who runs for a principal and is at a label,
// and what the service is to whoever gets that one.
func (s *service) meets(principal string, at label.Label) (as Service, key Key, err error) {
	as = s.Service
	switch s.Instances {
	case PerPrincipal:
		if principal == "" {
			return as, key, refused("%s has an instance for each principal, and there is none that you run for", s.Name)
		}
		if as, err = s.of(principal); err != nil {
			return as, key, refused("%s: %v", s.Name, err)
		}
		return as, Key{principal, as.Flow}, nil
	case PerCall, PerLabel:
		if as.Flow.State, err = as.Flow.Inside(at); err != nil {
			err = fmt.Errorf("label ⊔ service: %w", err)
		}
		return as, Key{Flow: as.Flow}, err
	}
	return as, key, nil
}

// starts says what its service is to those who get e, and which of its instances it
// is.
func (e *Env) starts(under *policy, flow Flow) (err error) {
	var has *rights
	if e.as, has, err = under.rightsOf(e.self, e.id.Principal); err != nil {
		return err
	}
	e.rights.Store(has)
	switch e.self.Instances {
	case PerPrincipal:
		e.key = Key{e.id.Principal, flow}
	case PerLabel:
		e.as.Flow, e.key = flow, Key{Flow: flow}
	}
	return nil
}

// rightsOf are those of an instance of a service that runs for a principal, and what
// that service is to those who get it.
func (p *policy) rightsOf(s *service, principal string) (as Service, has *rights, err error) {
	as, has = s.Service, &rights{p, p.of(s.Name)}
	if s.For == nil || principal == "" {
		return as, has, nil
	}
	now := p.service(s.Name)
	if now == nil || now.For == nil {
		return as, has, fmt.Errorf("no service %q that has instances for somebody", s.Name)
	}
	if as, err = now.For(principal); err != nil {
		return as, has, err
	}
	var own []Grant
	if now.Granted != nil {
		if own, err = now.Granted(principal); err != nil {
			return as, has, err
		}
	}
	has.grants, err = has.grants.as(as, own)
	return as, has, err
}

// seek sends the call to the instance for its key, which is started if there is none,
// and does not end before the call has. When that one is lost before it has
// answered, and may be replaced, the next one is sought.
func (k *call) seek(body []byte) {
	if !k.keep(body) {
		k.finish(wire.Busy, nil)
		return
	}
	k.astray = make(chan struct{}, 1)
	ctx, cancel := context.WithDeadline(context.Background(), k.deadline)
	k.mu.Lock()
	k.over = cancel
	k.mu.Unlock()
	if k.done.Load() {
		cancel() // it ended before there was anything to wait for
	}
	go func() {
		defer cancel()
		defer k.method.tidy(k.terms.key)
		ctx, done := k.from.env.turn(ctx, k.method.of.Name+"."+k.method.Name, k.terms.key.Principal)
		defer done()
		for k.find(ctx) {
		}
	}()
}

// find sends the call to the instance for its key, and waits for the end of either. It
// reports whether the call goes on.
func (k *call) find(ctx context.Context) bool {
	md := k.method
	release, err := md.of.m.spawner.Instance(ctx, md.of.Name, k.terms.key)
	if err != nil {
		if ctx.Err() == nil {
			k.refuse(codeOf(err), nil, nil)
		}
		return false
	}
	defer release()
	md.dispatch(nil, k, k.kept())
	select {
	case <-k.astray:
	case <-ctx.Done():
		return false
	}
	// That its instance has ended is known here before it is to whoever starts them.
	select {
	case <-time.After(seekPause):
		return true
	case <-ctx.Done():
		return false
	}
}

// seekPause is between the loss of an instance and the search for the next.
const seekPause = 5 * time.Millisecond

// stray says of a call that it is at nobody, to whoever seeks an instance for it.
func (k *call) stray() {
	select {
	case k.astray <- struct{}{}:
	default: // it is known
	}
}

// codeOf is what a caller is told of an instance that did not come to serve.
func codeOf(err error) wire.Code {
	var coded wire.Error
	if errors.As(err, &coded) && (coded.Code == wire.Busy || coded.Code == wire.Broken) {
		return coded.Code
	}
	return wire.Unavailable
}
