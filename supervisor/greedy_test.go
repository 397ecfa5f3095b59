package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/sdk"
)

// teller answers who is asked, echoes what comes to its port, and sends letters back.
func teller(ctx context.Context) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	go func() {
		for {
			m, err := c.Mailbox("letters").Recv(ctx, sdk.Options{})
			if err != nil {
				return
			}
			if string(m.Data) != "junk" {
				c.Mailbox("replies").Post(ctx, m.Data, sdk.Options{})
			}
		}
	}()
	return c.Serve(ctx, map[string]sdk.Handler{"who": func(_ context.Context, caller sdk.Caller, _ []byte) ([]byte, error) {
		return []byte(caller.Service), nil
	}})
}

// demand is one way to use what all share: a connection to the monitor, or to the teller, and what is
// done with it again and again.
var demands = map[string]func(ctx context.Context, c *sdk.Client) func() error{
	"calls": func(ctx context.Context, c *sdk.Client) func() error {
		return func() error { return second(c.Call(ctx, "teller.who", nil)) }
	},
	"denials": func(ctx context.Context, c *sdk.Client) func() error {
		return func() error { return second(c.Call(ctx, "teller.secret", nil)) }
	},
	"spawns": func(ctx context.Context, c *sdk.Client) func() error {
		return func() error { return second(c.Spawn(ctx, "quick", sdk.SpawnOptions{})) }
	},
	"connections": func(ctx context.Context, _ *sdk.Client) func() error {
		return func() error {
			conn, err := net.Dial("tcp", "teller:9000")
			if err != nil {
				return err
			}
			defer conn.Close()
			return echo(conn, 1)
		}
	},
	"bytes": func(ctx context.Context, _ *sdk.Client) func() error {
		var conn net.Conn
		return func() (err error) {
			if conn == nil {
				if conn, err = net.Dial("tcp", "teller:9000"); err != nil {
					return err
				}
			}
			if err := echo(conn, 16<<10); err != nil {
				conn.Close()
				conn = nil
				return err
			}
			return nil
		}
	},
	"messages": func(ctx context.Context, c *sdk.Client) func() error {
		if c.Self().Service == "greedy" {
			return func() error { return c.Mailbox("letters").Post(ctx, []byte("junk"), sdk.Options{}) }
		}
		return func() error {
			if err := c.Mailbox("letters").Post(ctx, []byte("dear"), sdk.Options{}); err != nil {
				return err
			}
			return second(c.Mailbox("replies").Recv(ctx, sdk.Options{}))
		}
	},
}

func init() { demands["places"], demands["room"] = demands["spawns"], demands["messages"] }

func second[T any](_ T, err error) error { return err }

var errClosed = errors.New("closed")

func echo(c net.Conn, n int) error {
	if _, err := c.Write(make([]byte, n)); err != nil {
		return errClosed
	}
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		return errClosed
	}
	return nil
}

