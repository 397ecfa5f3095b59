package profile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// Methods are what others may call: run for dynamic, the rest for sandboxes.
func (p *Profiles) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"run": func(ctx context.Context, from sdk.Caller, body []byte) ([]byte, error) {
			var r calls.Run
			if err := json.Unmarshal(body, &r); err != nil {
				return nil, fmt.Errorf("run: %w", err)
			}
			if !calls.ActsFor(from, r.Visitor) {
				return nil, errors.New("run: the caller does not act for the visitor")
			}
			return p.Run(ctx, r.User, r.Visitor) // raw: JSON would make the output up to six times as long
		},
		"get_self": sdk.JSON(func(_ context.Context, from sdk.Caller, _ struct{}) (string, error) {
			run, err := calls.ParseBound(from.Bound)
			return run.Owner, err
		}),
		"get_visitor": sdk.JSON(func(_ context.Context, from sdk.Caller, _ struct{}) (string, error) {
			run, err := calls.ParseBound(from.Bound)
			return run.Visitor, err
		}),
		"get_xfers": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) ([]calls.LogEntry, error) {
			var log []calls.LogEntry
			err := p.peers.CallJSON(ctx, calls.BankGetLog, u, &log)
			return log, err
		}),
		"get_user_info": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (*calls.UserInfo, error) {
			return p.userInfo(ctx, u)
		}),
	}
}

// userInfo returns what is public about anybody, nil for an unknown user.
func (p *Profiles) userInfo(ctx context.Context, u calls.User) (*calls.UserInfo, error) {
	var zoobars *int64
	if err := p.peers.CallJSON(ctx, calls.BankBalance, u, &zoobars); err != nil || zoobars == nil {
		return nil, err
	}
	var text string
	if err := p.peers.CallJSON(ctx, calls.StoreGetProfile, u, &text); err != nil {
		return nil, err
	}
	return &calls.UserInfo{Username: u.Username, Profile: text, Zoobars: *zoobars}, nil
}
