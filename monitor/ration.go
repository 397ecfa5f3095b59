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
	mu    sync.Mutex
	spent int       // records taken and not yet given back
	since time.Time // when spent was last brought up to date
}

// take counts one record and returns how long its environment has to wait.
func (r *ration) take(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if back := int(now.Sub(r.since) / recordEvery); back > 0 {
		r.spent = max(r.spent-back, 0)
		r.since = r.since.Add(time.Duration(back) * recordEvery)
		if r.spent == 0 {
			r.since = now
		}
	}
	r.spent++
	return time.Duration(max(r.spent-freeRecords, 0)) * recordEvery
}
