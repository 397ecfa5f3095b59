// Command auth is zoobar's service of the same name: see package auth.
package main

import (
	"context"
	"database/sql"
	"os"

	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("auth", func(ctx context.Context) error {
		iterations, err := auth.ParseIterations(os.Getenv("HASH_ITERATIONS"))
		if err != nil {
			return err
		}
		return service.Keep(ctx, "/data/cred.db", auth.Schema, func(data *sql.DB, peers *sdk.Client) map[string]sdk.Handler {
			return auth.New(data, peers, auth.Options{Iterations: iterations}).Methods()
		})
	})
}
