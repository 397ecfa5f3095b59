package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"cofferdam/admin"
	"cofferdam/numbers"
)

// rates is what one service did between two snapshots, and what it is now.
type rates struct {
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Instances int       `json:"instances"`
	State     string    `json:"state"` // of most of them, the worst first
	Others    int       `json:"others,omitempty"`

	CPUPercent  float64 `json:"cpu_percent"` // 100 is one processor
	MemoryBytes int64   `json:"memory_bytes"`
	MemoryLimit int64   `json:"memory_limit,omitempty"`
	Pids        int     `json:"pids"`

	Calls    float64       `json:"calls_per_second"` // that it has answered
	Failed   float64       `json:"failed_per_second"`
	P50      time.Duration `json:"p50_ns"` // of those; 0 if there was none
	P99      time.Duration `json:"p99_ns"`
	Denials  float64       `json:"denials_per_second"` // of what it asked for
	Queued   int           `json:"queued"`
	Restarts uint64        `json:"restarts"` // since the application started
}

// ratesOf compares two snapshots. Without an earlier one the rates are those since
// the application was started.
func ratesOf(before *numbers.Snapshot, now *numbers.Snapshot) []rates {
	var none numbers.Snapshot
	seconds := now.Uptime.Seconds()
	if before != nil {
		seconds = (now.Uptime - before.Uptime).Seconds()
	} else {
		before = &none
	}
	per := func(now, before uint64) float64 {
		if seconds <= 0 || now < before {
			return 0 // it has begun to count anew
		}
		return float64(now-before) / seconds
	}
	var all []rates
	for i := range now.Services {
		s := &now.Services[i]
		was := before.Service(s.Name)
		if was == nil {
			was = new(numbers.Service)
		}
		r := rates{
			Time: now.Time, Service: s.Name, MemoryBytes: s.MemoryBytes, MemoryLimit: s.MemoryLimit, Pids: s.Pids,
			Denials: per(s.Denied(), was.Denied()), Queued: s.Waiting(), Restarts: s.Restarted(),
		}
		r.State, r.Instances, r.Others = stateOf(s.States)
		if seconds > 0 {
			r.CPUPercent = 100 * max(0, (s.CPU-was.CPU).Seconds()) / seconds
		}
		ended, failed := s.Calls()
		endedThen, failedThen := was.Calls()
		r.Calls, r.Failed = per(ended, endedThen), per(failed, failedThen)
		took := s.Duration().Since(was.Duration())
		r.P50, r.P99 = took.Quantile(0.5), took.Quantile(0.99)
		all = append(all, r)
	}
	return all
}

// worst first: what an operator is to see of several.
var statesInOrder = []string{"broken", "unresponsive", "backoff", "starting", "queued", "waiting", "stopped", "exited", "ready", "warm"}

// stateOf is the state to show for a service, how many are in it, and how many in
// others. A service of which nothing runs until somebody asks is idle.
func stateOf(states map[string]int) (state string, n, others int) {
	for s, count := range states {
		others += count
		at, best := slices.Index(statesInOrder, s), slices.Index(statesInOrder, state)
		if state == "" || at < best || at == best && s < state {
			state, n = s, count
		}
	}
	if state == "" {
		return "idle", 0, 0
	}
	return state, n, others - n
}

// keys by which rows are sorted: the largest first, but for names.
var sortKeys = map[string]func(a, b rates) int{
	"name":     func(a, b rates) int { return 0 },
	"cpu":      func(a, b rates) int { return cmp.Compare(b.CPUPercent, a.CPUPercent) },
	"memory":   func(a, b rates) int { return cmp.Compare(b.MemoryBytes, a.MemoryBytes) },
	"calls":    func(a, b rates) int { return cmp.Compare(b.Calls, a.Calls) },
	"p99":      func(a, b rates) int { return cmp.Compare(b.P99, a.P99) },
	"denials":  func(a, b rates) int { return cmp.Compare(b.Denials, a.Denials) },
	"queue":    func(a, b rates) int { return cmp.Compare(b.Queued, a.Queued) },
	"restarts": func(a, b rates) int { return cmp.Compare(b.Restarts, a.Restarts) },
}

var sortWords = []string{"name", "cpu", "memory", "calls", "p99", "denials", "queue", "restarts"}

func sortRates(all []rates, by string) error {
	compare := sortKeys[by]
	if compare == nil {
		return fmt.Errorf("--sort %q: one of %s", by, strings.Join(sortWords, ", "))
	}
	slices.SortStableFunc(all, func(a, b rates) int { return cmp.Or(compare(a, b), cmp.Compare(a.Service, b.Service)) })
	return nil
}

// askStats asks for a snapshot.
func (p *project) askStats() (*numbers.Snapshot, *admin.App, error) {
	c, err := p.ask(admin.Request{Op: admin.OpStats})
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	r, err := c.Next()
	if err != nil {
		return nil, nil, refused(err)
	}
	if r.Stats == nil || r.App == nil {
		return nil, nil, fmt.Errorf("the running application is of another version: it tells no numbers")
	}
	return r.Stats, r.App, nil
}

// short is a duration in at most six characters, - for none.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm", int(d.Minutes()))
}

// perSecond is a rate in at most six characters.
func perSecond(r float64) string {
	switch {
	case r == 0:
		return "0"
	case r < 100:
		return fmt.Sprintf("%.1f", r)
	case r < 1e5:
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.1fM", r/1e6)
}

// cut is s in at most n columns.
func cut(s string, n int) string {
	s = printable(s)
	if r := []rune(s); len(r) > n {
		return string(r[:max(n-1, 0)]) + "…"
	}
	return s
}
