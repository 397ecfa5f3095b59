package monitor

import (
	"context"
	"io"
	"net"
	"testing"

	"cofferdam/wire"
)

// Who is retired in the moment in which somebody connects to it is not led to, for it may be stopped as soon as
// nothing leads to it: the connection goes to the one that has taken its place.
func TestConnectAsItIsRetired(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T, l *lab, front *Env) net.Conn{
		"relayed": func(t *testing.T, l *lab, front *Env) net.Conn { return relayed(t, front, "bank", 9000)() },
		"handed": func(t *testing.T, l *lab, front *Env) net.Conn {
			p := l.connect(front)
			c, f := p.dialled(p.dial("bank:9000", wire.Dial{}))
			if c == nil {
				t.Fatalf("no socket but %v", f.Code)
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, direct(bank()))
			front, old, next := l.admit("front", "front-1"), l.admit("bank", "bank-1"), l.admit("bank", "bank-2")
			atOld, atNext := newInside(t), newInside(t)
			retiring := func(ctx context.Context, port int) (net.Conn, error) {
				c, err := atOld.dial(ctx, port)
				next.Hands(atNext.dial)
				next.Listening(atNext.dial)
				old.Retire()
				if old.Busy() {
					t.Error("what was not booked yet keeps it")
				}
				return c, err
			}
			old.Hands(retiring)
			old.Listening(retiring)
			c := connect(t, l, front)
			io.WriteString(c, "hello")
			wantBytes(t, atNext.accept(t), "hello")
			wantEnd(t, atOld.accept(t))
			if old.Busy() || !next.Busy() {
				t.Errorf("the old one is busy: %v, the next one: %v", old.Busy(), next.Busy())
			}
		})
	}
}

// The same of a call: whoever was chosen for it and has been retired since is not asked.
func TestCallAsItIsRetired(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	old, _ := l.server("bank", "bank-1", "balance")
	_, nextPeer := l.server("bank", "bank-2", "balance")
	md := old.self.methods["balance"]
	chosen := md.shared.servers[0]
	if chosen.env != old {
		t.Fatal("the first is another one")
	}
	old.Retire()
	// As if it was chosen just before.
	old.self.mu.Lock()
	md.shared.servers, md.shared.next = append([]*conn{chosen}, md.shared.servers...), 0
	old.self.mu.Unlock()
	id := p.call("bank.balance", "x")
	nextPeer.reply(nextPeer.called("balance").ID, wire.OK, "new")
	p.want(id, wire.OK, "new")
	if old.Busy() {
		t.Error("it has been asked")
	}
}
