// Package sdk is what an application imports.
//
// A program inside an environment connects once and then calls, serves, spawns,
// mounts and deals with what has a label, all on the one connection and all at once.
// Who it is, the monitor knows from the socket; who calls it, the monitor says with every
// request.
//
//	c, err := sdk.Connect(ctx)
//	balance, err := c.Call(ctx, "bank.balance", []byte(`{"username":"alice"}`))
//
//	err = c.Serve(ctx, map[string]sdk.Handler{
//		"balance": sdk.JSON(func(ctx context.Context, caller sdk.Caller, req Request) (int, error) {
//			return db.Balance(ctx, req.Username)
//		}),
//	})
//
// What has a label (values, mailboxes, results of children, privileges, capsules) a
// program names by a [Handle]. What may flow where the monitor decides, at the label
// that the program's environment has; [Options] name the privileges that it uses:
//
//	draft, err := c.Seal(ctx, sdk.MustLabel("alice %% True"), data, sdk.Options{})
//	err = c.Mailbox("letters").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{draft.Handle}})
//
// docs/SDK.md shows a whole program, and lists all there is.
//
// Every error of a call matches one of [ErrDenied] to [ErrLimited]. The names
// are the same in Python, in snake case: see python/cofferdam.py.
//
// Trusted: no. It runs inside, and is as trustworthy as the program around it.
package sdk
