package monitor

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

// TestChurn lets instances come and go under callers that call, withdraw and
// leave. Every call that is not withdrawn ends once, an idempotent one never
// reaches more than two instances, and at the end all books are empty.
func TestChurn(t *testing.T) {
	l := newLab(t, bank())
	stop := make(chan struct{})
	var servers, callers sync.WaitGroup
	var mu sync.Mutex
	reached := make(map[string]int) // by method and call number
	for s := range 3 {
		servers.Go(func() {
			for n := 0; ; n++ {
				e, p := l.server("bank", fmt.Sprintf("bank-%d-%d", s, n), "balance", "look")
				life := time.AfterFunc(time.Duration(1+rand.IntN(20))*time.Millisecond, func() { l.m.Remove(e) })
				p.nc.SetReadDeadline(time.Time{})
				for {
					f, err := p.r.Next()
					if err != nil {
						break
					}
					if f.Op != wire.OpCall {
						continue
					}
					mu.Lock()
					reached[fmt.Sprintf("%s %d", f.NameBytes, f.Call)]++
					mu.Unlock()
					if rand.IntN(3) != 0 { // the others wait for the end of the instance, or theirs
						p.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: f.Body}))
					}
				}
				life.Stop()
				l.m.Remove(e)
				p.nc.Close()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	ends := make(map[wire.Code]int)
	for c := range 4 {
		callers.Go(func() {
			e := l.admit("front", fmt.Sprintf("front-%d", c))
			for range 15 {
				for code, n := range churnCaller(l.connect(e)) {
					mu.Lock()
					ends[code] += n
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	servers.Wait()
	l.booksAreEmpty()
	for call, n := range reached {
		if n > 2 {
			t.Errorf("call %s reached %d instances", call, n)
		}
	}
	for code := range ends {
		switch code {
		case wire.OK, wire.Interrupted, wire.Deadline, wire.Unavailable:
		default:
			t.Errorf("%d calls ended with %v", ends[code], code)
		}
	}
	if ends[wire.OK] == 0 || ends[wire.Interrupted] == 0 {
		t.Errorf("calls ended with %v, want some ok and some interrupted", ends)
	}
}

// churnCaller makes 40 calls, withdraws some, waits for the end of the others,
// or leaves before.
func churnCaller(p *peer) map[wire.Code]int {
	defer p.nc.Close()
	open := make(map[uint64]bool)
	ends := make(map[wire.Code]int)
	for range 40 {
		name := []string{"bank.balance", "bank.look"}[rand.IntN(2)]
		id := p.ask(wire.OpCall, name, time.Duration(1+rand.IntN(50))*time.Millisecond, []byte("x"))
		open[id] = true
		if rand.IntN(4) == 0 {
			p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
			open[id] = false // an answer may be on its way
		}
	}
	if rand.IntN(4) == 0 {
		return nil
	}
	for {
		waiting := false
		for _, w := range open {
			waiting = waiting || w
		}
		if !waiting {
			return ends
		}
		f, err := p.read()
		if err != nil {
			p.t.Errorf("waiting for %v: %v", open, err)
			return nil
		}
		if _, known := open[f.ID]; !known || f.Op != wire.OpReply {
			p.t.Errorf("got %v %d, which is not open", f.Op, f.ID)
			return nil
		}
		if open[f.ID] {
			ends[f.Code]++
		}
		delete(open, f.ID)
	}
}
