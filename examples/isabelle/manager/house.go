package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"
)

// house is where a tenant lives: what there is of one while the manager runs. It
// has one instance at a time.
type house struct {
	m      *Manager
	tenant *Tenant
	log    *slog.Logger
	turns  *turns
	pace   *pace
	large  chan struct{} // room for one large message
	door   chan struct{} // room for who opens the instance

	mu        sync.Mutex
	current   *instance // nil for none
	notBefore time.Time // by then the one before has ended
	before    string    // the name of that
	clients   int
	tasks     map[string]*task
}

// burstSeconds is for how many seconds' messages a tenant need not wait.
const burstSeconds = 4

func newHouse(m *Manager, t *Tenant) *house {
	return &house{
		m: m, tenant: t, log: m.Log.With("tenant", t.Name), turns: newTurns(m.Limits.Each, m.Limits.Burst, m.now),
		pace:  &pace{now: m.now, each: time.Second * 1024 / time.Duration(m.Limits.Rate), burst: burstSeconds * time.Second},
		large: make(chan struct{}, 1), door: make(chan struct{}, 1), tasks: make(map[string]*task),
	}
}

// instance returns the tenant's instance, which is reached first if that has not
// been done.
func (h *house) instance(ctx context.Context) (*instance, error) {
	if i, _ := h.now(); i != nil {
		return i, nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.m.Limits.Start)
	defer cancel()
	select {
	case h.door <- struct{}{}:
		defer func() { <-h.door }()
	case <-ctx.Done():
		return nil, words("No server: none was free in time")
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		i, notBefore := h.now()
		if i != nil {
			return i, nil
		}
		err := sleep(ctx, time.Until(notBefore))
		if err == nil {
			if i, err = h.open(ctx); err == nil {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.current = i
				return i, nil
			}
			h.log.Warn("instance", "event", "not reached", "why", err.Error())
			h.rest(err)
			err = sleep(ctx, pause)
		}
		if err != nil {
			return nil, words("No server: none was free in time")
		}
	}
}

// now is the instance that there is, and when there may be one at the earliest.
func (h *house) now() (*instance, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current, h.notBefore
}

// rest stays away until an instance that we are not connected to any more has ended, which
// it does by itself. One that has closed its connections is taken to be gone.
func (h *house) rest(why error) {
	if errors.Is(why, io.EOF) || errors.Is(why, syscall.ECONNRESET) || why == errReplaced {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notBefore = time.Now().Add(h.m.Limits.Gone)
}

// gone is the name of the instance that was let go last.
func (h *house) gone() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.before
}

// lost says that i was let go. Whoever is here is about to need the next one.
func (h *house) lost(i *instance, why error) {
	h.rest(why)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != i {
		return
	}
	h.current, h.before = nil, i.name
	if h.clients > 0 {
		go h.instance(context.Background())
	}
}

// enter counts a client, unless there are too many.
func (h *house) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clients >= h.m.Limits.Connections {
		return false
	}
	h.clients++
	return true
}

func (h *house) exit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients--
}

func (h *house) inUse() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients > 0 || len(h.tasks) > 0
}

// begin books a task, unless there are too many.
func (h *house) begin(t *task) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tasks) >= h.m.Limits.Tasks {
		return words(fmt.Sprintf("Too many tasks: %d run or wait already", len(h.tasks)))
	}
	h.tasks[t.id] = t
	return nil
}

func (h *house) end(t *task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tasks, t.id)
}

// task is the tenant's task with this id, nil if there is none.
func (h *house) task(id string) *task {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tasks[id]
}

// hasTasks tells whether a client has some.
func (h *house) hasTasks(c *client) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tasks {
		if t.client == c {
			return true
		}
	}
	return false
}

// shutdown ends the tenant's instance, with all of its sessions and tasks.
func (h *house) shutdown(ctx context.Context) {
	i, _ := h.now()
	if i == nil {
		return
	}
	if err := h.m.Backend.End(ctx, h.tenant.Name); err != nil {
		h.log.Warn("instance", "event", "not ended", "error", err)
	}
	i.end(errStop)
}

// sleep waits, but not longer than ctx, of which it returns the error then.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
