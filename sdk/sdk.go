// Package sdk is what an application imports.
//
// A program inside an environment connects once and then calls, serves and
// spawns. Who it is, the monitor knows from the socket; who calls it, the
// monitor says with every request.
//
//	c, err := sdk.Connect(ctx)
//	balance, err := c.Call(ctx, "bank.balance", []byte(`{"username":"alice"}`))
//
// Trusted: no. It runs inside, and is as trustworthy as the program around it.
package sdk
