package monitor

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// Bodies of all sizes, many at once, between several environments that share the monitor's buffers: each
// is answered with its own bytes, beside one that announces large frames and sends a part of them.
func TestBodiesOfManyAtOnce(t *testing.T) {
	l := newLab(t, bank())
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	client := func(service, instance string) *sdk.Client {
		ours, theirs := socketpair(t)
		go l.admit(service, instance).Serve(ours)
		c, err := sdk.NewClient(ctx, theirs)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	server := client("bank", "bank-1")
	go server.Serve(ctx, map[string]sdk.Handler{
		"balance": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
	})
	hostile := l.admit("front", "front-hostile")
	whole := wire.AppendFrame(nil, &wire.Frame{
		Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("bank.balance"), Body: bytes.Repeat([]byte("!"), wire.MaxBody)})
	var wg sync.WaitGroup
	for n := range 4 {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		c := client("front", "front-"+string(rune('a'+n)))
		wg.Go(func() {
			for range 25 {
				size := random.IntN(wire.MaxBody + 1)
				if random.IntN(3) == 0 {
					size = random.IntN(300 << 10)
				}
				body := bytes.Repeat([]byte{byte('a' + n), byte(random.Uint32()), byte(size)}, size/3+1)[:size]
				got, err := c.Call(ctx, "bank.balance", body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes: %d come back, the same: %v, %v", size, len(got), bytes.Equal(got, body), err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		random := rand.New(rand.NewPCG(2, 3))
		for range 50 {
			p := l.connect(hostile)
			p.sendBytes(whole[:random.IntN(len(whole))])
			p.nc.Close()
		}
	})
	wg.Wait()
}

// What is held of large frames that do not come to their end goes by what has come of them.
func TestLargeFramesThatAreOnlyAnnounced(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	e := l.admit("front", "front-hostile")
	whole := wire.AppendFrame(nil, &wire.Frame{
		Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("bank.look"), Body: make([]byte, wire.MaxBody)})
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC() // and what is kept for later
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	const sent = 40 << 10
	before := inUse()
	var all []*peer
	for range MaxConns {
		p := l.connect(e)
		p.sendBytes(whole[:sent])
		all = append(all, p)
	}
	pp.check("frames that are not complete")
	for _, p := range all {
		eventually(t, "it is read", func() bool { return p.unread() == 0 })
	}
	if held := inUse(); held > before && held-before > 4*sent*MaxConns+(4<<20) {
		t.Errorf("%d bytes are held for %d sent", held-before, sent*MaxConns)
	}
	for _, p := range all {
		p.nc.Close()
	}
	pp.check("their end")
}

// unread is how much of what p has sent is still in the socket.
func (p *peer) unread() (n int) {
	p.t.Helper()
	raw, err := p.nc.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
