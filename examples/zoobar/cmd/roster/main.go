// Command roster is zoobar's service of the same name: see package roster.
package main

import (
	"context"
	"database/sql"

	"cofferdam/examples/zoobar/roster"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("roster", func(ctx context.Context) error {
		return service.Keep(ctx, "/data/person.db", roster.Schema, func(data *sql.DB, _ *sdk.Client) map[string]sdk.Handler {
			return roster.New(data).Methods()
		})
	})
}
