// Command visits is zoobar's service of the same name: see package visits.
package main

import (
	"context"
	"database/sql"
	"time"

	"cofferdam/examples/zoobar/service"
	"cofferdam/examples/zoobar/visits"
	"cofferdam/sdk"
)

func main() {
	service.Main("visits", func(ctx context.Context) error {
		return service.Keep(ctx, "/data/visits.db", visits.Schema, func(data *sql.DB, _ *sdk.Client) map[string]sdk.Handler {
			return visits.New(data, time.Now).Methods()
		})
	})
}
