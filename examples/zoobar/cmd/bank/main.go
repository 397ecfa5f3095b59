// Command bank is zoobar's service of the same name: see package bank.
package main

import (
	"context"
	"database/sql"
	"time"

	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("bank", func(ctx context.Context) error {
		return service.Keep(ctx, "/data/bank.db", bank.Schema, func(data *sql.DB, peers *sdk.Client) map[string]sdk.Handler {
			return bank.New(data, peers, time.Now).Methods()
		})
	})
}
