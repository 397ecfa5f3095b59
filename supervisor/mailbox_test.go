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

// mail runs one of the programs that send and receive; each prints what it sees.
func mail(ctx context.Context, name string, args []string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	return mails[name](ctx, c, args)
}

// now does not wait.
var now = sdk.Options{Now: true}

var mails = map[string]func(context.Context, *sdk.Client, []string) error{
	// plays MOVE, and tries whatever it may not.
	"plays": func(ctx context.Context, c *sdk.Client, args []string) error {
		moves := c.Mailbox("moves")
		fmt.Println(moves.Post(ctx, []byte(args[0]), sdk.Options{}))
		_, err := moves.Recv(ctx, now)
		fmt.Println(errors.Is(err, sdk.ErrDenied))
		_, err = moves.Take(ctx, now)
		fmt.Println(errors.Is(err, sdk.ErrDenied))
		fmt.Println(errors.Is(moves.Put(ctx, nil, now), sdk.ErrDenied))
		fmt.Println(errors.Is(c.Mailbox("absent").Post(ctx, nil, sdk.Options{}), sdk.ErrDenied))
		fmt.Println(moves.Post(ctx, make([]byte, 1001), sdk.Options{}))
		fmt.Println(c.Mailbox("letters").Post(ctx, []byte(args[0]), sdk.Options{}))
		fmt.Println(c.Mailbox("queue").Put(ctx, []byte(args[0]), now))
		return nil
	},
	// opens MAILBOX, and prints all that is in it.
	"opens": func(ctx context.Context, c *sdk.Client, args []string) error {
		for {
			m, err := c.Mailbox(args[0]).Recv(ctx, now)
			if errors.Is(err, sdk.ErrEmpty) {
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Printf("%s of %s, at %s\n", m.Data, m.From.Service, m.Label)
		}
	},
	// writes NUMBER letters, has the office die, and waits for the next.
	"writes": func(ctx context.Context, c *sdk.Client, args []string) error {
		var n int
		fmt.Sscan(args[0], &n)
		for i := range n {
			if err := c.Mailbox("letters").Post(ctx, fmt.Appendf(nil, "letter %d", i), sdk.Options{}); err != nil {
				return err
			}
		}
		_, err := c.Call(ctx, "office.die", nil)
		fmt.Println(err)
		_, err = c.Call(ctx, "office.who", nil)
		return err
	},
	// seals sends a capsule to the office, and its unsealer another way.
	"seals": func(ctx context.Context, c *sdk.Client, _ []string) error {
		s, err := c.NewSeal(ctx)
		if err != nil {
			return err
		}
		capsule, err := s.Sealer.Seal(ctx, sdk.Label{}, []byte("under a seal"), sdk.Options{})
		if err != nil {
			return err
		}
		if err := c.Mailbox("letters").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{capsule.Handle, s.Tester.Handle}}); err != nil {
			return err
		}
		return c.Mailbox("queue").Put(ctx, nil, sdk.Options{Handles: []sdk.Handle{s.Unsealer.Handle}})
	},
	// carries what it was sent to where it can be opened, and cannot open it.
	"carries": func(ctx context.Context, c *sdk.Client, _ []string) error {
		m, err := c.Mailbox("letters").Recv(ctx, now)
		if err != nil {
			return err
		}
		capsule, tester := m.Handles[0].Capsule(), m.Handles[1].Tester()
		genuine, err := tester.Authenticate(ctx, capsule)
		fmt.Println("genuine:", genuine, err)
		own, err := c.NewSeal(ctx)
		if err != nil {
			return err
		}
		genuine, err = own.Tester.Authenticate(ctx, capsule)
		fmt.Println("of its own:", genuine, err)
		_, err = own.Unsealer.Unseal(ctx, capsule, sdk.Options{})
		fmt.Println("opened with another seal:", !errors.Is(err, sdk.ErrDenied))
		return c.Mailbox("sealed").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{capsule.Handle}})
	},
	"unseals": func(ctx context.Context, c *sdk.Client, _ []string) error {
		key, err := c.Mailbox("queue").Take(ctx, now)
		if err != nil {
			return err
		}
		m, err := c.Mailbox("sealed").Recv(ctx, now)
		if err != nil {
			return err
		}
		data, err := key.Handles[0].Unsealer().Unseal(ctx, m.Handles[0].Capsule(), sdk.Options{})
		fmt.Printf("%s %v\n", data, err)
		return nil
	},
}

