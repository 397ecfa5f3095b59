package numbers

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of the buckets of every histogram; above the last is one
// more. The first are as far apart as a call on a quiet machine and one on a busy one.
var Bounds = [...]time.Duration{
	25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 10 * time.Minute,
}

// Histogram counts durations. The zero value is ready.
type Histogram struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

// Observe counts one.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Copy is what was counted so far. One that is being counted may be in it by half.
func (h *Histogram) Copy() HistogramCopy {
	c := HistogramCopy{Sum: time.Duration(h.sum.Load())}
	for i := range h.buckets {
		c.Buckets[i] = h.buckets[i].Load()
	}
	return c
}

// HistogramCopy is what a [Histogram] had counted at a time.
type HistogramCopy struct {
	Buckets [len(Bounds) + 1]uint64 `json:"buckets"` // not cumulative; see [Bounds]
	Sum     time.Duration           `json:"sum_ns"`
}

// Count is how many durations are in it.
func (h HistogramCopy) Count() (n uint64) {
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// Plus is both together.
func (h HistogramCopy) Plus(o HistogramCopy) HistogramCopy {
	for i := range h.Buckets {
		h.Buckets[i] += o.Buckets[i]
	}
	h.Sum += o.Sum
	return h
}

// Since is what has been counted after the earlier copy before was made.
func (h HistogramCopy) Since(before HistogramCopy) HistogramCopy {
	for i := range h.Buckets {
		h.Buckets[i] -= min(before.Buckets[i], h.Buckets[i]) // it began anew, were that more
	}
	h.Sum = max(h.Sum-before.Sum, 0)
	return h
}

// Quantile is the duration below which the part q (from 0 to 1) of what was counted
// lies, as well as the buckets can say, and 0 of nothing.
func (h HistogramCopy) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank, below := q*float64(total), uint64(0)
	for i, n := range h.Buckets {
		if float64(below+n) < rank || n == 0 {
			below += n
			continue
		}
		if i == len(Bounds) {
			break
		}
		var from time.Duration
		if i > 0 {
			from = Bounds[i-1]
		}
		part := (rank - float64(below)) / float64(n)
		return from + time.Duration(part*float64(Bounds[i]-from))
	}
	return Bounds[len(Bounds)-1]
}
