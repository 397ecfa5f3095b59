package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"cofferdam/bench/own"
)

// scenario is one question, which is put to several in turn.
type scenario struct {
	name        string
	what        string
	unit        string
	more        bool // more is better
	rounds      int
	count       int // how often each does it in a round
	asked       bool
	contestants []contestant
	ratios      []pair
}

// contestant is ours, or a peer. Not before it is its turn for the first time is it
// opened, so that what a scenario leaves out costs nothing.
type contestant struct {
	name string
	how  string // the command or the flags that matter
	// version says which one it is; nil for what is part of this repository.
	version func() string
	// open prepares it. An error that wraps errMissing says that it is not there.
	open func() (runner, error)
}

// runner does the work count times and says what it found.
type runner struct {
	run   func(count int) (own.Reading, error)
	close func() // may be nil
}

// errMissing is wrapped by what says why a peer cannot be measured here; it is named
// in the table, and never silently left out.
var errMissing = errors.New("not installed")

// pair is a ratio that is told: of one contestant to another, by name.
type pair struct {
	of, to      string
	p99         bool    // of their 99th percentiles
	most, least float64 // the target, 0 for none
}

// run measures all contestants in turn, A B C A B C …, so that what the machine does
// meanwhile hits all of them alike. Each does a few first, which do not count.
func (sc scenario) run(s settings) (result, error) {
	rounds, count := sc.rounds, sc.count
	if s.rounds > 0 {
		rounds = s.rounds
	}
	if s.count > 0 {
		count = min(count, s.count)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", sc.name, sc.what)
	m := thisMachine()
	r := result{Version: m.Version, Load: m.Load, Name: sc.name, What: sc.what, Unit: sc.unit, More: sc.more, Rounds: rounds, Count: count, Measured: time.Now().UTC().Format("2006-01-02 15:04")}
	type entered struct {
		contestant
		runner
		entry   *entry
		samples []float64
		p99     []float64
	}
	var in []*entered
	if s.opened == nil {
		s.opened = new(opened)
	}
	defer s.opened.close()
	r.Entries = make([]entry, len(sc.contestants))
	for i, c := range sc.contestants {
		e := &r.Entries[i]
		e.Name, e.How, e.Version = c.name, c.how, versionOf(c)
		got, err := s.opened.open(c)
		if errors.Is(err, errMissing) {
			e.Missing = err.Error()
			fmt.Fprintf(os.Stderr, "  %-28s %s\n", c.name, e.Missing)
			continue
		}
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", c.name, err)
		}
		in = append(in, &entered{contestant: c, runner: got, entry: e})
		if _, err := got.run(max(count/10, 1)); err != nil {
			return result{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for range rounds {
		for _, e := range in {
			got, err := e.run(count)
			if err != nil {
				return result{}, fmt.Errorf("%s: %w", e.contestant.name, err)
			}
			e.entry.Rounds = append(e.entry.Rounds, got.Value)
			e.samples = append(e.samples, got.Samples...)
			if len(got.Samples) > 0 {
				e.p99 = append(e.p99, own.Quantile(got.Samples, 0.99))
			}
		}
	}
	p99 := make(map[string][]float64)
	for _, e := range in {
		slices.Sort(e.samples)
		e.entry.Median = own.Median(e.entry.Rounds)
		e.entry.P99 = own.Quantile(e.samples, 0.99)
		p99[e.contestant.name] = e.p99
		fmt.Fprintf(os.Stderr, "  %-28s %s\n", e.contestant.name, e.entry.figure(sc.unit))
	}
	for _, p := range sc.ratios {
		if found, ok := r.ratio(p, p99); ok {
			r.Ratios = append(r.Ratios, found)
		}
	}
	return r, nil
}

// opened is what has to be closed, also after an interrupt: applications and servers
// would go on without us.
type opened struct {
	mu  sync.Mutex
	all []func() // guarded by mu
}

// open opens a contestant: an interrupt waits until it is, and can be closed.
func (o *opened) open(c contestant) (runner, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := c.open()
	if err == nil && r.close != nil {
		o.all = append(o.all, r.close)
	}
	return r, err
}

func (o *opened) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.all {
		f()
	}
	o.all = nil
}

// ratio compares two entries of the result, unless one is missing.
func (r *result) ratio(p pair, p99 map[string][]float64) (ratio, bool) {
	of, to := r.entry(p.of), r.entry(p.to)
	if of == nil || to == nil || of.Missing != "" || to.Missing != "" {
		return ratio{}, false
	}
	out := ratio{Of: p.of, To: p.to, P99: p.p99, Most: p.most, Least: p.least, Ratio: of.Median / to.Median}
	each, other := of.Rounds, to.Rounds
	if p.p99 {
		each, other = p99[p.of], p99[p.to]
		out.Ratio = own.Median(each) / own.Median(other)
	}
	var all []float64
	for i := range min(len(each), len(other)) {
		all = append(all, each[i]/other[i])
	}
	out.Low, out.High = slices.Min(all), slices.Max(all)
	out.Met = (p.most == 0 || out.Ratio <= p.most) && (p.least == 0 || out.Ratio >= p.least)
	return out, true
}

func versionOf(c contestant) string {
	if c.version == nil {
		return ""
	}
	return c.version()
}
