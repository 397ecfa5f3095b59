package game

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"cofferdam/sdk"
)

// The labels of a game, as the authors of LIO drew them: what a player does is
// its own secret and the server's, and what lies on the table is that of both
// players or the server's. The manifest has them too.
var (
	server  = sdk.MustFormula("server")
	players = [2]string{"player1", "player2"}
	seats   = [2]sdk.Label{sdk.MustLabel("player1 | server %% True"), sdk.MustLabel("player2 | server %% True")}
	shares  = [2]sdk.Formula{sdk.MustFormula("player1 | server"), sdk.MustFormula("player2 | server")}
)

// patience is how long a player may think.
const patience = 3 * time.Second

// asServer is how the server opens what is its own as well.
var asServer = sdk.Options{Out: server}

// Table is where matches are played: the one program that may open moves.
type Table struct{ Client *sdk.Client }

// Play plays a match of so many rounds. Players are templates of the manifest;
// a new instance plays each round, so that nothing is remembered but what is public.
func (t *Table) Play(ctx context.Context, one, two string, rounds int) (*Match, error) {
	m := &Match{Players: [2]string{one, two}}
	for range rounds {
		r, err := t.round(ctx, m)
		if err != nil {
			return nil, err
		}
		m.Add(r)
	}
	return m, nil
}

// round lets both players move, one after the other, puts their moves on the table
// unseen, and opens both. The second is shown the sealed move of the first: it
// cannot open it, and that it is there is no secret.
func (t *Table) round(ctx context.Context, m *Match) (Round, error) {
	var r Round
	var shown []sdk.Handle
	table := t.Client.Mailbox("table")
	for seat := range 2 {
		sealed, foul, err := t.ask(ctx, m, seat, shown)
		if err != nil {
			return r, fmt.Errorf("player %d, %s: %w", seat+1, m.Players[seat], err)
		}
		if r.Fouls[seat] = foul; foul != "" {
			continue
		}
		defer sealed.Drop(ctx)
		shown = []sdk.Handle{sealed}
		if err := table.Post(ctx, []byte{byte(seat)}, sdk.Options{Handles: shown}); err != nil {
			return r, err
		}
	}
	for seat := range 2 {
		if r.Fouls[seat] != "" {
			continue
		}
		if err := t.open(ctx, table, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// open opens a move on the table. What a player sealed may be anything.
func (t *Table) open(ctx context.Context, table sdk.Mailbox, r *Round) error {
	msg, err := table.Recv(ctx, asServer)
	if err != nil {
		return err
	}
	defer t.Client.Drop(ctx, msg.Handles...)
	seat := msg.Data[0]
	text, err := msg.Handles[0].Value().Unseal(ctx, asServer)
	if err != nil {
		r.Fouls[seat] = "sent what is not sealed for the server"
		return nil
	}
	if r.Moves[seat], err = ParseMove(string(text)); err != nil {
		r.Fouls[seat] = err.Error()
	}
	return nil
}

// ask starts the player at a seat and waits for the move that it seals and posts to
// its own mailbox. The player lives at the label of its seat, which is also its
// clearance: it can neither read what the other seals nor write to anything but what
// is as secret.
func (t *Table) ask(ctx context.Context, m *Match, seat int, shown []sdk.Handle) (sealed sdk.Handle, foul string, err error) {
	c := t.Client
	box, err := c.NewMailbox(ctx, seats[seat], sdk.Options{})
	if err != nil {
		return sealed, "", err
	}
	defer box.Drop(ctx)
	history, err := json.Marshal(m.seenFrom(seat))
	if err != nil {
		return sealed, "", err
	}
	player, err := c.Start(ctx, m.Players[seat], seats[seat], sdk.SpawnOptions{
		Args:      []string{string(history)},
		Principal: players[seat],
		Gives:     []sdk.Formula{shares[seat]},
		Handles:   append([]sdk.Handle{box.Handle}, shown...),
	})
	if err != nil {
		return sealed, "", err
	}
	defer t.dismiss(player, m.Players[seat])

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := box.Recv(ctx, asServer)
	switch {
	case errors.Is(err, sdk.ErrEmpty):
		player.Kill(context.WithoutCancel(ctx), asServer)
		return sealed, "did not move in time", nil
	case err != nil:
		return sealed, "", err
	case len(msg.Handles) != 1:
		c.Drop(ctx, msg.Handles...)
		return sealed, "sent no sealed move", nil
	}
	return msg.Handles[0], "", nil
}

// dismiss waits a moment for a player who has moved to end, ends it otherwise, and
// prints what it had to say. That is the player's secret and the server's: it goes to
// the log of the operator.
func (t *Table) dismiss(player sdk.Result, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer player.Drop(ctx)
	exit, err := player.Wait(ctx, asServer)
	if err != nil {
		player.Kill(ctx, asServer)
		return
	}
	for line := range strings.Lines(string(exit.Stdout) + string(exit.Stderr)) {
		log.Printf("%s: %s", name, strings.TrimSpace(line))
	}
}
