package monitor

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/wire"
)

// attached is a connection of e that nothing but the readers know of.
func (l *lab) attached(e *Env) *peer {
	l.t.Helper()
	ours, theirs := socketpair(l.t)
	c, err := newConn(e, theirs)
	if err != nil {
		l.t.Fatal(err)
	}
	c.begin()
	return &peer{t: l.t, nc: ours, r: wire.NewReader(ours)}
}

// Connections that say nothing have no goroutine and no buffer, and neither has one that has
// said something, also one that has stopped in the middle of a frame but for what it has sent.
func TestIdleConnections(t *testing.T) {
	const envs, each = 32, 32
	l := newLab(t, bank())
	hello := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpHello, ID: 1}})
	first := l.attached(l.admit("front", "front-first"))
	first.sendBytes(hello)
	first.next() // so that there are readers
	var peers []*peer
	memory := func() (heap uint64, goroutines int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	heap, goroutines := memory()
	for n := range envs {
		e := l.admit("front", fmt.Sprint("front-", n))
		for range each {
			peers = append(peers, l.attached(e))
		}
	}
	for _, p := range peers {
		p.sendBytes(hello)
		p.next()
		p.sendBytes(hello[:len(hello)/2])
		p.r, p.last = nil, 0 // the buffer of our own end is not what is counted
	}
	first.sendBytes(hello)
	first.next() // by now they have been read from
	more, now := memory()
	if now > goroutines {
		t.Errorf("%d goroutines for %d connections, %d without", now, len(peers), goroutines)
	}
	// The connection, its environment, the test's own end, and the 4 KiB of the half frame.
	if each := int64(more-heap) / int64(len(peers)); each > 10<<10 {
		t.Errorf("%d bytes for each connection", each)
	}
	for _, p := range peers {
		p.r = wire.NewReader(p.nc)
		p.sendBytes(hello[len(hello)/2:])
		p.next()
	}
}

// A connection whose environment ends before it is read from has no place with the readers, however
// far its end has come by then.
func TestEndBeforeReading(t *testing.T) {
	l := newLab(t, bank())
	places := func() int {
		l.m.reading.Lock()
		defer l.m.reading.Unlock()
		if l.m.readers == nil {
			return 0
		}
		return l.m.readers.conns
	}
	_, theirs := socketpair(t)
	c, err := newConn(l.admit("front", "front-1"), theirs)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.closed = true // and close has taken it out already, and goes on later
	c.mu.Unlock()
	c.begin()
	if n := places(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
	c.mu.Lock()
	c.closed = false
	c.mu.Unlock()
	c.close()

	for n := range 200 {
		e := l.admit("front", fmt.Sprint("front-", n+2))
		_, theirs := socketpair(t)
		if c, err = newConn(e, theirs); err != nil {
			t.Fatal(err)
		}
		removed := make(chan bool)
		go func() { l.m.Remove(e); close(removed) }()
		c.begin()
		<-removed
		<-c.over
	}
	if n := places(); n != 0 {
		t.Errorf("%d places are taken by those who have ended", n)
	}
}

// What takes its time is done apart: here it waits for a lock that the test holds.
func TestSlowRequestHoldsUpNobody(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	e := l.admit("front", "front-slow")
	p := l.connect(e)
	e.flow.mu.Lock()
	id := p.ask(wire.OpLabels, "", 0, nil)
	hello := p.ask(wire.OpHello, "", 0, nil)
	pp.check("a request that takes long")
	e.flow.mu.Unlock()
	if f := p.next(); f.ID != id {
		t.Errorf("%d is answered first, want %d", f.ID, id)
	}
	if f := p.next(); f.ID != hello {
		t.Errorf("%d is answered then, want %d", f.ID, hello)
	}
}

// A raise may have much to cut.
func TestRaisesAreNotPrompt(t *testing.T) {
	l := newLab(t, bank())
	c := &conn{env: l.admit("front", "front-1")}
	for mode, want := range map[wire.Mode]bool{0: true, wire.ModeRaise: false, wire.ModeRaise | wire.ModeForce: false} {
		for _, op := range []wire.Op{wire.OpRecv, wire.OpTake} {
			ask := wire.Ask{Name: "jobs", Mode: mode}
			if got := c.isPrompt(&wire.Frame{Header: wire.Header{Op: op}, Body: ask.Append(nil, op)}); got != want {
				t.Errorf("%v with the mode %d is prompt: %v", op, mode, got)
			}
		}
	}
	// So is all else of which nobody has said that it is prompt.
	prompt := map[wire.Op]bool{
		wire.OpReply: true, wire.OpCall: true, wire.OpCancel: true, wire.OpHello: true,
		wire.OpPost: true, wire.OpPut: true, wire.OpRecv: true, wire.OpTake: true,
	}
	for op := range wire.Op(len(wire.Ops)) {
		if got := c.isPrompt(&wire.Frame{Header: wire.Header{Op: op}}); got != prompt[op] {
			t.Errorf("%v is prompt: %v", op, got)
		}
	}
}

// So is what an environment may have to wait for, because it is refused so often.
func TestShortRation(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	c, now := &conn{env: e}, time.Now()
	prompt := func() bool { return c.isPrompt(&wire.Frame{Header: wire.Header{Op: wire.OpCall}}) }
	for n := range freeRecords/2 + 1 {
		if !prompt() {
			t.Fatalf("after %d records calls are not prompt", n)
		}
		e.records.take(now)
	}
	if prompt() {
		t.Error("with half of the ration gone calls are prompt")
	}
	e.records.mu.Lock()
	e.records.since = now.Add(-recordEvery * freeRecords)
	e.records.mu.Unlock()
	if !prompt() {
		t.Error("later calls are not prompt again")
	}
}

// Descriptors that a program sends end a read before its time. What comes after them is
// read all the same, and they are gone.
func TestDescriptorsThatNobodyWants(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	ours, theirs := socketpair(t)
	p := &peer{t: t, nc: ours, r: wire.NewReader(ours)}
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const frames = 50
	for range frames {
		p.last++
		frame := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: p.last}, NameBytes: []byte("bank.look"), Body: []byte("x")})
		for _, part := range [][]byte{frame[:10], frame[10:40], frame[40:]} {
			var fds [2]int
			if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			var sendErr error
			raw.Write(func(fd uintptr) bool {
				sendErr = syscall.Sendmsg(int(fd), part, syscall.UnixRights(fds[1]), nil, 0)
				return sendErr != syscall.EAGAIN
			})
			syscall.Close(fds[1])
			if sendErr != nil {
				t.Fatal(sendErr)
			}
			// Nobody has the other end any more, as soon as it was read.
			r := fds[0]
			t.Cleanup(func() {
				if n, err := syscall.Read(r, make([]byte, 1)); n != 0 || err != nil {
					t.Errorf("a descriptor that was sent is still open: %d, %v", n, err)
				}
				syscall.Close(r)
			})
		}
	}
	go l.admit("front", "front-hostile").Serve(theirs) // from which on newer kernels take none
	for n := range uint64(frames) {
		p.want(n+1, wire.OK, "x")
	}
	pp.check("descriptors")
}

