package main

import (
	"fmt"
	"sort"
	"time"
)

// rounds measures two things in turn, A B A B …, so that what the machine does
// meanwhile hits both, and returns the medians and the ratio of each round.
func rounds(n int, ours, peer func() (float64, error)) (o, p float64, ratios []float64, err error) {
	var all [2][]float64
	for range n {
		a, err := ours()
		if err != nil {
			return 0, 0, nil, fmt.Errorf("ours: %w", err)
		}
		b, err := peer()
		if err != nil {
			return 0, 0, nil, fmt.Errorf("peer: %w", err)
		}
		all[0], all[1] = append(all[0], a), append(all[1], b)
		ratios = append(ratios, a/b)
	}
	sort.Float64s(ratios)
	return median(all[0]), median(all[1]), ratios, nil
}

// compare makes a measurement of rounds; met judges the ratio.
func compare(name, unit, versus, target string, n int, ours, peer func() (float64, error), met func(ratio float64) bool) (measurement, error) {
	o, p, ratios, err := rounds(n, ours, peer)
	if err != nil {
		return measurement{}, fmt.Errorf("%s: %w", name, err)
	}
	return measurement{
		Name: name, Ours: o, Peer: p, Unit: unit, Versus: versus, Ratio: o / p,
		Spread: fmt.Sprintf("%.2f–%.2f", ratios[0], ratios[len(ratios)-1]),
		Target: target, Met: met(o / p),
	}, nil
}

func median(v []float64) float64 {
	s := append([]float64(nil), v...)
	sort.Float64s(s)
	return s[len(s)/2]
}

// medianOf runs f n times and returns the median in milliseconds.
func medianOf(n int, f func() error) (float64, error) {
	var ms []float64
	for range n {
		t := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		ms = append(ms, float64(time.Since(t).Microseconds())/1000)
	}
	return median(ms), nil
}
