// Command honeychecker is zoobar's service of the same name: see package honeychecker.
package main

import (
	"context"
	"database/sql"
	"time"

	"cofferdam/examples/zoobar/honeychecker"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("honeychecker", func(ctx context.Context) error {
		return service.Keep(ctx, "/data/index.db", honeychecker.Schema, func(data *sql.DB, _ *sdk.Client) map[string]sdk.Handler {
			return honeychecker.New(data, time.Now).Methods()
		})
	})
}
