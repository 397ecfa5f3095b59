package supervisor

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"cofferdam/manifest"
)

// Progress is a service that has come to another state.
type Progress struct {
	Service string `json:"service"`
	State   State  `json:"state"`
	Detail  string `json:"detail,omitempty"`
	Settled bool   `json:"settled,omitempty"` // it is known for good whether it came up, and well
	Failed  bool   `json:"failed,omitempty"`  // it did not
}

// startsAtATime is how many services start at a time. A start is work for the host's cores, and
// so many more than there are would only be in each other's way; some wait for a disk.
func startsAtATime() int { return 4 + 2*runtime.NumCPU() }

// failGrace is how long, once a service has failed, others that are about to are waited for: so
// that one look at the errors is enough.
const failGrace = time.Second

// StartError says which services did not come up.
type StartError struct {
	File   string
	Failed []Failure // those that others depend on first
	Others []string  // services that depend on one of them
}

// Failure is a service that did not come up.
type Failure struct {
	Service string
	Pos     manifest.Pos // zero for a door, which nobody wrote
	Detail  string
}

func (e *StartError) Error() string {
	var lines []string
	for _, f := range e.Failed {
		at := ""
		if f.Pos != (manifest.Pos{}) {
			at = fmt.Sprintf("%s:%d:%d ", e.File, f.Pos.Line, f.Pos.Column)
		}
		lines = append(lines, fmt.Sprintf("%sservices.%s: %s", at, f.Service, f.Detail))
	}
	if n := len(e.Others); n > maxOthers {
		lines = append(lines, fmt.Sprintf("and what depends on them: %s and %d more", strings.Join(e.Others[:maxOthers], ", "), n-maxOthers))
	} else if n > 0 {
		lines = append(lines, "and what depends on them: "+strings.Join(e.Others, ", "))
	}
	return strings.Join(lines, "\n")
}

// maxOthers is how many services are named that depend on those that failed.
const maxOthers = 8

// waitReady returns once every service is ready. The error is a *StartError if some cannot become so.
func (s *Supervisor) waitReady(ctx context.Context) error {
	units := s.now().units
	settled := make(chan *unit, len(units))
	for _, u := range units {
		go func() {
			select {
			case <-u.ready:
			case <-u.failed:
			case <-ctx.Done():
			}
			settled <- u
		}()
	}
	var failed []*unit
	var enough <-chan time.Time
	for range units {
		select {
		case u := <-settled:
			select {
			case <-u.failed:
				failed = append(failed, u)
				if enough == nil {
					enough = time.After(failGrace)
				}
			default:
			}
			continue
		case <-enough:
		}
		break
	}
	if ctx.Err() != nil || len(failed) == 0 {
		return nil
	}
	return s.startError(failed)
}

func (s *Supervisor) startError(failed []*unit) error {
	slices.SortFunc(failed, func(a, b *unit) int { return strings.Compare(a.spec.Name, b.spec.Name) })
	e := &StartError{File: s.now().app.File}
	for _, u := range failed {
		u.mu.Lock()
		f, follows := Failure{u.spec.Name, u.spec.Pos, u.detail}, u.follows
		u.mu.Unlock()
		if follows {
			e.Others = append(e.Others, f.Service)
		} else {
			e.Failed = append(e.Failed, f)
		}
	}
	return e
}

// begins waits until the service may begin to start, and returns what to call when it has; an
// error is that of ctx.
func (s *Supervisor) begins(ctx context.Context) (begun func(), err error) {
	select {
	case s.starting <- struct{}{}:
		return func() { <-s.starting }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
