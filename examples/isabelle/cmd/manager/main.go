// Command manager is the door to the Isabelle servers of tenants: see package manager.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"

	"cofferdam/examples/isabelle/manager"
	"cofferdam/sdk"
)

func main() {
	fmt.Fprintln(os.Stderr, "manager:", run())
	os.Exit(1)
}

// run serves until something is wrong.
func run() error {
	limits := manager.Defaults()
	listen := flag.String("listen", "127.0.0.1:4711", "`address` to listen at")
	file := flag.String("tenants", "/app/tenants.json", "the `file` of tenants")
	server := flag.String("server", "server", "the `service` with an instance for each tenant")
	port := flag.Int("port", 4711, "its `port`")
	flag.DurationVar(&limits.Use, "use", limits.Use, "how long use_theories may take")
	flag.DurationVar(&limits.Build, "build", limits.Build, "how long session_build, session_start and session_stop may take")
	flag.DurationVar(&limits.Answer, "answer", limits.Answer, "how long an instance may take to answer a command, and to end a task that was canceled")
	flag.DurationVar(&limits.Ping, "ping", limits.Ping, "how often an instance is asked whether it answers")
	flag.DurationVar(&limits.Gone, "gone", limits.Gone, "how long it takes until an instance that nobody is connected to has ended")
	flag.DurationVar(&limits.Session, "session", limits.Session, "how long a session lasts that nobody uses")
	flag.DurationVar(&limits.Instance, "instance", limits.Instance, "how long an instance lasts that has no sessions and no clients")
	flag.DurationVar(&limits.Each, "each", limits.Each, "after how much time one more use_theories of a tenant may begin")
	flag.IntVar(&limits.Burst, "burst", limits.Burst, "how many may begin at once")
	flag.IntVar(&limits.Block, "block", limits.Block, "bytes of a message of an instance")
	flag.IntVar(&limits.Connections, "connections", limits.Connections, "connections of a tenant")
	flag.IntVar(&limits.Sessions, "sessions", limits.Sessions, "sessions of a tenant")
	flag.IntVar(&limits.Tasks, "tasks", limits.Tasks, "tasks of a tenant, running or waiting")
	flag.Parse()

	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	tenants, err := manager.ParseTenants(text)
	if err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	// Each client has a connection behind it, and each instance its keeper.
	if n := len(tenants) * (limits.Connections + 1); n > manager.MaxConnections {
		return fmt.Errorf("%s: %d tenants with %d connections each are up to %d behind the manager, of at most %d: lower -connections",
			*file, len(tenants), limits.Connections, n, manager.MaxConnections)
	}
	client, err := sdk.Connect(context.Background())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	backend := &manager.Cofferdam{Client: client, Into: *server, At: fmt.Sprintf("%s:%d", *server, *port)}
	return manager.New(tenants, backend, limits, slog.New(slog.NewTextHandler(os.Stdout, nil))).Serve(l)
}
