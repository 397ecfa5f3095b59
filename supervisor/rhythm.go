package supervisor

import (
	"fmt"
	"math/rand/v2"
	"time"

	"cofferdam/manifest"
)

// jitter is a random part of d, from nothing to all of it.
type jitter func(d time.Duration) time.Duration

func anyPart(d time.Duration) time.Duration { return rand.N(d + 1) }

// rhythm says when the next instance is due of something whose instances end by
// themselves. The first end in a period costs nothing if it had been well: then the next one starts at
// once, for callers wait for it. Each further one waits, twice as long as the one before,
// and half of that is random, so that those who fell together do not rise together.
type rhythm struct {
	policy manifest.Restart
	ends   []time.Time   // within the last period
	delay  time.Duration // the next time
}

// ended takes in that one ended at now, which had been well or not, and returns how long
// the next one has to wait; or that it is broken: it has ended too often.
func (r *rhythm) ended(now time.Time, well bool, part jitter) (wait time.Duration, broken bool) {
	kept := r.ends[:0]
	for _, t := range r.ends {
		if now.Sub(t) < r.policy.Period {
			kept = append(kept, t)
		}
	}
	first := len(kept) == 0
	r.ends = append(kept, now)
	broken = len(r.ends) > r.policy.Intensity
	if first {
		r.delay = r.policy.Backoff
		if well {
			return 0, broken
		}
	}
	wait = r.delay/2 + part(r.delay-r.delay/2)
	r.delay = min(2*r.delay, r.policy.BackoffMax)
	return wait, broken
}

// tooOften is what is said of what is broken.
func (r *rhythm) tooOften(last string) string {
	return fmt.Sprintf("ended %d times within %v; the last: %s", len(r.ends), r.policy.Period, last)
}
