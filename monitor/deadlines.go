package monitor

import (
	"sync"
	"time"
)

// deadlines ends what has its time: calls, and what waits for a mailbox. One timer
// serves all those of some environments: a timer for each would be set and stopped on every call, and
// with each that becomes the next to fire the runtime wakes a thread to wait for it.
type deadlines struct {
	mu    sync.Mutex // taken last, and alone
	heap  []*due     // the earliest first; each knows its slot
	timer *time.Timer
	armed time.Time // when timer fires, zero if it does not
}

// deadlines are those of what e asks for and of what it owes.
func (e *Env) deadlines() *deadlines { return &e.m.deadlines[e.number%uint64(len(e.m.deadlines))] }

// due is the part of a request that has a deadline.
type due struct {
	deadline time.Time
	slot     int // in the deadlines, -1 if it is not there
	what     interface{ expired() }
}

// add takes k in until it is removed or expires.
func (d *deadlines) add(k *due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k.slot = len(d.heap)
	d.heap = append(d.heap, k)
	d.up(k.slot)
	if d.armed.IsZero() || k.deadline.Before(d.armed) {
		d.arm(k.deadline)
	}
}

// remove is for what ended otherwise. The timer stays as it is: to fire
// once for nothing is cheaper than to set it each time.
func (d *deadlines) remove(k *due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.slot >= 0 {
		d.take(k.slot)
	}
}

// fire ends what is due.
func (d *deadlines) fire() {
	var over []*due
	d.mu.Lock()
	for now := time.Now(); len(d.heap) > 0 && !d.heap[0].deadline.After(now); {
		over = append(over, d.heap[0])
		d.take(0)
	}
	d.armed = time.Time{}
	if len(d.heap) > 0 {
		d.arm(d.heap[0].deadline)
	}
	d.mu.Unlock()
	for _, k := range over {
		k.what.expired()
	}
}

// arm is called with mu held.
func (d *deadlines) arm(at time.Time) {
	d.armed = at
	if d.timer == nil {
		d.timer = time.AfterFunc(time.Until(at), d.fire)
		return
	}
	d.timer.Reset(time.Until(at))
}

// take removes what is in slot i.
func (d *deadlines) take(i int) {
	d.heap[i].slot = -1
	last := len(d.heap) - 1
	moved := d.heap[last]
	d.heap[last] = nil
	d.heap = d.heap[:last]
	if i == last {
		return
	}
	d.heap[i], moved.slot = moved, i
	d.up(i)
	d.down(moved.slot)
}

func (d *deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !d.heap[i].deadline.Before(d.heap[parent].deadline) {
			return
		}
		d.swap(i, parent)
		i = parent
	}
}

func (d *deadlines) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(d.heap) {
			return
		}
		if next := child + 1; next < len(d.heap) && d.heap[next].deadline.Before(d.heap[child].deadline) {
			child = next
		}
		if !d.heap[child].deadline.Before(d.heap[i].deadline) {
			return
		}
		d.swap(i, child)
		i = child
	}
}

func (d *deadlines) swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.heap[i].slot, d.heap[j].slot = i, j
}
