package supervisor

import (
	"fmt"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/wire"
)

// Health is what the checks of an instance say of it; "" of one that is not checked.
type Health string

// The states of health.
const (
	Untried   Health = "starting" // no check has succeeded yet
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy" // too many in a row have failed
)

// health turns how checks went into one.
type health struct {
	spec     *manifest.Health
	from     time.Time // until then what fails does not count, see manifest.Health
	state    Health
	failures int    // in a row that count
	detail   string // of the last check, if it failed
}

func newHealth(spec *manifest.Health, began time.Time) health {
	return health{spec: spec, from: began.Add(spec.StartPeriod), state: Untried}
}

// note takes in how a check went that ended at now, and reports whether the state
// is another one.
func (h *health) note(now time.Time, err error) (changed bool) {
	before := h.state
	switch {
	case err == nil:
		h.failures, h.detail, h.state = 0, "", Healthy
	case h.state == Untried && now.Before(h.from):
		h.detail = err.Error()
	default:
		h.detail = err.Error()
		if h.failures++; h.failures >= h.spec.Retries {
			h.state = Unhealthy
		}
	}
	return h.state != before
}

// pause is how long to wait until the next check.
func (h *health) pause() time.Duration {
	if h.state == Untried {
		return h.spec.StartInterval
	}
	return h.spec.Interval
}

// String is the state with what speaks against it, for people; "" if nothing does.
func (h *health) String() string {
	switch {
	case h.detail == "":
		return ""
	case h.state == Unhealthy:
		return "unhealthy: " + h.detail
	case h.failures == 0:
		return "a check failed, which does not count yet: " + h.detail
	}
	return fmt.Sprintf("%d of %d checks failed: %s", h.failures, h.spec.Retries, h.detail)
}

// watch checks the instance, from when it is ready to its end. in.well is closed as soon
// as those who wait for it need not wait any longer.
func (in *instance) watch() {
	spec := in.svc.Health
	if spec == nil || in.svc.OnUnhealthy == manifest.Ignore {
		in.wellOnce.Do(func() { close(in.well) })
	}
	if spec == nil {
		return
	}
	for turn := 0; ; turn++ {
		err := in.check(turn)
		in.mu.Lock()
		changed := in.health.note(time.Now(), err)
		now, pause := in.health, in.health.pause()
		in.mu.Unlock()
		select {
		case <-in.proc.Done():
			return // which is why it failed, if it did
		default:
		}
		if changed {
			in.becomes(&now)
		}
		select {
		case <-time.After(pause):
		case <-in.proc.Done():
			return
		}
	}
}

// becomes acts on a state that is another one than before.
func (in *instance) becomes(h *health) {
	if h.state == Unhealthy {
		in.unwell(fmt.Sprintf("unhealthy: %d checks in a row failed, the last: %s", h.failures, h.detail))
		return
	}
	in.record(audit.Record{Kind: audit.KindHealth, Op: "check", Object: string(h.state)})
	in.wellOnce.Do(func() { close(in.well) })
}

// Unresponsive does with an instance that does not answer what its service says. See
// [cofferdam/monitor.Spawner].
func (s *Supervisor) Unresponsive(id wire.Identity, why string) {
	s.mu.Lock()
	in := s.runs[id.Instance]
	s.mu.Unlock()
	if in != nil {
		in.unwell(why)
	}
}

// unwell does with an instance that is unhealthy, or does not respond, what its service
// says. Why is for the operator.
func (in *instance) unwell(why string) {
	then := in.svc.OnUnhealthy
	if then == "" {
		then = manifest.Replace // a door
	}
	in.record(audit.Record{
		Kind: audit.KindHealth, Op: "check", Object: string(Unhealthy), Rule: "on_unhealthy: " + then, Detail: why,
	})
	in.say(why + "; on_unhealthy: " + then)
	in.s.Logger.Warn("instance unwell", "service", in.svc.Name, "instance", in.name, "then", then, "why", why)
	switch then {
	case manifest.Replace:
		in.proc.Kill(executor.CausePolicy, why)
	case manifest.Stop:
		in.mu.Lock()
		in.retired = why
		in.mu.Unlock()
		go in.stop(in.svc.StopGracePeriod)
	}
}

// retirement is why there is to be no next one, "" if there may be.
func (in *instance) retirement() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.retired
}

// say puts a line of ours into the log of the service, see [OurStream].
func (in *instance) say(text string) {
	in.s.logs.add(origin{in.svc.Name, in.name, OurStream}, text)
}
