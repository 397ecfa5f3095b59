package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/supervisor"
)

var ofAlice = sdk.MustLabel("alice %% True")

// family runs one of the programs that have children, or are them; each prints what
// it sees.
func family(ctx context.Context, name string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	return families[name](ctx, c)
}

var families = map[string]func(context.Context, *sdk.Client) error{
	"has a secret read": func(ctx context.Context, c *sdk.Client) error {
		v, err := c.Seal(ctx, ofAlice, []byte("the secret"), sdk.Options{})
		if err != nil {
			return err
		}
		r, err := c.Start(ctx, "child", ofAlice, sdk.SpawnOptions{
			Args: []string{"reads it"}, Label: &ofAlice, Handles: []sdk.Handle{v.Handle}, Gives: []sdk.Formula{sdk.MustFormula("alice")},
		})
		if err != nil {
			return err
		}
		_, err = r.Wait(ctx, sdk.Options{})
		fmt.Println("below its result:", errors.Is(err, sdk.ErrLabel))
		exit, err := r.Wait(ctx, sdk.Options{Raise: true})
		fmt.Printf("%s%s%s, %d, %v\n", exit.Stdout, exit.Stderr, exit.Cause, exit.Code, err)
		_, err = c.Call(ctx, "server.who", nil)
		fmt.Println("above:", errors.Is(err, sdk.ErrLabel))
		return nil
	},
	"reads it": func(ctx context.Context, c *sdk.Client) error {
		l, err := c.Labels(ctx)
		if err != nil {
			return err
		}
		secret, err := l.Handles[0].Value().Unseal(ctx, sdk.Options{})
		fmt.Printf("%s, %s, owns %s: %s %v\n", l.Label, l.Clearance, l.Owns, secret, err)
		_, err = c.Call(ctx, "server.who", nil)
		fmt.Println("cannot tell:", errors.Is(err, sdk.ErrLabel))
		return nil
	},

	"has one that rises": func(ctx context.Context, c *sdk.Client) error {
		r, err := c.Start(ctx, "child", sdk.Label{}, sdk.SpawnOptions{Args: []string{"rises"}})
		if err != nil {
			return err
		}
		for range 2 {
			exit, err := r.Wait(ctx, sdk.Options{})
			fmt.Println(errors.Is(err, sdk.ErrWithheld), len(exit.Stdout))
		}
		exit, err := c.Spawn(ctx, "child", sdk.SpawnOptions{Args: []string{"rises"}})
		fmt.Println(errors.Is(err, sdk.ErrWithheld), len(exit.Stdout))
		return nil
	},
	"rises": func(ctx context.Context, c *sdk.Client) error {
		fmt.Println("not yet secret")
		return c.Raise(ctx, ofAlice, sdk.Options{})
	},

	"kills": func(ctx context.Context, c *sdk.Client) error {
		r, err := startStaying(ctx, c)
		if err != nil {
			return err
		}
		_, err = r.Wait(ctx, sdk.Options{Now: true})
		fmt.Println("it stays:", errors.Is(err, sdk.ErrEmpty))
		if err := r.Kill(ctx, sdk.Options{}); err != nil {
			return err
		}
		exit, err := r.Wait(ctx, sdk.Options{})
		fmt.Println(exit.Cause, exit.Code, err)
		return nil
	},
	"leaves": func(ctx context.Context, c *sdk.Client) error {
		if _, err := startStaying(ctx, c); err != nil {
			return err
		}
		os.Exit(3)
		return nil
	},
	"stays": func(ctx context.Context, c *sdk.Client) error {
		l, err := c.Labels(ctx)
		if err == nil {
			err = l.Handles[0].Mailbox().Post(ctx, []byte("here"), sdk.Options{})
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Hour)
		return nil
	},

	"asks where it stands": func(ctx context.Context, c *sdk.Client) error {
		first, err := startStaying(ctx, c)
		if err != nil {
			return err
		}
		var others []sdk.Result
		for _, who := range []string{"alice", "alice", "bob"} {
			r, err := c.Start(ctx, "child", sdk.Label{}, sdk.SpawnOptions{Principal: who, Args: []string{"says what it is"}})
			if err != nil {
				return err
			}
			others = append(others, r)
			var turns []sdk.Turn
			for len(turns) < len(others) && err == nil {
				turns, err = c.Turns(ctx)
			}
			fmt.Println(turns, err)
		}
		if err := first.Kill(ctx, sdk.Options{}); err != nil {
			return err
		}
		for _, r := range others {
			if _, err := r.Wait(ctx, sdk.Options{}); err != nil {
				return err
			}
		}
		turns, err := c.Turns(ctx)
		fmt.Println(turns, err)
		return nil
	},

	"asks for more than it may": func(ctx context.Context, c *sdk.Client) error {
		bob := sdk.MustLabel("bob %% True")
		for _, o := range []sdk.SpawnOptions{
			{Principal: "alice", Label: &bob},
			{Principal: "alice", Gives: []sdk.Formula{sdk.MustFormula("bob")}},
			{Principal: "alice", Out: sdk.MustFormula("bob")},
			{Principal: "server"},
		} {
			_, err := c.Start(ctx, "named", sdk.Label{}, o)
			fmt.Println(err)
		}
		_, err := c.Start(ctx, "keeper", sdk.Label{}, sdk.SpawnOptions{Principal: "x", Label: new(sdk.Label)})
		fmt.Println(err)
		r, err := c.Start(ctx, "named", ofAlice, sdk.SpawnOptions{Principal: "alice", Args: []string{"says what it is"}})
		if err != nil {
			return err
		}
		exit, err := r.Wait(ctx, sdk.Options{Raise: true})
		fmt.Printf("%s%s %v\n", exit.Stdout, exit.Stderr, err)
		return nil
	},
	"gives a privilege": func(ctx context.Context, c *sdk.Client) error {
		p, err := c.Delegate(ctx, sdk.MustFormula("alice"))
		if err != nil {
			return err
		}
		gifts, thanks := c.Mailbox("gifts"), c.Mailbox("thanks")
		if err := gifts.Post(ctx, []byte("yours"), sdk.Options{Handles: []sdk.Handle{p.Handle}}); err != nil {
			return err
		}
		if _, err := thanks.Recv(ctx, sdk.Options{}); err != nil {
			return err
		}
		if err := p.Revoke(ctx); err != nil {
			return err
		}
		return gifts.Post(ctx, []byte("mine"), sdk.Options{})
	},
	"takes a privilege": func(ctx context.Context, c *sdk.Client) error {
		for _, thanks := range []string{"thank you", ""} {
			m, err := c.Mailbox("gifts").Recv(ctx, sdk.Options{})
			if err != nil {
				return err
			}
			l, err := c.Labels(ctx)
			if err != nil {
				return err
			}
			alice := sdk.MustFormula("alice")
			_, err = c.Seal(ctx, sdk.NewLabel(sdk.Formula{}, alice), nil, sdk.Options{In: alice})
			_, further := c.Delegate(ctx, alice)
			fmt.Println(string(m.Data), l.Owns, err == nil, further == nil)
			if thanks == "" {
				break
			}
			if err := c.Mailbox("thanks").Post(ctx, []byte(thanks), sdk.Options{}); err != nil {
				return err
			}
		}
		return nil
	},
	"says what it is": func(ctx context.Context, c *sdk.Client) error {
		l, err := c.Labels(ctx)
		fmt.Print(l.Label, ", ", l.Clearance, ", owns ", l.Owns)
		return err
	},
}

