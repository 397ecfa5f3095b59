// Draft has the words of a secret counted by somebody who must not tell it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"cofferdam/sdk"
)

func main() {
	ctx, secret := context.Background(), sdk.MustLabel("alice %% True")
	c := must(sdk.Connect(ctx))
	me := must(c.Labels(ctx))
	if len(me.Handles) == 0 { // alice, who owns what is hers
		draft := must(c.Seal(ctx, secret, []byte("we meet at the harbour"), sdk.Options{}))
		result := must(c.Start(ctx, os.Args[1], secret, sdk.SpawnOptions{Label: &secret, Handles: []sdk.Handle{draft.Handle}}))
		exit := must(result.Wait(ctx, sdk.Options{Out: sdk.MustFormula("alice")})) // she may release what is hers
		fmt.Printf("words: %s %s\n", exit.Stdout, exit.Stderr)
		return
	}
	text := must(me.Handles[0].Value().Unseal(ctx, sdk.Options{})) // a counter, whom nobody trusts
	fmt.Print(len(bytes.Fields(text)))
	if err := c.Mailbox("world").Post(ctx, text, sdk.Options{}); err != nil {
		fmt.Fprint(os.Stderr, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}
