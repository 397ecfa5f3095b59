package own

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"cofferdam/executor"
)

// Host measures what to expect of a host, in a few seconds.
type Host struct {
	Program
	Executor executor.Executor
	Degraded []string          // protections that this host lacks and that are gone without
	Budget   time.Duration     // about how long each figure may take
	Progress func(what string) // is told what is measured next; may be nil
}

// Figure is one thing that was measured of a host.
type Figure struct {
	Name  string  `json:"name"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	P99   float64 `json:"p99,omitempty"` // of single times, in that unit, or in ms of what is a rate
	Count int     `json:"count,omitempty"`
}

// Scenarios are the parts of what is measured.
var Scenarios = []string{"start", "call", "relay", "http"}

// Measure measures those scenarios, or all. What it starts it ends, also on an error.
func (h Host) Measure(ctx context.Context, scenarios []string) ([]Figure, error) {
	if len(scenarios) == 0 {
		scenarios = Scenarios
	}
	m := &meter{Host: h, ctx: ctx}
	for _, s := range Scenarios {
		if !slices.Contains(scenarios, s) {
			continue
		}
		var err error
		switch s {
		case "start":
			err = m.starts()
		case "call":
			err = m.with(Pair, m.calls)
		case "relay":
			err = m.with(Pair, m.streams)
		case "http":
			err = m.web()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return m.figures, nil
}

// meter is a measurement under way.
type meter struct {
	Host
	ctx     context.Context
	figures []Figure
}

// take measures one thing: with few first, and then as many as the budget has room for.
func (m *meter) take(name, what, unit string, few, most int, measure func(n int) (Reading, error)) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if m.Progress != nil {
		m.Progress(what)
	}
	began := time.Now()
	r, err := measure(few)
	if err != nil {
		return err
	}
	n := few
	if more := int(float64(few) * float64(m.Budget) / float64(time.Since(began)+1)); more > few {
		n = min(more, most)
		if r, err = measure(n); err != nil {
			return err
		}
	}
	f := Figure{Name: name, What: what, Value: r.Value, Unit: unit, Count: n}
	if len(r.Samples) > 0 {
		f.P99 = Quantile(r.Samples, 0.99)
	}
	m.figures = append(m.figures, f)
	return nil
}

func (m *meter) starts() error {
	start := func() error { return Start(m.Executor, Spec(m.Degraded, "/bin/true"), "") }
	timed := func(pause time.Duration) func(int) (Reading, error) {
		return func(n int) (Reading, error) { return Paced(n, pause, time.Millisecond, start) }
	}
	at := ThisMachine().Cores * 2
	if err := m.take("start", "an environment, to the known exit of /bin/true, back to back", "ms", 10, 2000, timed(0)); err != nil {
		return err
	}
	if err := m.take("start-paced", "the same after a pause of 5 ms, in which the next ones get ready", "ms", 10, 200, timed(5*time.Millisecond)); err != nil {
		return err
	}
	if err := m.prepared(); err != nil {
		return err
	}
	if err := m.take("start-idle", "the same after a pause of 200 ms", "ms", 5, 8, timed(200*time.Millisecond)); err != nil {
		return err
	}
	if err := m.take("start-many", fmt.Sprintf("environments started by %d at once", at), "per s", 40, 4000, func(n int) (Reading, error) {
		return Rate(at, n, time.Millisecond, func(int) error { return start() })
	}); err != nil {
		return err
	}
	dir, err := newDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := m.take("run", "cofferdam run -- /bin/true, with the canary that tries all protections first", "ms", 3, 30, func(n int) (Reading, error) {
		return Times(n, time.Millisecond, func() error { return m.Alone(dir, m.Degraded, "/bin/true") })
	}); err != nil {
		return err
	}
	return m.take("process", "an ordinary process, to compare", "ms", 20, 500, func(n int) (Reading, error) {
		return Times(n, time.Millisecond, func() error { return exec.Command("/bin/true").Run() })
	})
}

// prepared measures environments that wait complete for their program.
func (m *meter) prepared() error {
	spec := Spec(m.Degraded, "/bin/true")
	if err := m.Executor.Prepare(m.ctx, spec, 8); err != nil {
		return err
	}
	err := m.take("start-ready", "the same with environments that wait complete for their program", "ms", 10, 200, func(n int) (Reading, error) {
		return Paced(n, 5*time.Millisecond, time.Millisecond, func() error { return Start(m.Executor, Spec(m.Degraded, "/bin/true"), "") })
	})
	return errors.Join(err, m.Executor.Prepare(m.ctx, spec, 0))
}

// with brings up a manifest for what is measured of it.
func (m *meter) with(manifest string, measure func(a *App) error) error {
	a, err := m.Up(m.allowing(manifest), nil)
	if err != nil {
		return err
	}
	defer a.Down()
	return measure(a)
}

// allowing is the manifest with what this host lacks.
func (m *meter) allowing(manifest string) string {
	if len(m.Degraded) == 0 {
		return manifest
	}
	return strings.Replace(manifest, "[cgroup]", "["+strings.Join(m.Degraded, ", ")+"]", 1)
}

func (m *meter) calls(a *App) error {
	if err := m.take("call", "64 bytes from one environment to another and back, decided and recorded", "µs", 500, 20000, func(n int) (Reading, error) { return a.Call(64, n) }); err != nil {
		return err
	}
	if err := m.take("call-many", "calls of 64 callers at once", "per s", 500, 50000, func(n int) (Reading, error) { return a.Calls(64, n) }); err != nil {
		return err
	}
	return m.take("pair", "the same between two ordinary processes, to compare", "µs", 500, 5000, func(n int) (Reading, error) { return m.Pairs(64, n) })
}

func (m *meter) streams(a *App) error {
	if err := m.take("bulk", "bytes over a connection from one environment to another", "GB/s", 64, 2048, func(n int) (Reading, error) { return a.Bulk(n << 20) }); err != nil {
		return err
	}
	return m.take("ping", "64 bytes there and back over such a connection", "µs", 500, 10000, func(n int) (Reading, error) { return a.Ping(n) })
}

func (m *meter) web() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	return m.with(strings.Replace(Site, "ADDR", addr, 1), func(*App) error {
		return m.take("http", "requests through the gateway over 64 connections", "per s", 1000, 50000, func(n int) (Reading, error) { return m.Load(addr, addr, 64, n) })
	})
}
