package telemetry

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// crowdPause is between two that are let in while there is no room: who comes is left alone for as long as
// it takes maxConns others.
const crowdPause = 2 * time.Millisecond

// crowd bounds the connections. Whoever may connect may hold as many as he likes, and nothing tells him from
// who asks for numbers; so one that is too many is let in, and the oldest ends, whatever it is at. An honest
// client asks at once, and is answered before it is the oldest.
type crowd struct {
	mu  sync.Mutex
	all []net.Conn // the oldest first, at most maxConns
}

// changed is [http.Server.ConnState].
func (c *crowd) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if c.enter(conn) {
			time.Sleep(crowdPause) // nobody is accepted meanwhile
		}
	case http.StateClosed, http.StateHijacked:
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.all, conn); i >= 0 {
			c.all = slices.Delete(c.all, i, i+1)
		}
	}
}

// enter lets one in, and tells whether another one had to leave.
func (c *crowd) enter(conn net.Conn) (crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if crowded = len(c.all) >= maxConns; crowded {
		c.all[0].Close()
		c.all = slices.Delete(c.all, 0, 1)
	}
	c.all = append(c.all, conn)
	return crowded
}

// inTurn has h answer some requests at a time, and none of whoever has gone meanwhile: others wait for it.
func inTurn(h http.Handler) http.Handler {
	turn := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			if r.Context().Err() == nil {
				h.ServeHTTP(w, r)
			}
		case <-r.Context().Done(): // it has gone
		}
	})
}

// fresh is a gatherer that gathers again what is older than freshFor: who asks often does not keep
// the trusted process busy.
type fresh struct {
	from prometheus.Gatherer

	mu   sync.Mutex
	all  []*dto.MetricFamily // which nobody changes
	when time.Time
}

const freshFor = 100 * time.Millisecond

// Gather implements [prometheus.Gatherer].
func (f *fresh) Gather() ([]*dto.MetricFamily, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.when) < freshFor {
		return f.all, nil
	}
	all, err := f.from.Gather()
	if err == nil {
		f.all, f.when = all, time.Now()
	}
	return all, err
}
