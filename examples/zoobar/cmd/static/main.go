// Command static is zoobar's service of the same name: see package static.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/examples/zoobar/static"
	"cofferdam/examples/zoobar/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "static:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	handler, err := static.New(os.DirFS("/srv"))
	if err != nil {
		return err
	}
	return web.Serve(ctx, "127.0.0.1:8081", handler)
}
