package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"cofferdam/guard"
	"cofferdam/wire"
)

// How long the addresses of a name stay what they are: as long as DNS says, but
// within these. The floor is what keeps a name that changes with every question
// from being asked about with every connection.
const (
	pinFloor   = 30 * time.Second
	pinCeiling = time.Hour
	pinFailure = 5 * time.Second

	resolveTimeout = 8 * time.Second
)

// pins are the names that were asked about. There are no more of them than
// grants: nobody's question gets here before it is granted.
type pins struct {
	mu     sync.Mutex // taken last, and alone
	byName map[string]*pin
}

// pin is what a name leads to. Who holds turn may look and change.
type pin struct {
	turn  chan struct{} // a lock that gives up with a context
	addrs []netip.Addr
	err   error
	until time.Time
}

func (p *pins) of(name string) *pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.byName[name]
	if one == nil {
		one = &pin{turn: make(chan struct{}, 1)}
		if p.byName == nil {
			p.byName = make(map[string]*pin)
		}
		p.byName[name] = one
	}
	return one
}

// lookup returns the addresses of a name, in the order to try them. Those who
// ask at the same time wait for the one answer.
func (m *Monitor) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	p := m.pins.of(name)
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.turn }()
	if now := time.Now(); now.Before(p.until) {
		return p.addrs, p.err
	}
	answer, err := m.resolve(ctx, name)
	if err != nil && ctx.Err() != nil {
		return nil, err // its caller has gone: that says nothing of the name
	}
	hold := min(max(answer.TTL, pinFloor), pinCeiling)
	if err != nil {
		hold = pinFailure
	}
	p.addrs, p.err, p.until = answer.Addrs, err, time.Now().Add(hold)
	return p.addrs, p.err
}

// resolve asks the door. What comes back passes the one decoder, and is believed
// in nothing but that the name may lead there.
func (m *Monitor) resolve(ctx context.Context, name string) (wire.Answer, error) {
	door, port, err := m.policy.Load().egressDoor()
	if err != nil {
		return wire.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	c, _, err := door.connect(ctx, port, Key{}, guard.Endpoint{}, byRelay)
	if err != nil {
		return wire.Answer{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := fmt.Fprintf(c, "COFFERDAM resolve %s\n", name); err != nil {
		return wire.Answer{}, err
	}
	f, err := wire.NewReader(c).Next()
	switch {
	case err != nil:
		return wire.Answer{}, fmt.Errorf("the egress door does not answer: %v", err)
	case f.Op != wire.OpReply:
		return wire.Answer{}, fmt.Errorf("the egress door answers with %v", f.Op)
	case f.Code == wire.Unavailable:
		return wire.Answer{}, errors.New("no resolver answers")
	case f.Code != wire.OK:
		return wire.Answer{}, errors.New("the name has no address")
	}
	return wire.ParseAnswer(f.Body)
}

func (p *policy) egressDoor() (*service, int, error) {
	if door := p.services[p.Egress.Service]; door != nil {
		return door, p.Egress.Port, nil
	}
	return nil, 0, errors.New("no door to the Internet")
}
