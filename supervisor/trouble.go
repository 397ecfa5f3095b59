package supervisor

import (
	"fmt"
	"time"

	"cofferdam/audit"
	"cofferdam/monitor"
)

// maxTroubles is of how many keys a pool remembers that their instances ended.
const maxTroubles = 1024

// trouble is what is remembered of a key whose instances end by themselves: only
// that key's next one waits for it.
type trouble struct {
	rhythm
	notBefore time.Time
	broken    time.Time // until then; zero if it is not
	last      time.Time
	times     int
	detail    string
}

// troubled notes that an instance with that key has ended by itself. The caller
// holds mu.
func (p *pool) troubled(key monitor.Key, served bool, detail string) {
	policy, now := p.spec.Restart, time.Now()
	t := p.troubles[key]
	if t == nil {
		p.forgetTrouble(now)
		t = &trouble{rhythm: rhythm{policy: policy}}
		if policy.Policy == "no" {
			t.policy.Intensity = 0
		}
		p.troubles[key] = t
	}
	t.last, t.detail = now, detail
	t.times++
	wait, broken := t.ended(now, served, p.s.jitter)
	t.notBefore = now.Add(wait)
	if !broken {
		return
	}
	t.broken = now.Add(policy.Period)
	t.detail = t.tooOften(detail)
	p.s.record(audit.Record{
		Kind: audit.KindLimit, Subject: p.spec.Name, Principal: key.Principal, Op: "restart", Object: string(Broken),
		Detail: fmt.Sprintf("principal %q: %s", key.Principal, t.detail),
	})
	p.s.Logger.Warn("instance broken", "service", p.spec.Name, "principal", key.Principal, "detail", t.detail)
}

// retired notes that an instance with that key was stopped for good: for as long as one
// that has ended too often is broken.
func (p *pool) retired(key monitor.Key, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubled(key, true, why)
	t := p.troubles[key]
	t.broken, t.detail = t.last.Add(p.spec.Restart.Period), why
}

// forgetTrouble makes room for one more: what is over is forgotten, and if that is
// not enough what is oldest. The caller holds mu.
func (p *pool) forgetTrouble(now time.Time) {
	var oldest monitor.Key
	var at time.Time
	for key, t := range p.troubles {
		if now.Sub(t.last) > p.spec.Restart.Period && now.After(t.broken) && now.After(t.notBefore) {
			delete(p.troubles, key)
			continue
		}
		if at.IsZero() || t.last.Before(at) {
			oldest, at = key, t.last
		}
	}
	if len(p.troubles) >= maxTroubles {
		delete(p.troubles, oldest)
	}
}
