// Package own measures this software on this host: how long an environment takes to
// start, how long a call from one to another, how much a connection between two moves.
//
// Every measurement compares the answer that it got with the right one, so that
// nothing fast is wrong. The programs inside the environments are played by the
// program that measures, see [Play].
//
//	cofferdam bench     this package alone, and what it says in words
//	go run ./bench      the same measurements, in turn with those of named peers
//
// Trusted: no. It decides nothing; it is linked into the trusted binary, where
// nothing but `cofferdam bench` runs it.
package own

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Reading is what one round of a measurement found.
type Reading struct {
	Value   float64   `json:"value"`             // what is compared: the median of Samples, or a rate
	Samples []float64 `json:"samples,omitempty"` // each single time, ascending
}

// Quantile is the sample that a part q of all samples are at most as large as; the
// samples must ascend. Of none it is 0.
func Quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}

// Median is that of values in any order; of none it is 0.
func Median(values []float64) float64 {
	return Quantile(slices.Sorted(slices.Values(values)), 0.5)
}

// Times does f so often, one after the other, and says in units how long each took.
// A tenth more goes before, uncounted, to warm up.
func Times(n int, unit time.Duration, f func() error) (Reading, error) {
	return Paced(n, 0, unit, f)
}

// Paced is [Times] with a pause before each, as somebody makes who has other things to
// do: what is prepared ahead can be.
func Paced(n int, pause, unit time.Duration, f func() error) (Reading, error) {
	var r Reading
	for i := -n / 10; i < n; i++ {
		time.Sleep(pause)
		began := time.Now()
		if err := f(); err != nil {
			return Reading{}, err
		}
		if i >= 0 {
			r.Samples = append(r.Samples, float64(time.Since(began))/float64(unit))
		}
	}
	slices.Sort(r.Samples)
	r.Value = Quantile(r.Samples, 0.5)
	return r, nil
}

// Rate has workers do f n times altogether and says how often that was in a second;
// the samples are how long each took, in units. f is told which worker it is.
func Rate(workers, n int, unit time.Duration, f func(worker int) error) (Reading, error) {
	var left atomic.Int64
	left.Store(int64(n))
	samples, errs := make([][]float64, workers), make([]error, workers)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				t := time.Now()
				if errs[w] = f(w); errs[w] != nil {
					left.Store(0)
					return
				}
				samples[w] = append(samples[w], float64(time.Since(t))/float64(unit))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return Reading{}, err
		}
	}
	r := Reading{Value: float64(n) / took.Seconds(), Samples: slices.Concat(samples...)}
	slices.Sort(r.Samples)
	return r, nil
}
