package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// How long those who attack bodies do so, and how many bodies the others pass on at least meanwhile.
const (
	bodiesTime  = 700 * time.Millisecond
	bodiesLeast = 20
)

// theirs is what every byte of a body is that an attacker sends, and none of what others send.
const theirs = '!'

// cuts are ways to leave the monitor with a large frame that is no whole one, or to have an answer
// of whoever's bytes. Each is tried again and again on connections of its own.
var cuts = map[string]func(*net.UnixConn, *rand.Rand) error{
	"cut short": func(c *net.UnixConn, random *rand.Rand) error {
		whole := largeCall(1, random)
		_, err := c.Write(whole[:random.IntN(len(whole))])
		return err
	},
	"stalls": func(c *net.UnixConn, random *rand.Rand) error {
		whole := largeCall(1, random)
		for range 3 {
			n := random.IntN(len(whole))
			if _, err := c.Write(whole[:n]); err != nil {
				return err
			}
			whole = whole[n:]
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		}
		if random.IntN(2) == 0 {
			return nil
		}
		if _, err := c.Write(whole); err != nil {
			return err
		}
		return hears(c, 1)
	},
	"announces more than there is": func(c *net.UnixConn, random *rand.Rand) error {
		whole := largeCall(1, random)
		long := bytes.Clone(largeCall(1, random)[:wire.HeaderSize])
		// The head of another one, with so much less behind it: what follows is its end.
		if _, err := c.Write(append(long, whole[wire.HeaderSize:]...)); err != nil {
			return err
		}
		if _, err := c.Write(call(2, "server.echo", []byte{theirs})); err != nil {
			return err
		}
		c.CloseWrite()
		return hears(c, 1)
	},
	"nonsense behind it": func(c *net.UnixConn, random *rand.Rand) error {
		_, err := c.Write(append(largeCall(1, random), bytes.Repeat([]byte{0xff}, random.IntN(300<<10))...))
		return err
	},
	"withdrawn": func(c *net.UnixConn, random *rand.Rand) error {
		cancel := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: 1}})
		whole := append(append(largeCall(1, random), cancel...), largeCall(2, random)...)
		if _, err := c.Write(whole); err != nil {
			return err
		}
		return hears(c, 1)
	},
	"nobody reads the answer": func(c *net.UnixConn, random *rand.Rand) error {
		_, err := c.Write(append(largeCall(1, random), largeCall(2, random)...))
		return err
	},
	"messages that are cut short": func(c *net.UnixConn, random *rand.Rand) error {
		a := wire.Ask{Name: "mine", Data: bytes.Repeat([]byte{theirs}, 60<<10+random.IntN(800<<10))}
		whole := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpPut, ID: 1}, Body: a.Append(nil, wire.OpPut)})
		if _, err := c.Write(whole[:len(whole)-1-random.IntN(len(whole)/2)]); err != nil {
			return err
		}
		c.CloseWrite()
		io.Copy(io.Discard, c)
		other, err := dialMonitor()
		if err != nil {
			return err
		}
		defer other.Close()
		f := wire.Frame{Header: wire.Header{Op: wire.OpTake, ID: 1}, Body: (&wire.Ask{Name: "mine"}).Append(nil, wire.OpTake)}
		if _, err := other.Write(wire.AppendFrame(nil, &f)); err != nil {
			return err
		}
		return hears(other, 1) // that there is none: a message would have more than its bytes
	},
}

func largeCall(id uint64, random *rand.Rand) []byte {
	return call(id, "server.echo", bytes.Repeat([]byte{theirs}, 60<<10+random.IntN(wire.MaxBody-60<<10)))
}

// errForeign says that somebody has got what was not his.
var errForeign = errors.New("bytes of somebody else")

// hears reads some answers: every byte of their bodies must be one that it has sent itself.
func hears(c *net.UnixConn, answers int) error {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range answers {
		head := make([]byte, wire.HeaderSize)
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		h, err := wire.ParseHeader(head)
		if err != nil {
			return err
		}
		body := make([]byte, h.Size)
		if _, err := io.ReadFull(c, body); err != nil {
			return err
		}
		if h.Op == wire.OpReply && h.Code == wire.OK && len(bytes.Trim(body, string(theirs))) > 0 {
			return errForeign
		}
	}
	return nil
}

