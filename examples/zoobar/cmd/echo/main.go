// Command echo is zoobar's service of the same name: see package echo.
package main

import (
	"context"

	"cofferdam/examples/zoobar/echo"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("echo", func(ctx context.Context) error {
		return service.Serve(ctx, func(*sdk.Client) map[string]sdk.Handler { return echo.Methods() })
	})
}
