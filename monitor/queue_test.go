package monitor

import (
	"fmt"
	"testing"

	"cofferdam/wire"
)

// Who fills the queue of a method with calls, from many instances, makes room for those of others, and
// does not make them wait for all of his.
func TestQueueIsFair(t *testing.T) {
	l := newLab(t, bank())
	greedy := make([]*peer, 2*MaxQueued/maxQueuedEach)
	for i := range greedy {
		greedy[i] = l.connect(l.admitFor("front", fmt.Sprint("greedy-", i), fmt.Sprint("mask ", i)))
		for range maxQueuedEach {
			greedy[i].call("bank.balance", "greedy")
		}
		greedy[i].until(greedy[i].ask(wire.OpCall, "bank.missing", 0, nil), wire.Denied) // all have been read
	}
	polite := l.connect(l.admitFor("front", "polite", "alice"))
	var ids []uint64
	for i := range 3 {
		ids = append(ids, polite.call("bank.balance", fmt.Sprint("polite ", i)))
	}
	polite.want(polite.ask(wire.OpCall, "bank.missing", 0, nil), wire.Denied, "") // and nothing else was answered: they wait
	_, server := l.server("bank", "bank-1", "balance")
	for came, n := 0, 1; came < 3; n++ {
		f := server.called("balance")
		server.reply(f.ID, wire.OK, string(f.Body))
		if string(f.Body) == "greedy" {
			continue
		}
		if n > (came+1)*(len(greedy)+1) {
			t.Errorf("call %d of the polite is number %d", came, n)
		}
		polite.want(ids[came], wire.OK, fmt.Sprint("polite ", came))
		came++
	}
}

func TestTurnsOfCallers(t *testing.T) {
	l := newLab(t, bank())
	var p pool
	conns := make(map[string]*conn)
	for _, who := range []string{"a", "b", "c"} {
		conns[who] = &conn{env: l.admitFor("front", who, who)}
	}
	for _, who := range []string{"a", "a", "a", "b", "a", "c", "b"} {
		p.queue = append(p.queue, &call{from: conns[who], num: uint64(len(p.queue))})
	}
	got := ""
	for _, k := range p.inTurn() {
		got += fmt.Sprint(k.from.env.id.Principal, k.num, " ")
	}
	if want := "a0 b3 c5 a1 b6 a2 a4 "; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	for than, want := range map[int]int{1: 4, 3: 4, 4: -1} {
		if at := p.lastOfMost(than); at != want {
			t.Errorf("lastOfMost(%d) = %d, want %d", than, at, want)
		}
	}
}

// until reads replies up to that to id.
func (p *peer) until(id uint64, code wire.Code) {
	p.t.Helper()
	for f := p.next(); ; f = p.next() {
		if f.ID == id {
			if f.Code != code {
				p.t.Fatalf("%d is answered with %v, want %v", id, f.Code, code)
			}
			return
		}
	}
}
