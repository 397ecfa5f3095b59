// Command echo is zoobar's service of the same name: see package echo.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/examples/zoobar/echo"
	"cofferdam/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	peers, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer peers.Close()
	if err := peers.Serve(ctx, echo.Methods()); ctx.Err() == nil {
		return err
	}
	return nil // asked to stop, and everything is answered
}
