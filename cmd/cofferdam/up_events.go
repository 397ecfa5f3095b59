package main

import (
	"io"
	"sync"
	"time"

	"cofferdam/supervisor"
)

// upEvent is a line of up --format json, and what a detached up tells its parent.
type upEvent struct {
	Event   string        `json:"event"` // state, up, failed
	Time    time.Time     `json:"time"`
	Elapsed time.Duration `json:"elapsed_ns"`

	*supervisor.Progress        // of a state
	Services             int    `json:"services,omitempty"` // that came up
	URL                  string `json:"url,omitempty"`
	Error                string `json:"error,omitempty"` // why it failed
}

// at is e as of now, so long after it began.
func (e upEvent) at(began time.Time) upEvent {
	now := time.Now()
	e.Time, e.Elapsed = now.UTC(), now.Sub(began)
	return e
}

// upEvents are written one after the other by a goroutine of their own: whoever adds one does not wait.
type upEvents struct {
	done chan struct{} // closed once the last one is written

	mu    sync.Mutex
	more  *sync.Cond
	queue []upEvent // guarded by mu
	last  bool      // nothing is added any more; guarded by mu
}

func newUpEvents(w io.Writer) *upEvents {
	q := &upEvents{done: make(chan struct{})}
	q.more = sync.NewCond(&q.mu)
	go func() {
		defer close(q.done)
		enc := newEncoder(w)
		for {
			q.mu.Lock()
			for len(q.queue) == 0 && !q.last {
				q.more.Wait()
			}
			events, last := q.queue, q.last
			q.queue = nil
			q.mu.Unlock()
			for _, e := range events {
				enc.Encode(e) // who does not want to hear it any more is not told
			}
			if last {
				return
			}
		}
	}()
	return q
}

func (q *upEvents) add(e upEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.last {
		q.queue = append(q.queue, e)
		q.more.Signal()
	}
}

// end adds the last one.
func (q *upEvents) end(e upEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.last {
		q.queue, q.last = append(q.queue, e), true
		q.more.Signal()
	}
}

// finish waits until all is written, but not for long.
func (q *upEvents) finish(patience time.Duration) {
	select {
	case <-q.done:
	case <-time.After(patience):
	}
}
