package supervisor

import (
	"maps"
	"slices"
	"sync"
	"time"

	"cofferdam/executor"
	"cofferdam/numbers"
)

// tally is what is counted of the instances of one service.
type tally struct {
	mu       sync.Mutex // taken last, and alone
	starts   uint64
	exits    map[executor.Cause]uint64
	restarts map[executor.Cause]uint64
	cpu      time.Duration // of those that have ended
	output   int64
}

// tallyOf is that of a service.
func (s *Supervisor) tallyOf(service string) *tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[service]
	if t == nil {
		t = &tally{exits: make(map[executor.Cause]uint64), restarts: make(map[executor.Cause]uint64)}
		s.tallies[service] = t
	}
	return t
}

func (t *tally) started() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starts++
}

func (t *tally) ended(exit executor.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exits[exit.Cause]++
	t.cpu += exit.Usage.CPU
	t.output += exit.Usage.OutputBytes
}

// restarted counts that an instance which ended so is replaced. One that did not come
// to be is our own fault, or the host's.
func (t *tally) restarted(cause executor.Cause) {
	if cause == "" {
		cause = executor.CauseInternal
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restarts[cause]++
}

// limits are the causes that are limits of the manifest.
var limits = []executor.Cause{
	executor.CauseOOM, executor.CausePids, executor.CauseCPU, executor.CauseWall, executor.CauseOutput, executor.CauseDisk,
}

// add puts what t has counted into n.
func (t *tally) add(n *numbers.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.Starts = t.starts
	n.CPU += t.cpu
	n.OutputBytes += uint64(t.output)
	n.Exits, n.Restarts = make(map[string]uint64), make(map[string]uint64)
	for cause, times := range t.exits {
		n.Exits[string(cause)] = times
		if slices.Contains(limits, cause) {
			n.Limits[string(cause)] += times
		}
	}
	for cause, times := range t.restarts {
		n.Restarts[string(cause)] = times
	}
}

// Count is what was counted since the application was started.
func (s *Supervisor) Count() numbers.Snapshot {
	n := numbers.Snapshot{Time: time.Now().UTC(), Uptime: s.Uptime(), Version: s.Version}
	n.Records = s.Log.Appended()
	s.monitor.Count(&n)
	services := n.ByName()
	for name, of := range services {
		of.States = make(map[string]int)
		s.tallyOf(name).add(of)
	}
	for _, st := range s.Status() {
		of := services[st.Service]
		if of == nil || st.State == Prepared {
			continue
		}
		of.States[string(st.State)]++
		if st.Instance == "" {
			continue
		}
		of.CPU += st.Usage.CPU
		of.MemoryBytes += st.Usage.MemoryBytes
		of.Pids += st.Usage.Pids
		of.OutputBytes += uint64(st.Usage.OutputBytes)
		of.MemoryLimit += max(st.Limits.MemoryBytes, 0)
	}
	for name, p := range maps.All(s.now().pools) {
		if of := services[name]; of != nil {
			of.Places = p.waiting()
		}
	}
	n.Budget = s.admission.waiting()
	return n
}

// turns measures how long it takes until somebody's turn in a queue comes.
type turns struct{ waits numbers.Histogram }

// wait counts one who began to wait at that time, unless err says that his turn did not
// come.
func (t *turns) wait(began time.Time, err error) {
	if err == nil {
		t.waits.Observe(time.Since(began))
	}
}

func (p *pool) waiting() numbers.Waiting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return numbers.Waiting{Depth: p.queue.count(), Waits: p.turns.waits.Copy()}
}

func (a *admission) waiting() numbers.Waiting {
	a.mu.Lock()
	defer a.mu.Unlock()
	return numbers.Waiting{Depth: a.queue.count(), Waits: a.turns.waits.Copy()}
}
