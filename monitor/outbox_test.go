package monitor

import (
	"bytes"
	"testing"

	"cofferdam/wire"
)

// A frame is taken whole or not at all, also where the environment holds all it
// may: then only what the peer has begun to read is kept.
func TestOutboxOfAFullStore(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	held := &e.held
	if !held.take(maxHeldBytes) || held.take(1) {
		t.Fatalf("a store takes %d bytes, and not one more", maxHeldBytes)
	}
	ours, theirs := socketpair(t)
	c, err := newConn(e, ours)
	if err != nil {
		t.Fatal(err)
	}
	c.begin()
	o := c.out
	frame := func(id uint64, n int) *wire.Frame {
		return &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: id}, Body: bytes.Repeat([]byte{byte(id)}, n)}
	}
	if err := o.send(nil, frame(1, wire.MaxBody)); err != nil { // more than the socket takes
		t.Fatalf("send = %v, want it taken: a part of it is sent already", err)
	}
	if err := o.send(nil, frame(2, 1)); err != errFull {
		t.Errorf("send behind it = %v, want %v", err, errFull)
	}
	p := &peer{t: t, nc: theirs, r: wire.NewReader(theirs)}
	p.want(1, wire.OK, string(frame(1, wire.MaxBody).Body))
	eventually(t, "what was kept is given back", func() bool { return held.bytes.Load() == maxHeldBytes })
	held.give(maxHeldBytes)

	// Whole frames again, in order, by the flusher.
	for id := uint64(3); id < 6; id++ {
		if err := o.send(nil, frame(id, wire.MaxBody)); err != nil {
			t.Fatalf("send = %v", err)
		}
	}
	for id := uint64(3); id < 6; id++ {
		p.want(id, wire.OK, string(frame(id, wire.MaxBody).Body))
	}
	theirs.Close()
	eventually(t, "the peer is gone", func() bool { return o.send(nil, frame(6, 0)) == errGone })
	o.close()
	o.close()
	if err := o.send(nil, frame(7, 0)); err != errGone {
		t.Errorf("send after close = %v, want %v", err, errGone)
	}
	if n := held.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}
