// Package sdk is what an application imports.
//
// A program inside an environment connects once and then calls, serves, spawns
// and mounts, all on the one connection and all at once. Who it is, the monitor
// knows from the socket; who calls it, the monitor says with every request.
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
// Every error of a call matches one of [ErrDenied] to [ErrEmpty]. The names
// are the same in Python, in snake case: see python/cofferdam.py.
//
// Trusted: no. It runs inside, and is as trustworthy as the program around it.
package sdk
