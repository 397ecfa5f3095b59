package numbers

import (
	"sync"
	"testing"
	"time"
)

func TestBoundsRise(t *testing.T) {
	for i := 1; i < len(Bounds); i++ {
		if Bounds[i] <= Bounds[i-1] {
			t.Errorf("Bounds[%d] = %v, after %v", i, Bounds[i], Bounds[i-1])
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				h.Observe(time.Millisecond) // the bound itself is within
				h.Observe(time.Hour)
				h.Observe(-1)
			}
		})
	}
	all.Wait()
	c := h.Copy()
	if c.Count() != 12000 || c.Buckets[0] != 4000 || c.Buckets[5] != 4000 || c.Buckets[len(Bounds)] != 4000 {
		t.Errorf("buckets %v", c.Buckets)
	}
	if want := 4000 * (time.Millisecond + time.Hour); c.Sum != want {
		t.Errorf("sum %v, want %v", c.Sum, want)
	}
	if later := c.Plus(c).Since(c); later != c {
		t.Errorf("twice as much since then is %v, want %v", later, c)
	}
	if again := (HistogramCopy{}).Since(c); again.Count() != 0 || again.Sum != 0 {
		t.Errorf("one that began anew has %v since", again)
	}
}

func TestQuantile(t *testing.T) {
	of := func(all ...time.Duration) HistogramCopy {
		var h Histogram
		for _, d := range all {
			h.Observe(d)
		}
		return h.Copy()
	}
	ms := time.Millisecond
	for _, tt := range []struct {
		name     string
		h        HistogramCopy
		q        float64
		from, to time.Duration
	}{
		{"nothing", of(), 0.5, 0, 0},
		{"one", of(3 * ms), 0.5, 2500 * time.Microsecond, 5 * ms},
		{"the slow one is not the median", of(ms, ms, time.Second), 0.5, 500 * time.Microsecond, ms},
		{"the slow one is the worst", of(ms, ms, time.Second), 0.99, 500 * ms, time.Second},
		{"beyond all bounds", of(time.Hour), 0.5, 10 * time.Minute, 10 * time.Minute},
	} {
		if got := tt.h.Quantile(tt.q); got < tt.from || got > tt.to {
			t.Errorf("%s: Quantile(%v) = %v, want %v to %v", tt.name, tt.q, got, tt.from, tt.to)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(40 * time.Microsecond)
	}
}
