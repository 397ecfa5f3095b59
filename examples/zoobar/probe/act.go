package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// act is what whoever has taken an instance over would do with a cookie of somebody
// else that it has got hold of: spend their money, change their program, look
// at a profile in their name.
func act(cookie string) error {
	victim, ok := calls.ParseSession(cookie)
	if !ok {
		return fmt.Errorf("%q is no cookie", cookie)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	mine, err := c.Labels(ctx)
	if err != nil {
		return err
	}
	theirs, err := calls.Acting(victim.User)
	if err != nil {
		return err
	}
	for how, o := range map[string]sdk.Options{"theirs": theirs, "own": {Shown: mine.Owns}, "nothing": {}} {
		for call, args := range map[string]any{
			calls.BankTransfer:    calls.Transfer{Sender: victim.User, Recipient: c.Self().Principal, Zoobars: 1, Token: victim.Token},
			calls.StoreSetProfile: calls.ProfileUpdate{Username: victim.User, Token: victim.Token, Text: "taken over"},
			calls.ProfileRun:      calls.Run{User: victim.User, Visitor: victim.User},
		} {
			body, err := json.Marshal(args)
			if err != nil {
				return err
			}
			reply, err := c.CallWith(ctx, call, body, o)
			fmt.Println(how+":"+call, acted(reply.Body, err))
		}
	}
	_, err = c.Delegate(ctx, theirs.Shown)
	fmt.Println("delegate", acted(nil, err))
	_, err = c.Seal(ctx, sdk.MustLabel("True %% True"), nil, sdk.Options{In: theirs.Shown})
	fmt.Println("vouch", acted(nil, err))
	return nil
}

func acted(reply []byte, err error) string {
	switch {
	case errors.Is(err, sdk.ErrLabel):
		return "label"
	case err != nil:
		return verdict(err)
	case string(reply) == "false", string(reply) == `{"refused":"token"}`:
		return "refused"
	}
	return fmt.Sprintf("WORKED %s", reply)
}
