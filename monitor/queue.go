package monitor

import (
	"slices"

	"cofferdam/wire"
)

// caller is for whom a call counts where several wait: whom its environment runs for,
// or without one its service.
type caller struct{ service, principal string }

func (e *Env) countsFor() caller {
	if e.id.Principal != "" {
		return caller{principal: e.id.Principal}
	}
	return caller{service: e.id.Service}
}

// enqueue lets k wait for somebody who answers the method. If all places are taken, who has most
// waiting makes room for who has less: the last of his calls is pushed out.
func (p *pool) enqueue(state State, k *call, body []byte) (code wire.Code, pushed *call) {
	if state != Up {
		return state.code(), nil
	}
	who, mine := k.from.env.countsFor(), 0
	p.queue = slices.DeleteFunc(p.queue, func(o *call) bool {
		if o.done.Load() {
			return true
		}
		if o.from.env.countsFor() == who {
			mine++
		}
		return false
	})
	victim := -1
	if mine < maxQueuedEach && len(p.queue) >= MaxQueued {
		victim = p.lastOfMost(mine + 1)
	}
	if mine >= maxQueuedEach || len(p.queue) >= MaxQueued && victim < 0 || !k.keep(body) {
		k.from.env.self.counts.hit(limitQueue)
		return wire.Busy, nil
	}
	if victim >= 0 {
		pushed = p.queue[victim]
		pushed.from.env.self.counts.hit(limitQueue)
		p.queue = slices.Delete(p.queue, victim, victim+1)
	}
	k.queued = k.from.env.m.clock()
	p.queue = append(p.queue, k)
	return wire.OK, pushed
}

// lastOfMost is where the last call stands of who has most waiting, if those are more than
// so many, and -1 otherwise.
func (p *pool) lastOfMost(than int) int {
	count := make(map[caller]int)
	most := than
	for _, k := range p.queue {
		who := k.from.env.countsFor()
		count[who]++
		most = max(most, count[who])
	}
	for i := len(p.queue) - 1; i >= 0 && most > than; i-- {
		if count[p.queue[i].from.env.countsFor()] == most {
			return i
		}
	}
	return -1
}

// inTurn are those who wait, one of each caller after the other: however many somebody has waiting,
// of the others each comes after one of them.
func (p *pool) inTurn() []*call {
	var order []caller
	of := make(map[caller][]*call)
	for _, k := range p.queue {
		who := k.from.env.countsFor()
		if of[who] == nil {
			order = append(order, who)
		}
		of[who] = append(of[who], k)
	}
	if len(order) < 2 {
		return p.queue
	}
	all := make([]*call, 0, len(p.queue))
	for i := 0; len(all) < len(p.queue); i++ {
		for _, who := range order {
			if i < len(of[who]) {
				all = append(all, of[who][i])
			}
		}
	}
	return all
}
