// Command profile is zoobar's service of the same name: see package profile.
package main

import (
	"context"

	"cofferdam/examples/zoobar/profile"
	"cofferdam/examples/zoobar/service"
	"cofferdam/sdk"
)

func main() {
	service.Main("profile", func(ctx context.Context) error {
		return service.Serve(ctx, func(peers *sdk.Client) map[string]sdk.Handler { return profile.New(peers).Methods() })
	})
}
