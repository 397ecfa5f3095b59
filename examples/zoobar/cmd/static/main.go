// Command static is zoobar's service of the same name: see package static.
package main

import (
	"context"
	"os"

	"cofferdam/examples/zoobar/service"
	"cofferdam/examples/zoobar/static"
	"cofferdam/examples/zoobar/web"
)

func main() {
	service.Main("static", func(ctx context.Context) error {
		handler, err := static.New(os.DirFS("/srv"))
		if err != nil {
			return err
		}
		return web.Serve(ctx, "127.0.0.1:8081", handler)
	})
}
