package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cofferdam/sdk"
)

// sends posts or puts N messages into a mailbox, as fast as it can, and says how that ended.
func sends(ctx context.Context, op, box string, n int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ends := make(map[string]int)
	for range n {
		if op == "post" {
			err = c.Mailbox(box).Post(ctx, []byte("junk"), sdk.Options{})
		} else {
			err = c.Mailbox(box).Put(ctx, []byte("junk"), now)
		}
		ends[ended(err)]++
	}
	fmt.Println(ends)
	return nil
}

// receives takes all that is in a mailbox, and says of whom it was.
func receives(ctx context.Context, op, box string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	next := c.Mailbox(box).Recv
	if op == "take" {
		next = c.Mailbox(box).Take
	}
	of := make(map[string]int)
	for {
		m, err := next(ctx, now)
		if errors.Is(err, sdk.ErrEmpty) {
			fmt.Println(of)
			return nil
		}
		if err != nil {
			return err
		}
		of[m.From.Service]++
	}
}

// queues puts N messages at a time into a mailbox that has no room for them, and waits until there was.
func queues(ctx context.Context, box string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ends := make(chan error, n)
	for range n {
		go func() { ends <- c.Mailbox(box).Put(ctx, []byte("junk"), sdk.Options{}) }()
	}
	for range n {
		err = errors.Join(err, <-ends)
	}
	return err
}

// connects makes N connections, and says how that ended.
func connects(ctx context.Context, to string, n int) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ends := make(map[string]int)
	for range n {
		ends[ended(func() error {
			conn, err := c.Dial(ctx, to)
			if err != nil {
				return err
			}
			defer conn.Close()
			return echo(conn, 1)
		}())]++
	}
	fmt.Println(ends)
	return nil
}

// ended is the word for what a program was told.
func ended(err error) string {
	switch {
	case err == nil:
		return "well"
	case errors.Is(err, sdk.ErrLimited) && sdk.RetryAfter(err) > 0:
		return "limited"
	case errors.Is(err, sdk.ErrBusy):
		return "busy"
	case errors.Is(err, errClosed):
		return "closed"
	}
	return err.Error()
}

const flooded = `
  office: {{program}deaf], stop_grace_period: 100ms, uses: [{take: queue}]}
  flood: {{program}deaf], stop_grace_period: 100ms, uses: [{post: letters}, {put: queue}, {post: rated}]}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{post: letters}, {put: queue}, {post: rated}]}
mailboxes:
  - {name: letters, owner: office, messages: 8}
  - {name: queue, messages: 8}
  - {name: rated, owner: office, rate: 5/h}
`

// says runs a program in an environment of service, and compares what it prints.
func (a *app) says(want, service string, args ...string) {
	a.t.Helper()
	if got := a.exec(service, args...); got != want {
		a.t.Errorf("%s %q: %s, want %s", service, args, got, want)
	}
}

// A real program sends all that it can and nobody receives; one that comes after it is heard all the same,
// whether they post or put, and where the mailbox has a rate it is told at once that it sends too much.
func TestFloodedMailbox(t *testing.T) {
	a := start(t, flooded)
	a.says("map[well:500]", "flood", "sends", "post", "letters", "500") // of a post nobody is told what became
	a.says("map[well:4]", "polite", "sends", "post", "letters", "4")
	a.says("map[flood:8 polite:4]", "office", "receives", "recv", "letters")

	a.says("map[busy:492 well:8]", "flood", "sends", "put", "queue", "500")
	queued := make(chan string, 1)
	go func() { queued <- a.exec("flood", "queues", "queue", "300") }()
	time.Sleep(200 * time.Millisecond) // most of them are in line then
	a.says("map[well:4]", "polite", "sends", "put", "queue", "4")
	if got := a.exec("office", "receives", "take", "queue"); !strings.Contains(got, "polite:4") {
		t.Errorf("taken were %s", got)
	}
	for len(queued) == 0 {
		a.exec("office", "receives", "take", "queue")
	}
	if got := <-queued; got != "" {
		t.Errorf("who waited was told %s", got)
	}

	a.says("map[limited:495 well:5]", "flood", "sends", "post", "rated", "500")
	a.says("map[well:3]", "polite", "sends", "post", "rated", "3")
	a.says("map[flood:5 polite:3]", "office", "receives", "recv", "rated")
	a.stop()
	log := a.audit()
	for _, want := range []string{
		`"detail":"dropped: it is full for who has sent it: he has as much there as he leaves for others"`,
		`"op":"post","object":"rated","verdict":"","rule":"test.yaml:12","detail":"rate.messages: 5/h: more is refused; how often is said at most once in 1m0s"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not have %s:\n%.4000s", want, log)
		}
	}
	if n := strings.Count(log, `"object":"rated","verdict":"","rule":"test.yaml:12"`); n != 1 {
		t.Errorf("what is beyond the rate is on record %d times", n)
	}
}

// A real program connects as often as it can, by the socket itself and by a relay. It is refused at
// once, and who comes after it has all that is his.
func TestFloodedPort(t *testing.T) {
	a := start(t, `
  teller: {{program}teller], tcp: {port: 9000, rate: 5/h}, provides: [{call: who}]}
  flood: {{program}deaf], stop_grace_period: 100ms, uses: [{connect: teller, rate: 100/s}]}
  handed: {{program}deaf], stop_grace_period: 100ms, uses: [{connect: teller, direct: true}]}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{connect: teller}]}
`)
	a.says("map[closed:95 well:5]", "flood", "connects", "teller:9000", "100")
	a.says("map[limited:95 well:5]", "handed", "connects", "teller:9000", "100")
	a.says("map[well:5]", "polite", "connects", "teller:9000", "5")
	a.says("map[closed:1]", "polite", "connects", "teller:9000", "1")
	a.stop()
	log := a.audit()
	for _, who := range []string{"flood", "handed", "polite"} {
		want := fmt.Sprintf(`"subject":%q`, who)
		n := 0
		for line := range strings.Lines(log) {
			if strings.Contains(line, want) && strings.Contains(line, `"kind":"limit"`) && strings.Contains(line, `rate.connections: 5/h: more is refused`) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is on record %d times as beyond the rate", who, n)
		}
	}
}
