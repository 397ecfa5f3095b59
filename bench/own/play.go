package own

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// PlayRole is the first argument of a program that is to play.
const PlayRole = "bench-play"

// Play plays one of the programs inside environments, or their like outside: args are
// the role and what it needs. What it measures it prints as a [Reading].
func Play(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(args) == 0 {
		return errors.New("no role")
	}
	role, args := args[0], args[1:]
	var bad error
	number := func(i int) int {
		if i >= len(args) {
			bad = fmt.Errorf("%s: argument %d is missing", role, i+1)
			return 0
		}
		n, err := strconv.Atoi(args[i])
		if err != nil {
			bad = fmt.Errorf("%s: %w", role, err)
		}
		return n
	}
	word := func(i int) string {
		if i >= len(args) {
			bad = fmt.Errorf("%s: argument %d is missing", role, i+1)
			return ""
		}
		return args[i]
	}
	var measure func() (Reading, error)
	switch role {
	case "wait":
		<-ctx.Done()
		return nil
	case "serve":
		return serve(ctx)
	case "pair-serve":
		return pairServe(number(0))
	case "bulk-serve":
		l, err := inheritedListener()
		if err != nil {
			return err
		}
		return serveBulk(l)
	case "ping-serve":
		l, err := inheritedListener()
		if err != nil {
			return err
		}
		return servePings(l)
	case "web":
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			return err
		}
		return serveWeb(l)
	case "web-serve":
		l, err := inheritedListener()
		if err != nil {
			return err
		}
		return serveWeb(l)
	case "call":
		size, n := number(0), number(1)
		measure = func() (Reading, error) { return calls(ctx, size, n) }
	case "call-many":
		workers, n := number(0), number(1)
		measure = func() (Reading, error) { return callsAtOnce(ctx, workers, n) }
	case "call-paced":
		n := number(0)
		measure = func() (Reading, error) { return callsPaced(ctx, n) }
	case "pair-call":
		size, n := number(0), number(1)
		measure = func() (Reading, error) { return pairCalls(size, n) }
	case "bulk":
		addr, bytes := word(0), number(1)
		measure = func() (Reading, error) { return bulk(addr, bytes) }
	case "ping":
		addr, n := word(0), number(1)
		measure = func() (Reading, error) { return pings(addr, n) }
	case "bulk-handed":
		addr, bytes := word(0), number(1)
		measure = func() (Reading, error) { return bulkBy(handed(ctx), addr, bytes) }
	case "ping-handed":
		addr, n := word(0), number(1)
		measure = func() (Reading, error) { return pingsBy(handed(ctx), addr, n) }
	case "web-load":
		addr, host, conns, n := word(0), word(1), number(2), number(3)
		measure = func() (Reading, error) { return webLoad(addr, host, conns, n) }
	case "spawn":
		workers, n, want := number(0), number(1), word(3)
		pause, err := time.ParseDuration(word(2))
		bad = errors.Join(bad, err)
		measure = func() (Reading, error) { return spawns(ctx, workers, n, pause, want) }
	default:
		return fmt.Errorf("no role %q", role)
	}
	if bad != nil {
		return bad
	}
	r, err := measure()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// inherited is descriptor 3, where whoever starts a peer puts its socket.
func inherited() (net.Conn, error) {
	f := os.NewFile(3, "inherited")
	defer f.Close()
	return net.FileConn(f)
}

func inheritedListener() (net.Listener, error) {
	f := os.NewFile(3, "inherited")
	defer f.Close()
	return net.FileListener(f)
}
