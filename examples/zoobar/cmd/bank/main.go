// Command bank is zoobar's service of the same name: see package bank.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/db"
	"cofferdam/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	data, err := db.Open(ctx, "/data/bank.db", bank.Schema)
	if err != nil {
		return err
	}
	defer data.Close()
	peers, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer peers.Close()
	if err := peers.Serve(ctx, bank.New(data, peers, time.Now).Methods()); ctx.Err() == nil {
		return err
	}
	return nil // asked to stop, and everything is answered
}
