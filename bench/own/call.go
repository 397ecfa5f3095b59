package own

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"cofferdam/sdk"
)

// Pair is the manifest of two services, of which a calls and connects to b.
const Pair = `version: 1
name: bench
allow_degraded: [cgroup]
services:
  a:
    runtime: host
    command: [PLAYER, wait]
    files: [FILES]
    uses: [{call: b.echo}, {connect: "b:9000", direct: true}, {connect: "b:9001", direct: true}]
    limits: {memory: 256M, cpus: unlimited}
  b:
    runtime: host
    command: [PLAYER, serve]
    files: [FILES]
    provides: [{call: echo, from: [a]}]
    tcp: [9000, 9001]
    limits: {memory: 256M, cpus: unlimited}
`

// Call measures n calls from a to b of a [Pair] and back, in µs.
func (a *App) Call(size, n int) (Reading, error) {
	return a.Play("a", "call", strconv.Itoa(size), strconv.Itoa(n))
}

// Calls has so many callers in a of a [Pair] make n calls altogether, and says how many
// there were in a second; samples are in ms.
func (a *App) Calls(callers, n int) (Reading, error) {
	return a.Play("a", "call-many", strconv.Itoa(callers), strconv.Itoa(n))
}

// serve is b: it answers echo, and what connects to its ports.
func serve(ctx context.Context) error {
	for port, serve := range map[int]func(net.Listener) error{9000: serveBulk, 9001: servePings} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		go serve(l)
	}
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"echo": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
	})
}

// message is a body of that size in which no two neighbours are alike.
func message(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// echo calls b with body, and wants it back.
func echo(ctx context.Context, c *sdk.Client, body []byte) error {
	got, err := c.Call(ctx, "b.echo", body)
	if err == nil && !bytes.Equal(got, body) {
		err = fmt.Errorf("echo of %d bytes gave %d others", len(body), len(got))
	}
	return err
}

func calls(ctx context.Context, size, n int) (Reading, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return Reading{}, err
	}
	body := message(size)
	return Times(n, time.Microsecond, func() error { return echo(ctx, c, body) })
}

// callsAtOnce has many callers on one connection; samples are in ms.
func callsAtOnce(ctx context.Context, workers, n int) (Reading, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return Reading{}, err
	}
	body := message(64)
	call := func(int) error { return echo(ctx, c, body) }
	if _, err := Rate(workers, n/10+1, time.Millisecond, call); err != nil {
		return Reading{}, err
	}
	return Rate(workers, n, time.Millisecond, call)
}

// callPause is that between two calls of somebody who has other things to do.
const callPause = 2 * time.Millisecond

func callsPaced(ctx context.Context, n int) (Reading, error) {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return Reading{}, err
	}
	body := message(64)
	return Paced(n, callPause, time.Microsecond, func() error { return echo(ctx, c, body) })
}

// Pairs are two processes and a Unix socket pair, which is as near as two programs
// get: the limit for a call.
func (p Program) Pairs(size, n int) (Reading, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return Reading{}, err
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	defer near.Close()
	server := p.Outside("pair-serve", strconv.Itoa(size))
	server.ExtraFiles = []*os.File{far}
	err = server.Start()
	far.Close()
	if err != nil {
		return Reading{}, err
	}
	client := p.Outside("pair-call", strconv.Itoa(size), strconv.Itoa(n))
	client.ExtraFiles = []*os.File{near}
	r, err := Read(client)
	near.Close() // its end is the server's
	return r, errors.Join(err, server.Wait())
}

func pairServe(size int) error {
	c, err := inherited()
	if err != nil {
		return err
	}
	return echoAll(c, size)
}

// echoAll sends back messages of that size until the other end has no more.
func echoAll(c net.Conn, size int) error {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}

func pairCalls(size, n int) (Reading, error) {
	c, err := inherited()
	if err != nil {
		return Reading{}, err
	}
	return roundTrips(c, size, n)
}

// roundTrips sends messages to who sends them back, in µs.
func roundTrips(c net.Conn, size, n int) (Reading, error) {
	body, got := message(size), make([]byte, size)
	return Times(n, time.Microsecond, func() error {
		if _, err := c.Write(body); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("echo of %d bytes gave others", size)
		}
		return nil
	})
}
