package manager

import (
	"sync"
	"time"
)

// pace holds one tenant's messages, of both sides, to so many bytes in a time: the
// manager is one for all, and what it reads for one it does not read for others.
type pace struct {
	now   func() time.Time
	each  time.Duration // for a KiB
	burst time.Duration // what may be had at once, as time

	mu   sync.Mutex
	full time.Time // when all of the burst can be had again
}

// messageBytes is what a message counts for at least.
const messageBytes = 2 << 10

// take counts a message, and says how long to wait before the next one.
func (p *pace) take(bytes int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(time.Duration(max(bytes, messageBytes)) * p.each / 1024)
	return max(p.full.Sub(now)-p.burst, 0)
}
