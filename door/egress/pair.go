package egress

import (
	"net"
	"sync"
	"time"
)

// pairTime is how long one of two connections waits for the other.
const pairTime = 15 * time.Second

// pairs brings the two connections of one number together, whichever comes
// first. Numbers are used once.
type pairs struct {
	mu      sync.Mutex
	waiting map[uint64]chan net.Conn
}

// offer leaves c for who takes its number; c is closed if nobody does.
func (p *pairs) offer(num uint64, c net.Conn) {
	select {
	case p.at(num) <- c:
		time.AfterFunc(pairTime, func() { p.drop(num) })
	default:
		c.Close() // the number was offered already
	}
}

// take waits for what is offered under num; nil if nothing is.
func (p *pairs) take(num uint64) net.Conn {
	timer := time.NewTimer(pairTime)
	defer timer.Stop()
	select {
	case c := <-p.at(num):
		p.drop(num)
		return c
	case <-timer.C:
		p.drop(num)
		return nil
	}
}

func (p *pairs) at(num uint64) chan net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan net.Conn)
	}
	if p.waiting[num] == nil {
		p.waiting[num] = make(chan net.Conn, 1)
	}
	return p.waiting[num]
}

// drop forgets num, and closes what was not taken.
func (p *pairs) drop(num uint64) {
	p.mu.Lock()
	c := p.waiting[num]
	delete(p.waiting, num)
	p.mu.Unlock()
	select {
	case left := <-c: // a nil channel has nothing
		left.Close()
	default:
	}
}
