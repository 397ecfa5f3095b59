package gateway

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// Rate is how many requests one of those who are counted apart may make: Amount in PerMS, on average,
// and Burst at once. The zero value is no limit.
type Rate struct {
	Amount int64 `json:"amount"`
	PerMS  int64 `json:"per_ms"`
	Burst  int64 `json:"burst"`
}

func (r Rate) ok() bool {
	return r == Rate{} || r.Amount > 0 && r.PerMS > 0 && r.Burst > 0
}

// maxCounted bounds how many are counted apart.
const maxCounted = 1 << 14

// meter counts requests. nil is no limit.
type meter struct {
	each, burst time.Duration // what one takes, and what may be saved up

	mu   sync.Mutex
	paid map[string]time.Time // when all that somebody has taken will have come
}

func newMeter(r Rate) *meter {
	if r == (Rate{}) {
		return nil
	}
	each := time.Duration(r.PerMS) * time.Millisecond / time.Duration(r.Amount)
	return &meter{each: each, burst: each * time.Duration(r.Burst), paid: make(map[string]time.Time)}
}

// take counts one request of who, if there may be one, and says otherwise how long to wait.
func (m *meter) take(who string, now time.Time) (wait time.Duration, ok bool) {
	if m == nil {
		return 0, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	paid := m.paid[who]
	if least := now.Add(-m.burst); paid.Before(least) {
		paid = least
	}
	if wait := paid.Add(m.each).Sub(now); wait > 0 {
		return wait, false
	}
	if len(m.paid) >= maxCounted {
		m.sweep(now)
	}
	m.paid[who] = paid.Add(m.each)
	return 0, true
}

// sweep forgets those who have all their burst, and if there are too many others any of them.
// The caller holds mu.
func (m *meter) sweep(now time.Time) {
	for who, paid := range m.paid {
		if !paid.After(now.Add(-m.burst)) {
			delete(m.paid, who)
		}
	}
	for who := range m.paid {
		if len(m.paid) <= maxCounted*3/4 {
			return
		}
		delete(m.paid, who)
	}
}

// tally counts what of somebody goes on at a time.
type tally struct {
	most int

	mu    sync.Mutex
	going map[string]int
}

func newTally(most int) *tally { return &tally{most: most, going: make(map[string]int)} }

// begin reports whether who may have one more; then end is owed.
func (t *tally) begin(who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.going[who] >= t.most {
		return false
	}
	t.going[who]++
	return true
}

func (t *tally) end(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.going[who]--; t.going[who] == 0 {
		delete(t.going, who)
	}
}

// peerName is whom a connection from outside counts for, as text.
func peerName(a net.Addr) string {
	if _, ok := a.(*net.TCPAddr); !ok {
		return ""
	}
	return peerOf(a).String()
}

// after is a Retry-After: whole seconds, at least one.
func after(wait time.Duration) string {
	return strconv.FormatInt(max(int64((wait+time.Second-1)/time.Second), 1), 10)
}

// crowded is said to a peer that has as many connections as it may, before anything that it
// has sent is looked at.
const crowded = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
