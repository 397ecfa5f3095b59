// Command store is zoobar's service of the same name: see package store.
package main

import (
	"context"
	"database/sql"

	"cofferdam/examples/zoobar/service"
	"cofferdam/examples/zoobar/store"
	"cofferdam/sdk"
)

func main() {
	service.Main("store", func(ctx context.Context) error {
		return service.Keep(ctx, "/data/profile.db", store.Schema, func(data *sql.DB, peers *sdk.Client) map[string]sdk.Handler {
			return store.New(data, peers).Methods()
		})
	})
}
