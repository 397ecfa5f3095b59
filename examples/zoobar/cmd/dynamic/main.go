// Command dynamic is zoobar's service of the same name: see package dynamic.
package main

import (
	"context"

	"cofferdam/examples/zoobar/dynamic"
	"cofferdam/examples/zoobar/service"
	"cofferdam/examples/zoobar/web"
	"cofferdam/sdk"
)

func main() {
	service.Main("dynamic", func(ctx context.Context) error {
		peers, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		defer peers.Close()
		nobody := peers.Self().Principal == ""
		return web.Serve(ctx, "127.0.0.1:8081", dynamic.New(peers, dynamic.Options{Nobody: nobody}))
	})
}
