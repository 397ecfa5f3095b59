package monitor

import (
	"sync"
	"sync/atomic"
	"time"
)

// store counts what one environment makes the monitor keep, in bytes: bodies of
// calls that wait or may be repeated, and frames that it does not read. Without
// a bound for all of it together, the bounds of each of its connections would
// add up to gigabytes.
type store struct{ bytes atomic.Int64 }

// take reports false, and takes nothing, if that would be more than maxHeldBytes.
func (s *store) take(n int) bool {
	if s.bytes.Add(int64(n)) > maxHeldBytes {
		s.bytes.Add(int64(-n))
		return false
	}
	return true
}

// add takes without asking: at most one frame for each connection, of which the
// environment has read the beginning.
func (s *store) add(n int) { s.bytes.Add(int64(n)) }

func (s *store) give(n int) { s.bytes.Add(int64(-n)) }

// ration is a token bucket for what an environment can write to the audit log
// without having any grant. Each such record is free at first; after
// freeRecords of them the environment waits, so that it cannot fill the disk,
// which would stop everybody.
type ration struct {
	short atomic.Bool // see isShort

	mu    sync.Mutex
	spent int       // records taken and not yet given back
	since time.Time // when spent was last brought up to date
}

// isShort tells whether half of it is used up: then the next records may have to be
// waited for. Those that are taken at one time are fewer than the other half.
func (r *ration) isShort() bool {
	if !r.short.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.update(time.Now())
	return r.short.Load()
}

// take counts one record and returns how long its environment has to wait.
func (r *ration) take(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.update(now)
	r.spent++
	r.short.Store(r.spent > freeRecords/2)
	return time.Duration(max(r.spent-freeRecords, 0)) * recordEvery
}

// update gives back what time has. The caller holds mu.
func (r *ration) update(now time.Time) {
	if back := int(now.Sub(r.since) / recordEvery); back > 0 {
		r.spent = max(r.spent-back, 0)
		r.since = r.since.Add(time.Duration(back) * recordEvery)
		if r.spent == 0 {
			r.since = now
		}
		r.short.Store(r.spent > freeRecords/2)
	}
}
