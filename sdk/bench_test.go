package sdk

import (
	"context"
	"fmt"
	"io"
	"testing"

	"cofferdam/wire"
)

// What a call costs beside what it is made of: a round trip over a socket pair
// between two goroutines that do nothing else, and the two times two hops of a
// call from a client through a relay, which decides nothing, to a server.
func BenchmarkRoundTrip(b *testing.B) {
	for _, n := range []int{64, 64 << 10} {
		body := make([]byte, n)
		b.Run(fmt.Sprintf("direct/body=%d", n), func(b *testing.B) {
			a, z := socketpair(b)
			go func() {
				buf := make([]byte, n)
				for {
					if _, err := io.ReadFull(z, buf); err != nil {
						return
					}
					z.Write(buf)
				}
			}()
			buf := make([]byte, n)
			for b.Loop() {
				a.Write(body)
				if _, err := io.ReadFull(a, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("relayed/body=%d", n), func(b *testing.B) {
			c := relayed(b)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Call(ctx, "s.echo", body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// relayed returns a client whose calls a relay sends to a server.
func relayed(b *testing.B) *Client {
	c, caller := connected(b)
	_, server, _ := serving(b, context.Background(), map[string]Handler{"echo": echo})
	pass := func(from, to *peer, change func(f *wire.Frame)) {
		var out []byte
		for {
			f, err := from.r.Next()
			if err != nil {
				return
			}
			change(&f)
			out = wire.AppendFrame(out[:0], &f)
			if _, err := to.nc.Write(out); err != nil {
				return
			}
		}
	}
	from := alice.Append(nil)
	go pass(caller, server, func(f *wire.Frame) {
		f.NameBytes, f.CallerBytes, f.Call = []byte("echo"), from, f.ID
	})
	go pass(server, caller, func(*wire.Frame) {})
	return c
}
