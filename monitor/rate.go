package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"cofferdam/audit"
	"cofferdam/label"
)

// Unlimited switches a rate off.
const Unlimited = -1

// Rate is how much of something may happen: Amount in each Per, on average, and Burst at
// once.
type Rate struct {
	Amount int64
	Per    time.Duration
	Burst  int64
	Each   bool // so much for each principal
}

// Rates are those of one line of the manifest. A zero one is no limit; only of an
// egress it lets nothing pass.
type Rates struct {
	Calls, Messages, Connections, Spawns, Bytes Rate

	Rule string // the place in the manifest
}

// of is the rate of what a grant of that kind is used for, and its key.
func (r *Rates) of(k Kind) (Rate, string) {
	switch k {
	case KindCall:
		return r.Calls, "rate.calls"
	case KindPost, KindPut, KindTake:
		return r.Messages, "rate.messages"
	case KindConnect, KindEgress:
		return r.Connections, "rate.connections"
	case KindSpawn:
		return r.Spawns, "rate.spawns"
	}
	return Rate{}, ""
}

// sayEvery is how often a limit that goes on firing is recorded.
const sayEvery = time.Minute

// bucket is a token bucket, kept as the time at which all that was taken will
// have been paid for. It may be taken from beyond what is in it: then nothing more is to be
// had until that is paid for.
type bucket struct {
	rate Rate

	mu      sync.Mutex // taken last, and alone
	paid    time.Time
	said    bool   // it has been recorded that it was empty, less than sayEvery ago
	refused uint64 // how often it was since
}

// cost is the time that n tokens take to come.
func (r *Rate) cost(n int64) time.Duration {
	return time.Duration(float64(n) / float64(r.Amount) * float64(r.Per))
}

// try takes n tokens if there is one, and otherwise says when there will be: never, if
// that is 0.
func (b *bucket) try(n int64, now time.Time) (wait time.Duration, ok bool) {
	if b.rate.Amount == 0 {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	paid := latest(b.paid, now.Add(-b.rate.cost(b.rate.Burst)))
	if wait := paid.Add(b.rate.cost(1)).Sub(now); wait > 0 {
		return wait, false
	}
	b.paid = paid.Add(b.rate.cost(n))
	return 0, true
}

// take takes n tokens, if need be those to come, and returns how long until
// they are there.
func (b *bucket) take(n int64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paid = latest(b.paid, now.Add(-b.rate.cost(b.rate.Burst))).Add(b.rate.cost(n))
	return max(b.paid.Sub(now), 0)
}

// give undoes a take.
func (b *bucket) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paid = b.paid.Add(-b.rate.cost(n))
}

