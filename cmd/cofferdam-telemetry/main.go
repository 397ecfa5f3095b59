// Command cofferdam-telemetry shows the numbers of an application to others.
//
// `cofferdam up` starts it, inside an environment of its own, if the manifest says
// metrics. It is a second program because of what it is linked with: the first one, which
// decides, starts faster and holds less without.
//
// Trusted: no.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/door/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := telemetry.Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam-telemetry: %v\n", err)
		os.Exit(125)
	}
}
