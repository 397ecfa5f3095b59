package monitor

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Unlimited switches a rate off.
const Unlimited = -1

// Rate bounds what passes through a grant, of all instances of a service
// together. Zero lets nothing pass.
type Rate struct {
	Bytes       int64 // a second, both directions together
	Connections int64 // a second
}

// burst is how far ahead of its rate a bucket may be.
const burst = time.Second

// sayEvery is how often a limit that goes on firing is recorded.
const sayEvery = time.Minute

// bucket is a token bucket, kept as the time at which all that was taken will
// have been paid for.
type bucket struct {
	rate int64 // tokens a second; fixed

	mu   sync.Mutex // taken last, and alone
	paid time.Time
	said time.Time // when it was last recorded that it was empty
}

// cost is the time that n tokens take to come.
func (b *bucket) cost(n int) time.Duration {
	return time.Duration(float64(n) / float64(b.rate) * float64(time.Second))
}

// try takes one token if there is one.
func (b *bucket) try(now time.Time) bool {
	switch b.rate {
	case Unlimited:
		return true
	case 0:
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	paid := latest(b.paid, now.Add(-burst)).Add(b.cost(1))
	if paid.After(now) {
		return false
	}
	b.paid = paid
	return true
}

// take takes n tokens, if need be those to come, and returns how long until
// they are there.
func (b *bucket) take(n int, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paid = latest(b.paid, now.Add(-burst)).Add(b.cost(n))
	return max(b.paid.Sub(now), 0)
}

// news tells whether that the limit fires is to be recorded now.
func (b *bucket) news(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.said.IsZero() && now.Sub(b.said) < sayEvery {
		return false
	}
	b.said = now
	return true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// meter is the two buckets of one grant.
type meter struct{ bytes, connections bucket }

func newMeter(r Rate) *meter {
	return &meter{bytes: bucket{rate: r.Bytes}, connections: bucket{rate: r.Connections}}
}

// chunk is how many bytes may pass before they are paid for: few enough that a
// slow grant does not stutter.
func (m *meter) chunk() int { return int(min(max(m.bytes.rate/8, 256), 32<<10)) }

// pay waits until n bytes that were read may be passed on: so a grant gives no more
// than its rate however many connections share it. It gives up when ended is closed.
func (p *passage) pay(n int, ended <-chan struct{}) error {
	b := &p.grant.meter.bytes
	if b.rate == 0 {
		p.fired(b, "rate.bytes")
		return errNoRate
	}
	wait := b.take(n, time.Now())
	if wait == 0 {
		return nil
	}
	p.env.self.counts.hit(limitRate)
	p.fired(b, "rate.bytes")
	select {
	case <-time.After(wait):
		return nil
	case <-ended:
		return net.ErrClosed
	}
}

var errNoRate = errors.New("the grant lets no bytes pass")
