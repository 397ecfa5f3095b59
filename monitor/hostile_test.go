package monitor

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

// politePair is two environments that talk to each other all the time; check
// tells whether they still get answers. The callers of this file must not be
// able to disturb it.
type politePair struct {
	t testing.TB
	p *peer
	n int
}

func (l *lab) politePair() *politePair {
	_, server := l.server("bank", "bank-polite", "look")
	go server.echo()
	return &politePair{t: l.t, p: l.connect(l.admit("front", "front-polite"))}
}

// check makes some calls and fails if one of them has no answer in time.
func (pp *politePair) check(during string) {
	pp.t.Helper()
	for range 20 {
		pp.n++
		body := fmt.Sprint(pp.n)
		id := pp.p.ask(wire.OpCall, "bank.look", patience, []byte(body))
		if f := pp.p.next(); f.ID != id || f.Code != wire.OK || string(f.Body) != body {
			pp.t.Fatalf("%s: the polite caller gets %v %q for %q", during, f.Code, f.Body, body)
		}
	}
}

func TestHostileFrames(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	e := l.admit("front", "front-hostile")
	good := wire.AppendFrame(nil, &wire.Frame{
		Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("bank.look"), Body: []byte("hello")})
	oversized := append([]byte(nil), good[:wire.HeaderSize]...)
	oversized[0], oversized[1], oversized[2], oversized[3] = 0xff, 0xff, 0xff, 0x7f
	random := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 64<<10)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	for name, b := range map[string][]byte{
		"oversized":          oversized,
		"garbage":            garbage,
		"HTTP":               []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"name beyond":        append([]byte{200, 0, 0, 0, byte(wire.OpCall), 0, 200, 0}, make([]byte, 300)...),
		"frame in the frame": append(good[:len(good)-3:len(good)-3], append(append([]byte(nil), good...), good...)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := l.connect(e)
			p.nc.Write(b) // the connection may end while we do
			p.closed()
			pp.check(name)
		})
	}
	for cut := range len(good) {
		p := l.connect(e)
		p.sendBytes(good[:cut])
		p.nc.CloseWrite()
		p.closed()
	}
	pp.check("truncated frames")
	p := l.connect(e)
	for _, b := range good {
		p.sendBytes([]byte{b})
	}
	p.want(1, wire.OK, "hello")
	pp.check("one byte at a time")
}

// A caller that never reads its replies is cut off, and what is kept for it on
// the way stays within bounds.
func TestCallerThatNeverReads(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	e := l.admit("front", "front-hostile")
	const bound = 100 << 20
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapInuse, uint64(0)
	body := make([]byte, wire.MaxBody)
	var frame []byte // used again: it is the monitor's heap that is looked at
	for range 8 {
		p := l.connect(e)
		var err error
		for id := uint64(1); err == nil; id++ {
			p.nc.SetWriteDeadline(time.Now().Add(patience))
			frame = wire.AppendFrame(frame[:0], &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: id}, NameBytes: []byte("bank.look"), Body: body})
			_, err = p.nc.Write(frame)
			if held := e.held.bytes.Load(); held > maxHeldBytes+MaxConns*wire.MaxSize {
				t.Fatalf("%d bytes are held", held)
			}
			if id > 100 {
				t.Fatal("the connection is still there after 100 MiB that were not read")
			}
			if runtime.ReadMemStats(&m); m.HeapInuse > before+bound { // with what nobody holds any more,
				runtime.GC()
				runtime.GC() // or is kept to be used again
				runtime.ReadMemStats(&m)
			}
			most = max(most, m.HeapInuse)
		}
		pp.check("unread replies")
	}
	if most > before+bound {
		t.Errorf("the heap grew by %d MiB", (most-before)>>20)
	}
	t.Logf("the heap grew by %d MiB at most", int64(most-before)>>20)
	l.booksAreEmpty()
}