// startStaying starts a child that stays, and returns once it runs.
func startStaying(ctx context.Context, c *sdk.Client) (sdk.Result, error) {
	box, err := c.NewMailbox(ctx, sdk.Label{}, sdk.Options{})
	if err != nil {
		return sdk.Result{}, err
	}
	r, err := c.Start(ctx, "child", sdk.Label{}, sdk.SpawnOptions{Args: []string{"stays"}, Handles: []sdk.Handle{box.Handle}})
	if err == nil {
		_, err = box.Recv(ctx, sdk.Options{})
	}
	return r, err
}

const family1 = `
  parent: {{program}deaf], stop_grace_period: 100ms, clearance: 'alice %% True', owns: alice, uses: [{spawn: child}, {spawn: named}, {spawn: keeper}, {call: server.who}]}
  child: {{program}family], template: true, clearance: 'alice %% True', limits: {wall: 1m}, uses: [{call: server.who}]}
  named: {{program}family], template: true, instances: per-principal, label: '{principal} %% True', owns: '{principal}', limits: {wall: 1m}}
  keeper: {{program}family], template: true, volumes: [{name: 'keys-{principal}', to: /data, size: 1M, label: 'alice %% True'}], label: 'alice %% True'}
  server: {{program}serve], provides: [{call: who}, {call: die}, {call: once}]}
principals: [{person: alice}, bob, server]
`