const postOffice = `
  p1: {{program}deaf], stop_grace_period: 100ms, label: 'p1 %% True', clearance: 'p1 & p2 %% True', uses: [{post: moves}, {post: letters}, {put: queue}]}
  p2: {{program}deaf], stop_grace_period: 100ms, label: 'p2 %% True', clearance: 'p1 & p2 %% True', uses: [{post: moves}]}
  referee: {{program}deaf], stop_grace_period: 100ms, label: 'p1 & p2 %% True'}
  writer: {{program}deaf], stop_grace_period: 100ms, uses: [{post: letters}, {put: queue}, {call: office.die}, {call: office.who}]}
  office: {{program}serve], provides: [{call: who}, {call: die}, {call: once}], uses: [{post: sealed}]}
  reader: {{program}deaf], stop_grace_period: 100ms, uses: [{take: queue}]}
principals: [p1, p2]
mailboxes:
  - {name: moves, label: 'p1 & p2 %% True', owner: referee, messages: 1, size: 1000B}
  - {name: letters, owner: office}
  - {name: sealed, owner: reader}
  - {name: queue}
`

// Two players send their moves to somebody who may know both, and neither of them can
// tell anybody else, or find out what the other did.
func TestMailboxes(t *testing.T) {
	a := start(t, postOffice)
	got := a.exec("p1", "mail", "plays", "rock")
	for i, want := range []string{"<nil>", "true", "true", "true", "true", "1000", `forbidden by a label`, `forbidden by a label`} {
		if lines := strings.Split(got, "\n"); i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d of\n%s\ndoes not say %q", i+1, got, want)
		}
	}
	for range 2 { // the second one does not fit, and nobody is told
		if got := a.exec("p2", "mail", "plays", "paper"); !strings.HasPrefix(got, "<nil>\n") {
			t.Errorf("got\n%s", got)
		}
	}
	want := `rock of p1, at "p1" /\ "p2" %% True` + "\n" + `paper of p2, at "p1" /\ "p2" %% True`
	if got := a.exec("referee", "mail", "opens", "moves"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	a.stop()
	log := a.audit()
	for _, part := range []string{`"op":"post","object":"moves","verdict":"allow"`, `"detail":"dropped: it is full"`, `"op":"post","object":"letters","verdict":"deny"`} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not have %s:\n%s", part, log)
		}
	}
}

// What was sent to a service waits for its next instance.
func TestMailWaitsForAnInstance(t *testing.T) {
	a := start(t, postOffice)
	if got := a.exec("writer", "mail", "writes", "3"); !strings.Contains(got, "interrupted") {
		t.Errorf("got %s", got)
	}
	want := "letter 0 of writer, at True %% True\nletter 1 of writer, at True %% True\nletter 2 of writer, at True %% True"
	if got := a.exec("office", "mail", "opens", "letters"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A capsule passes through the hands of somebody who can do nothing with it.
func TestCapsuleIsCarried(t *testing.T) {
	a := start(t, postOffice)
	for _, step := range []struct{ service, name, want string }{
		{"writer", "seals", ""},
		{"office", "carries", "genuine: true <nil>\nof its own: false <nil>\nopened with another seal: false"},
		{"reader", "unseals", "under a seal <nil>"},
	} {
		if got := a.exec(step.service, "mail", step.name); got != step.want {
			t.Fatalf("%s:\n%s\nwant\n%s", step.name, got, step.want)
		}
	}
}