// greed does one thing as often as it can, from many connections, and says how that ended.
func greed(what string, lasts time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var mu sync.Mutex
	ends := make(map[string]int)
	var all sync.WaitGroup
	for range 4 {
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		for range 16 {
			all.Go(func() {
				do := demands[what](ctx, c)
				for ctx.Err() == nil {
					err := do()
					word := "well"
					switch {
					case ctx.Err() != nil:
						continue
					case errors.Is(err, sdk.ErrLimited):
						word = "limited"
						if sdk.RetryAfter(err) <= 0 {
							word = "limited without a time"
						}
					case errors.Is(err, sdk.ErrBusy):
						word = "busy"
					case errors.Is(err, sdk.ErrDenied):
						word = "denied"
					case errors.Is(err, errClosed):
						word = "closed"
					case err != nil:
						word = err.Error()
					}
					mu.Lock()
					ends[word]++
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	fmt.Println(ends)
	return nil
}

// modest does it n times, one after the other with pauses, and says how long it took: the median, and
// 99 in a hundred, in µs.
func modest(what string, n int) error {
	ctx := context.Background()
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	do := demands[strings.Replace(what, "denials", "calls", 1)](ctx, c)
	if err := do(); err != nil { // warm
		return fmt.Errorf("the first: %w", err)
	}
	var took []time.Duration
	for range n {
		began := time.Now()
		if err := do(); err != nil {
			return fmt.Errorf("number %d: %w", len(took), err)
		}
		took = append(took, time.Since(began))
		time.Sleep(time.Millisecond)
	}
	slices.Sort(took)
	fmt.Println("well", took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds())
	return nil
}

// market is where a greedy and a polite service use the same: with rates on the greedy one's lines, but
// for places, of which there are few, and for room in a mailbox.
const market = `
  teller: {{program}teller], tcp: 9000, provides: [{call: who}], uses: [{post: replies}]}
  greedy: {{program}deaf], stop_grace_period: 100ms, uses: [
    {call: teller.who, rate: 100/s burst 20}, {spawn: quick%s}, {connect: teller, rate: {connections: 20/s, bytes: 512K/s}}, {post: letters%s}]}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{call: teller.who}, {spawn: quick}, {connect: teller}, {post: letters}]}
  quick: {{program}nap], template: true, limits: {memory: 64M, pids: 32}}
mailboxes: [{name: letters, owner: teller}, {name: replies, owner: polite}]
budget: {instances: %d, memory: unlimited, pids: unlimited}
`

func marketFor(what string) string {
	switch what {
	case "places":
		return fmt.Sprintf(market, "", ", rate: 50/s", 5) // beside three that stay: two
	case "room":
		return fmt.Sprintf(market, ", rate: 2/s burst 2", "", 64)
	}
	return fmt.Sprintf(market, ", rate: 2/s burst 2", ", rate: 50/s", 64)
}

// What the greedy is told, besides that some of it went well.
var greedIsTold = map[string]string{
	"calls": "limited", "spawns": "limited", "connections": "closed", "bytes": "", "messages": "limited", "denials": "denied", "places": "", "room": "",
}

// TestGreedyAndPolite lets a real program take all that it can get, of one thing after the other, and
// sees that a polite one gets all that it asks for, that the greedy one is refused with words for it, and that
// neither the log nor the memory of the trusted process grows with what is refused.
//
// How long the polite one waits is measured, not judged: COFFERDAM_TEST_SHARES=N does
// so with N requests of each, and prints it.
func TestGreedyAndPolite(t *testing.T) {
	n, lasts := 20, 1500*time.Millisecond
	measured := os.Getenv("COFFERDAM_TEST_SHARES") != ""
	if measured {
		fmt.Sscan(os.Getenv("COFFERDAM_TEST_SHARES"), &n)
		lasts = 8 * time.Second
	}
	for _, what := range []string{"calls", "denials", "messages", "room", "connections", "bytes", "spawns", "places"} {
		t.Run(what, func(t *testing.T) {
			a := start(t, marketFor(what))
			n := n
			if what == "spawns" || what == "places" {
				n = max(n/20, 5)
			}
			polite := func() (median, p99 int) {
				got := a.exec("polite", "modest", what, fmt.Sprint(n))
				if _, err := fmt.Sscanf(got, "well %d %d", &median, &p99); err != nil {
					t.Fatalf("the polite one: %s", got)
				}
				return median, p99
			}
			quiet50, quiet99 := polite()
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			records := strings.Count(a.audit(), "\n")
			told := make(chan string, 1)
			go func() { told <- a.exec("greedy", "greed", what, lasts.String()) }()
			time.Sleep(lasts / 4)
			loud50, loud99 := polite()
			busy := len(told) == 0
			ends := <-told
			runtime.GC()
			runtime.ReadMemStats(&after)
			if word := greedIsTold[what]; !strings.HasPrefix(ends, "map[") || !strings.Contains(ends, word) || strings.Contains(ends, "without a time") {
				t.Errorf("the greedy one is told %s, want %q among it", ends, word)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
				t.Errorf("the trusted process has grown by %d bytes", grown)
			}
			if more := strings.Count(a.audit(), "\n") - records; more > 5000 && what != "room" && !measured { // there each message is on record
				t.Errorf("%d records", more)
			}
			if measured {
				t.Logf("SHARES %-12s quiet %6d µs (p50) %6d µs (p99)   beside the greedy %6d µs %6d µs   p99 x %.2f, greedy to the end: %t; it was told %s",
					what, quiet50, quiet99, loud50, loud99, float64(loud99)/float64(quiet99), busy, ends)
			}
		})
	}
}
