package sdk

import (
	"context"

	"cofferdam/wire"
)

// Turn is a request of ours that waits for others to end, because all that may run runs: what
// it is for (service.method, a template, or service:port), for whom, and which one it is of how many.
type Turn = wire.Turn

// Turns says which spawns, calls and connections of this environment, of all its programs,
// wait for a place or for memory, in the order in which they were asked for, and where
// they stand. What waits above our label is not counted. It is a look at one moment: who comes may have a turn
// before us, if he has had less.
func (c *Client) Turns(ctx context.Context) ([]Turn, error) {
	body, err := c.request(ctx, wire.OpTurns, "", nil)
	if err != nil {
		return nil, &CallError{Op: "turns", Err: err}
	}
	turns, err := wire.ParseTurns(body)
	if err != nil {
		return nil, &CallError{Op: "turns", Err: err}
	}
	return turns, nil
}