// full tells whether it is as one that nobody has taken from.
func (b *bucket) full(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.said && !b.paid.After(now.Add(-b.rate.cost(b.rate.Burst)))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// limit is one rate of the manifest: a bucket for each of those that it counts apart.
type limit struct {
	Rate
	key, rule string
	text      []byte // what whoever is refused gets to read

	*tally // another one's, if that was the same under the policy before
}

// tally is what of a limit was used.
type tally struct {
	mu      sync.Mutex // taken last, but for that of a bucket
	buckets map[payer]*bucket
}

// newLimit is nil for no limit.
func newLimit(r Rate, key, rule string) *limit {
	if r.Amount == Unlimited {
		return nil
	}
	return &limit{Rate: r, key: key, rule: rule, text: []byte(key + ": " + r.String()), tally: &tally{buckets: make(map[payer]*bucket)}}
}

// String is the rate as the manifest writes it, but for sizes, which are in bytes.
func (r Rate) String() string {
	unit := "s"
	switch r.Per {
	case time.Minute:
		unit = "min"
	case time.Hour:
		unit = "h"
	}
	text := fmt.Sprintf("%d/%s", r.Amount, unit)
	if r.Burst != r.Amount {
		text += fmt.Sprintf(" burst %d", r.Burst)
	}
	if r.Each {
		text += " per principal"
	}
	return text
}

// payer is whom a limit counts as one.
//
// What is left in a bucket is known to all who take from it. So they are at one label: that at
// which their instances start. An instance that is elsewhere has a bucket of its
// own, which begins as the one that it leaves.
type payer struct {
	service   string
	principal string
	at        label.Label
	instance  uint64 // 0 for all that are where they have started
}

// payer is e as one.
func (e *Env) payer() payer {
	p := payer{service: e.id.Service, principal: e.id.Principal, at: e.flow.container}
	if e.at().Label != p.at {
		p.instance = e.number
	}
	return p
}

// maxBuckets bounds those of one limit.
const maxBuckets = 1 << 14

// of is the bucket of p.
func (l *limit) of(p payer) *bucket {
	if l.Each && p.principal != "" {
		p.service = ""
	} else {
		p.principal = ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[p]
	if b != nil {
		return b
	}
	b = &bucket{rate: l.Rate}
	if p.instance != 0 {
		left := p
		left.instance = 0
		if from := l.buckets[left]; from != nil {
			from.mu.Lock()
			b.paid = from.paid
			from.mu.Unlock()
		}
	}
	if len(l.buckets) >= maxBuckets {
		l.sweep(time.Now())
	}
	l.buckets[p] = b
	return b
}

// sweep forgets buckets that are full, and if all are in use any quarter of them, which costs
// no more than a burst each. The caller holds mu.
func (l *limit) sweep(now time.Time) {
	for p, b := range l.buckets {
		if b.full(now) {
			delete(l.buckets, p)
		}
	}
	for p := range l.buckets {
		if len(l.buckets) <= maxBuckets*3/4 {
			return
		}
		delete(l.buckets, p)
	}
}

// toll is what the use of a grant counts against: limits of how often, and of bytes. nil is
// nothing, and costs nothing.
type toll struct{ uses, bytes []*limit }

// newToll is that of a grant of that kind under some rates; nil for none.
func newToll(k Kind, all ...*Rates) *toll {
	var t toll
	for _, r := range all {
		rate, key := r.of(k)
		if l := newLimit(rate, key, r.Rule); l != nil && (rate != (Rate{}) || k == KindEgress) {
			t.uses = append(t.uses, l)
		}
		if l := newLimit(r.Bytes, "rate.bytes", r.Rule); l != nil && (r.Bytes != (Rate{}) || k == KindEgress) {
			t.bytes = append(t.bytes, l)
		}
	}
	if t.uses == nil && t.bytes == nil {
		return nil
	}
	return &t
}

// and is both together.
func (t *toll) and(other *toll) *toll {
	if t == nil || other == nil {
		return cmp.Or(t, other)
	}
	return &toll{append(slices.Clone(t.uses), other.uses...), append(slices.Clone(t.bytes), other.bytes...)}
}

// tooMuch is why something was refused: a rate is used up. It depends on nothing but what
// the payer has done.
type tooMuch struct {
	limit *limit
	wait  time.Duration // 0 if there is no use in waiting
}

func (t *tooMuch) Error() string { return string(t.limit.text) + " is used up" }

// charge counts one use of a grant by p, and as many bytes, against all limits that there are,
// or none of them.
func (p payer) charge(now time.Time, bytes int64, tolls ...*toll) *tooMuch {
	for i, t := range tolls {
		if t == nil {
			continue
		}
		for j, l := range t.uses {
			if wait, ok := l.of(p).try(1, now); !ok {
				p.giveBack(bytes, tolls[:i+1], j, 0)
				return &tooMuch{l, wait}
			}
		}
		for j, l := range t.bytes {
			if wait, ok := l.of(p).try(bytes, now); !ok {
				p.giveBack(bytes, tolls[:i+1], len(t.uses), j)
				return &tooMuch{l, wait}
			}
		}
	}
	return nil
}

// giveBack undoes it, of the last toll for so many of its limits.
func (p payer) giveBack(bytes int64, tolls []*toll, uses, sizes int) {
	for i, t := range tolls {
		if t == nil {
			continue
		}
		u, s := len(t.uses), len(t.bytes)
		if i == len(tolls)-1 {
			u, s = uses, sizes
		}
		for _, l := range t.uses[:u] {
			l.of(p).give(1)
		}
		for _, l := range t.bytes[:s] {
			l.of(p).give(bytes)
		}
	}
}

// owe counts bytes that have passed already.
func (p payer) owe(bytes int, tolls ...*toll) {
	now := time.Now()
	for _, t := range tolls {
		if t == nil {
			continue
		}
		for _, l := range t.bytes {
			l.of(p).take(int64(bytes), now)
		}
	}
}

// within counts one use of a grant, with so many bytes, by e. What is refused is recorded, but
// not each time.
func (e *Env) within(o op, object string, t *toll, bytes int) error {
	total := e.total(o.kind)
	if t == nil && total == nil {
		return nil
	}
	return e.payer().within(e, o, object, bytes, t, total)
}

// within is that of e, for whom it does something, against all limits that there are.
func (p payer) within(e *Env, o op, object string, bytes int, tolls ...*toll) error {
	if much := p.charge(time.Now(), int64(bytes), tolls...); much != nil {
		much.limit.fired(e, p, o, object, "more is refused")
		return much
	}
	return nil
}

// total is what counts for whom e runs, whatever it does.
func (e *Env) total(k Kind) *toll {
	totals := e.rights.Load().policy.totals
	if totals == nil || e.id.Principal == "" {
		return nil
	}
	return totals[k]
}

// newTotals are the tolls of a principal by kind, nil for none. What counts the same shares its
// limit.
func newTotals(r Rates) map[Kind]*toll {
	limits := make(map[string]*limit)
	all := make(map[Kind]*toll)
	total := func(rate Rate, key string) []*limit {
		if rate == (Rate{}) || rate.Amount == Unlimited {
			return nil
		}
		if rate.Each = true; limits[key] == nil {
			limits[key] = newLimit(rate, "budget.per_principal."+strings.TrimPrefix(key, "rate."), r.Rule)
		}
		return []*limit{limits[key]}
	}
	for _, k := range []Kind{KindCall, KindSpawn, KindConnect, KindEgress, KindPost, KindPut, KindTake} {
		rate, key := r.of(k)
		t := &toll{uses: total(rate, key)}
		if k != KindSpawn && k != KindTake {
			t.bytes = total(r.Bytes, "rate.bytes")
		}
		if t.uses != nil || t.bytes != nil {
			all[k] = t
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// fired records that the limit was reached: the first time, and after that how often it
// was, once in a while. So nobody fills the log by being refused.
func (l *limit) fired(e *Env, p payer, o op, object, then string) {
	kind := limitRate
	if l == e.flow.posts {
		kind = limitPosts
	}
	e.self.counts.hit(kind)
	b := l.of(p)
	b.mu.Lock()
	if b.said {
		b.refused++
		b.mu.Unlock()
		return
	}
	b.said = true
	b.mu.Unlock()
	whom := ""
	if l.Each {
		whom = p.principal
	}
	time.AfterFunc(sayEvery, func() { l.summarise(e, whom, b, o, object) })
	l.record(e, p.principal, o, object, fmt.Sprintf("%s: %s; how often is said at most once in %v", l.text, then, sayEvery))
}

func (l *limit) summarise(e *Env, whom string, b *bucket, o op, object string) {
	b.mu.Lock()
	n := b.refused
	b.refused, b.said = 0, n > 0
	b.mu.Unlock()
	if n > 0 {
		time.AfterFunc(sayEvery, func() { l.summarise(e, whom, b, o, object) })
		l.record(e, whom, o, object, fmt.Sprintf("%s: %d more in the last %v", l.text, n, sayEvery))
	}
}

func (l *limit) record(e *Env, whom string, o op, object, detail string) {
	e.m.log.Append(audit.Record{
		Kind: audit.KindLimit, Subject: e.id.Service, Instance: e.id.Instance, Principal: whom, Op: o.name, Object: object, Rule: l.rule, Detail: detail,
	})
}

// refusalsEach is how many answers a second one environment gets that say that it asks too much.
const refusalsEach = 5_000

// A connection that was refused has taken so many times what a frame takes.
const connectionWorth = 20

// calmly counts n refusals of e and returns how long nothing more is to be read from it. Its
// answer it has by then: but a storm of requests that are refused is work, and its maker's to wait
// out, not everybody's.
func (e *Env) calmly(n int64) time.Duration { return e.refusals.take(n, time.Now()) }

// meter counts the bytes of a connection.
type meter struct {
	env    *Env
	payer  func() payer
	op     op
	object string
	limits []*limit
	chunk  int // bytes that may pass before they are paid for
}

// meterOf is nil if there is nothing to count.
func (e *Env) meterOf(o op, object string, payer func() payer, tolls ...*toll) *meter {
	m := &meter{env: e, payer: payer, op: o, object: object, chunk: readChunk}
	for _, t := range tolls {
		if t == nil {
			continue
		}
		m.limits = append(m.limits, t.bytes...)
		for _, l := range t.bytes {
			m.chunk = min(m.chunk, l.chunk())
		}
	}
	if m.limits == nil {
		return nil
	}
	return m
}

// chunk is so few bytes that a slow connection does not stutter.
func (l *limit) chunk() int {
	if l.Amount == 0 {
		return readChunk
	}
	second := int64(float64(l.Amount) / l.Per.Seconds())
	return int(min(max(min(second, l.Burst)/8, 256), readChunk))
}

// pay waits until n bytes that were read may be passed on: so a grant gives no more
// than its rate however many connections share it. It gives up when ended is closed.
func (m *meter) pay(n int, ended <-chan struct{}) error {
	p, now := m.payer(), time.Now()
	var wait time.Duration
	for _, l := range m.limits {
		if l.Amount == 0 {
			l.fired(m.env, p, m.op, m.object, "nothing passes")
			return errNoRate
		}
		w := l.of(p).take(int64(n), now)
		if w > 0 {
			l.fired(m.env, p, m.op, m.object, "it goes slower")
		}
		wait = max(wait, w)
	}
	if wait == 0 {
		return nil
	}
	later := time.NewTimer(wait)
	defer later.Stop()
	select {
	case <-later.C:
		return nil
	case <-ended:
		return net.ErrClosed
	}
}

var errNoRate = errors.New("the grant lets no bytes pass")
