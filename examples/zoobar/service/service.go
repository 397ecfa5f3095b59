// Package service is what zoobar's programs have in common: they run until they
// are asked to stop, and answer calls, most of them about a database.
//
// Trusted: no.
package service

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/examples/zoobar/db"
	"cofferdam/sdk"
)

// Main is the main function of a program: it ends with run, whose context ends
// when the program is asked to stop.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Serve answers the calls that methods has until ctx ends, and then those that
// have come.
func Serve(ctx context.Context, methods func(peers *sdk.Client) map[string]sdk.Handler) error {
	peers, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer peers.Close()
	if err := peers.Serve(ctx, methods(peers)); ctx.Err() == nil {
		return err
	}
	return nil
}

// Keep is Serve for methods that need a database.
func Keep(ctx context.Context, path, schema string, methods func(*sql.DB, *sdk.Client) map[string]sdk.Handler) error {
	data, err := db.Open(ctx, path, schema)
	if err != nil {
		return err
	}
	defer data.Close()
	return Serve(ctx, func(peers *sdk.Client) map[string]sdk.Handler { return methods(data, peers) })
}