// cutBodies tries one of the cuts for a while.
func cutBodies(how string) (string, error) {
	random := rand.New(rand.NewPCG(1, uint64(len(how))))
	tried := 0
	var held []net.Conn
	for end := time.Now().Add(bodiesTime); time.Now().Before(end); tried++ {
		c, err := dialMonitor()
		if err != nil {
			return "", err
		}
		if err := cuts[how](c, random); errors.Is(err, errForeign) {
			return "", err // any other end is the attacker's own
		}
		if held = append(held, c); len(held) > 8 {
			held[0].Close()
			held = held[1:]
		}
	}
	if tried == 0 {
		return "", errors.New("nothing was tried")
	}
	return "nothing of anybody", nil
}

// passBodies has bodies of its own answered, kept in values and kept in messages, for as long and longer, and says
// whether all came back as they were.
func passBodies(ctx context.Context) (string, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return "", err
	}
	const workers = 2
	ends := make(chan error, workers)
	var passed atomic.Int64
	var all sync.WaitGroup
	for n := range workers {
		random := rand.New(rand.NewPCG(2, uint64(n)))
		all.Go(func() {
			for end := time.Now().Add(bodiesTime); time.Now().Before(end) || passed.Load() < bodiesLeast; {
				size := random.IntN(900 << 10)
				body := bytes.Repeat([]byte{byte('a' + n), byte('A' + random.IntN(26)), byte(size)&^32 | 128}, size/3+1)[:size]
				got, err := passOne(ctx, c, n, random.IntN(3), body)
				switch {
				case errors.Is(err, sdk.ErrBusy): // the server has enough of the attackers' to take
					continue
				case err == nil && !bytes.Equal(got, body):
					err = fmt.Errorf("%d bytes came back as %d others", len(body), len(got))
				}
				if err != nil {
					ends <- err
					return
				}
				passed.Add(1)
			}
		})
	}
	all.Wait()
	select {
	case err := <-ends:
		return "", err
	default:
	}
	return "all came back", nil
}

// passOne passes body in one of three ways, and returns what comes back.
func passOne(ctx context.Context, c *sdk.Client, worker, way int, body []byte) ([]byte, error) {
	switch way {
	case 0:
		return c.Call(ctx, "server.echo", body)
	case 1:
		v, err := c.Seal(ctx, sdk.Label{}, body, sdk.Options{})
		if err != nil {
			return nil, err
		}
		got, err := v.Unseal(ctx, sdk.Options{})
		if err == nil {
			err = c.Drop(ctx, v.Handle)
		}
		return got, err
	}
	box := c.Mailbox(fmt.Sprint("box-", worker))
	if err := box.Put(ctx, body, now); err != nil {
		return nil, err
	}
	m, err := box.Take(ctx, now)
	return m.Data, err
}

// Buffers of large frames go from one environment to the next: programs that cut their frames short, stall, lie about
// lengths, and neither read nor wait, learn nothing of what others send, and nothing of theirs gets into it.
func TestBodiesOfHostilePrograms(t *testing.T) {
	a := start(t, `
  hostile: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.echo}, {put: mine}, {take: mine}]}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.echo}, {put: box-0}, {take: box-0}, {put: box-1}, {take: box-1}]}
  server: {{program}serve-echo], limits: {memory: 512M}, provides: [{call: echo}]}
mailboxes:
  - {name: box-0, size: 1M}
  - {name: box-1, size: 1M}
  - {name: mine, size: 1M}
`)
	var all sync.WaitGroup
	for how := range cuts {
		all.Go(func() {
			if got := a.exec("hostile", "cut-bodies", how); got != "nothing of anybody" {
				t.Errorf("%s: the attacker says %q", how, got)
			}
		})
	}
	if got := a.exec("polite", "pass-bodies"); got != "all came back" {
		t.Errorf("meanwhile the polite one says %q", got)
	}
	all.Wait()
}