// A child at a higher label cannot reach what its parent can, and what it prints
// comes back as a value at its label.
func TestChildAboveItsParent(t *testing.T) {
	a := start(t, family1)
	want := strings.TrimSpace(`
below its result: true
"alice" %% True, "alice" %% True, owns "alice": the secret <nil>
cannot tell: true
exit, 0, <nil>
above: true`)
	if got := a.exec("parent", "family", "has a secret read"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	a.stop()
	log := a.audit()
	for _, part := range []string{
		`"op":"spawn","object":"child","verdict":"allow"`,
		`"detail":"clearance \"alice\" %% True, result \"alice\" %% True, given \"alice\""`,
		`"labels":{"subject":"True %% True","clearance":"\"alice\" %% True","object":"\"alice\" %% True"}`,
	} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not have %s:\n%s", part, log)
		}
	}
}

func TestChildThatRises(t *testing.T) {
	a := start(t, family1)
	if got, want := a.exec("parent", "family", "has one that rises"), "true 0\ntrue 0\ntrue 0"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestChildIsKilled(t *testing.T) {
	a := start(t, family1)
	if got, want := a.exec("parent", "family", "kills"), "it stays: true\npolicy 137 <nil>"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// With its parent a child ends.
func TestChildOfWhoLeaves(t *testing.T) {
	a := start(t, `
  parent: {{program}family, leaves], clearance: 'alice %% True', restart: "no", uses: [{spawn: child}]}
  child: {{program}family], template: true, clearance: 'alice %% True', limits: {wall: 10m}}
  host: {{program}deaf], stop_grace_period: 100ms}
principals: [alice]
`)
	a.await("parent", supervisor.Exited)
	for end := time.Now().Add(15 * time.Second); !strings.Contains(a.audit(), `"op":"exit","object":"policy"`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the child goes on:\n%s", a.audit())
		}
	}
}

// The parent's own labels and the manifest's bound the child's, and the refusal
// says how.
func TestChildBeyondItsParent(t *testing.T) {
	a := start(t, family1)
	got := strings.Split(a.exec("parent", "family", "asks for more than it may"), "\n")
	want := []string{"child's clearance", `does not imply "bob"`, `does not imply "bob"`, "declared among the principals", "volume ⊑ label", `"alice" %% True, "alice" %% True, owns "alice" <nil>`}
	for i := range want {
		if i >= len(got) || !strings.Contains(got[i], want[i]) {
			t.Errorf("line %d of\n%s\ndoes not say %s", i+1, strings.Join(got, "\n"), want[i])
		}
	}
}

// A privilege goes from one environment to another in a message, and is gone there as
// soon as it was revoked.
func TestPrivilegeInAMessage(t *testing.T) {
	a := start(t, `
  giver: {{program}deaf], stop_grace_period: 100ms, owns: alice, clearance: 'True %% True', uses: [{post: gifts}]}
  taker: {{program}deaf], stop_grace_period: 100ms, uses: [{post: thanks}]}
mailboxes:
  - {name: gifts, owner: taker}
  - {name: thanks, owner: giver}
principals: [alice]
`)
	took := make(chan string)
	go func() { took <- a.exec("taker", "family", "takes a privilege") }()
	if got := a.exec("giver", "family", "gives a privilege"); got != "" {
		t.Errorf("the giver says %q", got)
	}
	if got, want := <-took, "yours \"alice\" true true\nmine True false false"; got != want {
		t.Errorf("the taker says\n%s\nwant\n%s", got, want)
	}
}

// Who waits for others to end sees where it stands: bob's turn comes before alice's second one.
func TestTurnsAreTold(t *testing.T) {
	a := start(t, `
  parent: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: child}]}
  child: {{program}family], template: true, limits: {wall: 1m}}
budget: {instances: 2, memory: unlimited, pids: unlimited}
`)
	want := strings.TrimSpace(`
[{child alice 1 1}] <nil>
[{child alice 1 2} {child alice 2 2}] <nil>
[{child alice 1 3} {child alice 3 3} {child bob 2 3}] <nil>
[] <nil>`)
	if got := a.exec("parent", "family", "asks where it stands"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
