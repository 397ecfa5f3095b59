// Command roster is zoobar's service of the same name: see package roster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/examples/zoobar/db"
	"cofferdam/examples/zoobar/roster"
	"cofferdam/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "roster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	data, err := db.Open(ctx, "/data/person.db", roster.Schema)
	if err != nil {
		return err
	}
	defer data.Close()
	peers, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer peers.Close()
	if err := peers.Serve(ctx, roster.New(data).Methods()); ctx.Err() == nil {
		return err
	}
	return nil // asked to stop, and everything is answered
}
