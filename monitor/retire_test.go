package monitor

import (
	"io"
	"testing"
	"time"

	"cofferdam/wire"
)

// Who is retired finishes what it is at, and is asked nothing more; nobody notices.
func TestRetire(t *testing.T) {
	l := newLab(t, bank())
	front := l.admit("front", "front-1")
	p := l.connect(front)
	oldIn, newIn := newInside(t), newInside(t)
	old, oldPeer := l.server("bank", "bank-1", "balance")
	old.Listening(oldIn.dial)
	first := p.call("bank.balance", "first")
	f := oldPeer.called("balance")
	dial := relayed(t, front, "bank", 9000)
	near := dial()
	far := oldIn.accept(t)
	eventually(t, "the connection is booked", func() bool { return relaysOf(old) == 1 }) // until then it may be led elsewhere

	next, nextPeer := l.server("bank", "bank-2", "balance")
	next.Listening(newIn.dial)
	old.Retire()
	if !old.Busy() {
		t.Error("it has a call and a connection, and is not busy")
	}
	for range 4 {
		id := p.call("bank.balance", "x")
		nextPeer.reply(nextPeer.called("balance").ID, wire.OK, "new")
		p.want(id, wire.OK, "new")
	}
	dial()
	newIn.accept(t)
	oldPeer.serve("balance") // it cannot come back
	id := p.call("bank.balance", "x")
	nextPeer.reply(nextPeer.called("balance").ID, wire.OK, "new")
	p.want(id, wire.OK, "new")
	// Messages are for its successor.
	p.want(p.start(wire.OpPost, 0, post("letters", "hello")), wire.OK, "")
	if code, told := nextPeer.do(wire.OpRecv, named("letters")); code != wire.OK || string(told.Data) != "hello" {
		t.Errorf("the successor receives %v %q", code, told.Data)
	}

	io.WriteString(near, "still here")
	wantBytes(t, far, "still here")
	oldPeer.reply(f.ID, wire.OK, "old")
	p.want(first, wire.OK, "old")
	near.Close()
	far.Close()
	eventually(t, "it is at nothing any more", func() bool { return !old.Busy() })
	l.m.Remove(old)
	id = p.call("bank.balance", "x")
	nextPeer.reply(nextPeer.called("balance").ID, wire.OK, "new")
	p.want(id, wire.OK, "new")
	l.booksAreEmpty()
}

// While nobody is there a call waits for the successor.
func TestRetireAlone(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	old, _ := l.server("bank", "bank-1", "balance")
	old.Retire()
	id := p.ask(wire.OpCall, "bank.balance", time.Minute, []byte("x"))
	eventually(t, "it waits", func() bool {
		md := l.m.policy.Load().services["bank"].methods["balance"]
		md.of.mu.Lock()
		defer md.of.mu.Unlock()
		return len(md.shared.queue) == 1
	})
	l.m.Remove(old)
	_, next := l.server("bank", "bank-2", "balance")
	next.reply(next.called("balance").ID, wire.OK, "new")
	p.want(id, wire.OK, "new")
}
