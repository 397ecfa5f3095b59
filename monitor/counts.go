package monitor

import (
	"maps"
	"slices"
	"time"

	"cofferdam/numbers"
	"cofferdam/wire"
)

// counts are those of a service as a subject, of all its instances together. They hang
// on what a decision has in hand, so that to count is an addition and nothing else.
type counts struct {
	decisions [len(operations)]struct{ allowed, denied numbers.Counter }
	denials   [len(reasons)]numbers.Counter
	limits    [len(limits)]numbers.Counter
	spans     int // that wait, of calls that it made; guarded by traces.mu
}

// What decided when something is denied: that it was not granted, a grant that is for
// something else, labels, or that the decision could not be recorded.
const (
	reasonDefault = iota
	reasonGrant
	reasonLabels
	reasonRecord
)

var reasons = [...]string{reasonDefault: "default", reasonGrant: "grant", reasonLabels: "labels", reasonRecord: "record"}

// The limits that the monitor holds environments to.
const (
	limitInFlight    = iota // MaxInFlight
	limitQueue              // MaxQueued, maxQueuedEach, or what may be kept
	limitConnections        // MaxRelays
	limitPosts              // postsEach
	limitRate               // of a grant, or of what it is for
	limitMailbox            // what one party may have there, or all
)

var limits = [...]string{
	limitInFlight: "in_flight", limitQueue: "queue", limitConnections: "connections", limitPosts: "posts", limitRate: "rate", limitMailbox: "mailbox",
}

// decided counts a decision that was recorded.
func (c *counts) decided(o op, v Verdict, labels bool) {
	if v.Allowed {
		c.decisions[o.n].allowed.Add(1)
		return
	}
	c.decisions[o.n].denied.Add(1)
	switch {
	case v.Rule == noGrant:
		c.denials[reasonDefault].Add(1)
	case labels:
		c.denials[reasonLabels].Add(1)
	default:
		c.denials[reasonGrant].Add(1)
	}
}

// unrecorded counts one that was not, and so is a denial.
func (c *counts) unrecorded(o op) {
	c.decisions[o.n].denied.Add(1)
	c.denials[reasonRecord].Add(1)
}

// hit counts that a limit was.
func (c *counts) hit(limit int) { c.limits[limit].Add(1) }

// callCounts are those of a method.
type callCounts struct {
	running  numbers.Gauge
	ended    [16]numbers.Counter // by code
	duration numbers.Histogram
	waits    numbers.Histogram
	in, out  numbers.Counter // bytes
}

// over counts a call that has ended after so long.
func (c *callCounts) over(code wire.Code, took time.Duration) {
	c.running.Add(-1)
	if int(code) < len(c.ended) {
		c.ended[code].Add(1)
	}
	c.duration.Observe(took)
}

// traffic is what passes by a grant.
type traffic struct {
	open    numbers.Gauge
	total   numbers.Counter
	out, in numbers.Counter // bytes
}

// counts lets it count r, until the function that it returns is called. Before r
// runs.
func (t *traffic) counts(r *relay) (end func()) {
	if t == nil {
		return func() {}
	}
	r.out.count, r.in.count = &t.out, &t.in
	t.total.Add(1)
	t.open.Add(1)
	return func() { t.open.Add(-1) }
}

// clock is the time since the monitor was made, which is never zero.
func (m *Monitor) clock() time.Duration { return max(time.Since(m.epoch), 1) }

// Count adds to s what the monitor has counted.
func (m *Monitor) Count(s *numbers.Snapshot) {
	s.Conns = m.conns.Load()
	if t := m.traces; t != nil {
		s.Traces = numbers.Traces{Made: t.made.Load(), Dropped: t.dropped.Load()}
	}
	now := m.policy.Load()
	for _, name := range slices.Sorted(maps.Keys(now.services)) {
		s.Services = append(s.Services, now.services[name].count(now))
	}
	for _, name := range slices.Sorted(maps.Keys(now.mailboxes)) {
		s.Mailboxes = append(s.Mailboxes, now.mailboxes[name].count())
	}
	m.mu.Lock()
	envs := slices.Collect(maps.Values(m.envs))
	m.mu.Unlock()
	services := s.ByName()
	for _, e := range envs {
		if of := services[e.id.Service]; of != nil {
			of.MountRefs += e.references.count()
		}
	}
}

func (s *service) count(under *policy) numbers.Service {
	c := s.counts
	n := numbers.Service{Name: s.Name, Denials: make(map[string]uint64), Limits: make(map[string]uint64)}
	for _, o := range operations {
		d := numbers.Decision{Op: o.name, Allowed: c.decisions[o.n].allowed.Load(), Denied: c.decisions[o.n].denied.Load()}
		if d.Allowed+d.Denied > 0 {
			n.Decisions = append(n.Decisions, d)
		}
	}
	for i, reason := range reasons {
		n.Denials[reason] = c.denials[i].Load()
	}
	for i, limit := range limits {
		if hit := c.limits[i].Load(); hit > 0 {
			n.Limits[limit] = hit
		}
	}
	granted := under.of(s.Name)
	for _, kind := range []Kind{KindConnect, KindEgress} {
		for _, to := range slices.Sorted(maps.Keys(granted[kind])) {
			t := granted[kind][to].traffic
			n.Links = append(n.Links, numbers.Link{
				To: to, Open: t.open.Load(), Total: t.total.Load(), OutBytes: t.out.Load(), InBytes: t.in.Load(),
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.methods)) {
		n.Methods = append(n.Methods, s.methods[name].count())
	}
	return n
}

func (md *method) count() numbers.Method {
	c := md.counts
	n := numbers.Method{
		Name: md.Name, Ended: make(map[string]uint64), Running: max(c.running.Load(), 0),
		Waits: c.waits.Copy(), Duration: c.duration.Copy(), InBytes: c.in.Load(), OutBytes: c.out.Load(),
	}
	for code := range c.ended {
		if ended := c.ended[code].Load(); ended > 0 {
			n.Ended[wire.Code(code).String()] = ended
		}
	}
	md.of.mu.Lock()
	defer md.of.mu.Unlock()
	for _, p := range md.all() {
		for _, k := range p.queue {
			if !k.done.Load() {
				n.Queued++
			}
		}
	}
	return n
}

func (b *mailbox) count() numbers.Mailbox {
	b.mu.Lock()
	defer b.mu.Unlock()
	return numbers.Mailbox{Name: b.name, Messages: len(b.queue), Bytes: b.held, Received: b.received, Dropped: b.dropped}
}

func (r *references) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dirs)
}