// Many readers at once, on many connections, each of which is read by one at a time: every call
// has its answer, in the order of the connection.
func TestManyReaders(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(6))
	l := newLab(t, bank())
	for n := range 4 {
		_, server := l.server("bank", fmt.Sprint("bank-", n), "look")
		go server.echo()
	}
	var wg sync.WaitGroup
	for n := range 8 {
		p := l.connect(l.admit("front", fmt.Sprint("front-", n)))
		wg.Go(func() {
			const rounds, window = 40, 50
			for range rounds {
				var batch []byte
				want := make(map[uint64]string)
				for range window {
					p.last++
					want[p.last] = fmt.Sprint(n, " ", p.last)
					body := append([]byte(want[p.last]+" "), bytes.Repeat([]byte("."), int(p.last%7)*1000)...)
					batch = wire.AppendFrame(batch, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: p.last}, NameBytes: []byte("bank.look"), Body: body})
				}
				p.sendBytes(batch)
				for range window {
					f, err := p.read()
					if err != nil || f.Code != wire.OK || !bytes.HasPrefix(f.Body, []byte(want[f.ID]+" ")) {
						t.Errorf("call %d: %v %v %.20q", f.ID, err, f.Code, f.Body)
						return
					}
					delete(want, f.ID)
				}
			}
		})
	}
	wg.Wait()
	l.booksAreEmpty()
}

// Frames that were held back in order to be sent together are taken: a peer that does not
// read them costs no more than any, all of its callers hear of it, and what it reads at last is whole.
func TestFramesHeldBackForADeadPeer(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	dead, server := l.server("bank", "bank-dead", "balance")
	p := l.connect(l.admit("front", "front-1"))
	const rounds, window = 40, 25
	body, codes := bytes.Repeat([]byte("x"), 4000), make(map[wire.Code]int)
	for range rounds {
		var batch []byte
		for range window {
			p.last++
			batch = wire.AppendFrame(batch, &wire.Frame{
				Header: wire.Header{Op: wire.OpCall, ID: p.last, Timeout: 300 * time.Millisecond}, NameBytes: []byte("bank.balance"), Body: body})
		}
		p.sendBytes(batch)
		if held := dead.held.bytes.Load(); held > maxBacklogBytes+maxCorked {
			t.Fatalf("%d bytes are held for a peer that does not read", held)
		}
	}
	for range rounds * window {
		codes[p.next().Code]++
	}
	if codes[wire.Busy]+codes[wire.Deadline] != rounds*window || codes[wire.Deadline] == 0 {
		t.Errorf("calls end with %v, want busy and deadline", codes)
	}
	pp.check("a peer that reads late")
	calls := 0
	for range 2 * codes[wire.Deadline] { // each that was sent, and its withdrawal, as far as there was room for it
		f, err := server.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Op == wire.OpCall {
			if calls++; !bytes.Equal(f.Body, body) {
				t.Fatalf("call %d has a body of %d bytes that was not sent", calls, len(f.Body))
			}
		}
		if calls == codes[wire.Deadline] {
			break
		}
	}
	if calls != codes[wire.Deadline] {
		t.Errorf("%d calls came, %d were sent", calls, codes[wire.Deadline])
	}
	eventually(t, "nothing is held any more", func() bool {
		server.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		server.r.Next()
		return dead.held.bytes.Load() == 0
	})
	l.m.Remove(dead)
	l.booksAreEmpty()
}
