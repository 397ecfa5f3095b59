// Package echo says what was said, and who said it: a probe of the caller's
// identity, which comes from the monitor and not from the caller.
//
// Trusted: no.
package echo

import (
	"context"
	"fmt"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// Methods are what others may call.
func Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"echo": sdk.JSON(func(_ context.Context, from sdk.Caller, said calls.Said) (string, error) {
			if len(said.S) > calls.MaxEchoBytes {
				return "", fmt.Errorf("echo: %d bytes, more than %d", len(said.S), calls.MaxEchoBytes)
			}
			return fmt.Sprintf("You said \"%s\" from %s", said.S, from.Service), nil
		}),
	}
}
