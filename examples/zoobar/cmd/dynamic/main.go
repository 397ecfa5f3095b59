// Command dynamic is zoobar's service of the same name: see package dynamic.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/examples/zoobar/dynamic"
	"cofferdam/examples/zoobar/web"
	"cofferdam/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dynamic:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	peers, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer peers.Close()
	return web.Serve(ctx, "127.0.0.1:8081", dynamic.New(peers, dynamic.Options{Nobody: peers.Self().Principal == ""}))
}
