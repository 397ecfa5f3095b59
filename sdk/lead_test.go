package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

// Whoever leads, and however it stops to, everybody gets their own: callers that
// come, wait and give up at random, on a connection that serves at the same time
// and is called through itself.
func TestLeadStress(t *testing.T) {
	ctx := testContext(t)
	var c *Client
	ready := make(chan struct{})
	c, p, served := serving(t, ctx, map[string]Handler{
		"echo": echo,
		"slow": func(_ context.Context, _ Caller, body []byte) ([]byte, error) {
			time.Sleep(rand.N(500 * time.Microsecond))
			return body, nil
		},
		"nested": func(ctx context.Context, _ Caller, body []byte) ([]byte, error) {
			<-ready
			return c.Call(ctx, "self.slow", body)
		},
	})
	close(ready)

	// The monitor sends every call back on the same connection, under a number of
	// its own, and the reply back to who asked.
	var sending sync.Mutex
	asked := map[uint64]uint64{}
	number := uint64(1 << 32)
	go func() {
		for {
			f, err := p.r.Next()
			if err != nil {
				return
			}
			out := wire.Frame{Header: wire.Header{Op: f.Op, Code: f.Code}, Body: bytes.Clone(f.Body)}
			switch f.Op {
			case wire.OpCall:
				number++
				asked[number] = f.ID
				out.ID, out.Call, out.Timeout = number, number, f.Timeout
				out.NameBytes = bytes.Clone(bytes.TrimPrefix(f.NameBytes, []byte("self.")))
				out.CallerBytes = alice.Append(nil)
			case wire.OpReply:
				out.ID = asked[f.ID]
				delete(asked, f.ID)
				if f.Code == wire.Canceled {
					out.Code = wire.Deadline // as the monitor says it
				}
			default:
				continue // a cancel: the reply will come all the same
			}
			go func() { // a monitor does not wait for those it writes to
				sending.Lock()
				defer sending.Unlock()
				p.nc.Write(wire.AppendFrame(nil, &out))
			}()
		}
	}()

	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				ctx, cancel := ctx, context.CancelFunc(func() {})
				impatient := rand.N(4) == 0
				if impatient {
					ctx, cancel = context.WithTimeout(ctx, rand.N(300*time.Microsecond))
				}
				method := []string{"self.echo", "self.slow", "self.nested"}[rand.N(3)]
				body := bytes.Repeat([]byte(fmt.Sprint(g, i)), 1+rand.N(3000))
				out, err := c.Call(ctx, method, body)
				switch {
				case err == nil && !bytes.Equal(out, body):
					t.Errorf("Call(%s) gave the reply of another", method)
				case err != nil && !(impatient && errors.Is(err, ErrDeadline)):
					t.Errorf("Call(%s) = %v", method, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	c.Close()
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Errorf("Serve() = %v, want %v", err, ErrClosed)
	}
}

// A handler that takes long keeps nobody from being served, however many there
// are of it.
func TestLeadTakenOver(t *testing.T) {
	release := make(chan struct{})
	_, p, _ := serving(t, testContext(t), map[string]Handler{
		"echo": echo,
		"wait": func(context.Context, Caller, []byte) ([]byte, error) { <-release; return nil, nil },
	})
	for id := range uint64(5) {
		p.call(id, "wait", 0, nil)
		p.call(id+100, "echo", 0, []byte("meanwhile"))
		p.wantReply(id+100, wire.OK, "meanwhile")
	}
	close(release)
	for range 5 {
		if f := p.next(); f.Code != wire.OK {
			t.Errorf("got %v, want ok", f.Code)
		}
	}
}