// A server that never reads costs its own callers their answers, and nobody else.
func TestServerThatNeverReads(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	dead, _ := l.server("bank", "bank-dead", "balance")
	p := l.connect(l.admit("front", "front-1"))
	body := make([]byte, wire.MaxBody)
	codes := make(map[wire.Code]int)
	const calls = 40
	for range calls {
		p.ask(wire.OpCall, "bank.balance", 500*time.Millisecond, body)
	}
	if held := dead.held.bytes.Load(); held > maxBacklogBytes {
		t.Errorf("%d bytes are held for the server, at most %d", held, maxBacklogBytes)
	}
	pp.check("a server that does not read")
	for range calls {
		codes[p.next().Code]++
	}
	if codes[wire.Busy] == 0 || codes[wire.Deadline] == 0 || codes[wire.Busy]+codes[wire.Deadline] != calls {
		t.Errorf("calls end with %v, want busy and deadline only", codes)
	}
	pp.check("a server that does not read")
	l.m.Remove(dead)
	l.booksAreEmpty()
}

func TestFloodOfCalls(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-hostile"))
	calls := 100_000
	if testing.Short() {
		calls = 10_000
	}
	var batch []byte
	for id := 1; id <= calls; id++ {
		batch = wire.AppendFrame(batch, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: uint64(id)}, NameBytes: []byte("bank.balance")})
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p.nc.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := p.nc.Write(batch); err != nil {
			t.Errorf("flood: %v", err)
		}
	})
	codes := make(map[wire.Code]int)
	for i := range calls {
		codes[p.next().Code]++
		if i%(calls/10) == 0 {
			pp.check("a flood of calls")
		}
	}
	wg.Wait()
	if codes[wire.OK]+codes[wire.Busy] != calls || codes[wire.OK] == 0 {
		t.Errorf("calls end with %v, want ok and busy only", codes)
	}
	l.booksAreEmpty()
}

// Who is refused all the time writes to the log at a pace.
func TestFloodOfRefusals(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	p := l.connect(l.admit("stranger", "stranger-1"))
	start := time.Now()
	const beyond = 30
	for range freeRecords + beyond {
		p.call("bank.look", "")
	}
	pp.check("a flood of refusals")
	for range freeRecords + beyond {
		if f := p.next(); f.Code != wire.Denied {
			t.Fatalf("call %d ends with %v, want denied", f.ID, f.Code)
		}
	}
	if took := time.Since(start); took < beyond*recordEvery/2 {
		t.Errorf("%d refusals took %v, want at least %v", freeRecords+beyond, took, beyond*recordEvery)
	}
	pp.check("a flood of refusals")
}

func TestRation(t *testing.T) {
	var r ration
	now := time.Unix(1000, 0)
	for i := range freeRecords {
		if d := r.take(now); d != 0 {
			t.Fatalf("record %d waits for %v", i, d)
		}
	}
	for i := range 5 {
		if d, want := r.take(now), time.Duration(i+1)*recordEvery; d != want {
			t.Errorf("record %d beyond the free ones waits for %v, want %v", i, d, want)
		}
	}
	now = now.Add(6 * recordEvery)
	if d := r.take(now); d != 0 {
		t.Errorf("after a pause a record waits for %v", d)
	}
	now = now.Add(time.Hour)
	for i := range freeRecords {
		if d := r.take(now); d != 0 {
			t.Fatalf("after an hour record %d waits for %v", i, d)
		}
	}
	if d := r.take(now); d != recordEvery {
		t.Errorf("after an hour and the free ones a record waits for %v, want %v", d, recordEvery)
	}
}

func TestConnectionStorm(t *testing.T) {
	l := newLab(t, bank())
	pp := l.politePair()
	e := l.admit("front", "front-hostile")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				a, b := socketpair(t)
				go e.Serve(b)
				hello := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpHello, ID: 1}})
				a.Write(hello[:i%(len(hello)+1)])
				a.Close()
			}
		})
	}
	pp.check("a connection storm")
	wg.Wait()
	pp.check("a connection storm")
	eventually(t, "all connections are gone", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.conns) == 0
	})
}

// flaky is a listener whose first accepts fail as they do without descriptors.
type flaky struct {
	net.Listener
	fails int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails > 0 {
		f.fails--
		return nil, fmt.Errorf("accept: too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptingGoesOn(t *testing.T) {
	l := newLab(t, bank())
	l.admit("bank", "bank-1").Listening(greet)
	ln := listen(t)
	go l.admit("front", "front-1").Relay(&flaky{ln, 2}, "bank", 9000)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(c); string(b) != "hello" {
		t.Errorf("after failed accepts got %q, %v, want hello", b, err)
	}
	ln.Close()
}
