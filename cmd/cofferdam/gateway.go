package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cofferdam/door/gateway"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// gatewayMain is the role of the gateway, inside its environment.
func gatewayMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := gateway.Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: %v\n", err)
		return codeOurs
	}
	return 0
}

// doorOf is what the gateway of app is told, as its environment. It holds what
// the gateway has to know and nothing else of the manifest.
func doorOf(app *manifest.App) ([]string, error) {
	if !supervisor.NeedsDoor(app) {
		return nil, nil
	}
	c := gateway.Config{Services: make(map[string]int), Bridge: supervisor.BridgePort}
	for _, s := range app.Services {
		if s.HTTP != 0 {
			c.Services[s.Name] = s.HTTP
		}
	}
	if g := app.Gateway; g != nil {
		c.Outside = true
		for _, r := range g.Routes {
			c.Routes = append(c.Routes, gateway.Route{Path: r.Path, To: r.To})
		}
		c.Limits = gateway.Limits{
			HeaderBytes: int(g.Limits.HeaderBytes),
			BodyBytes:   g.Limits.BodyBytes,
			TimeoutMS:   g.Limits.Timeout.Milliseconds(),
			Connections: g.Limits.Connections,
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return []string{gateway.ConfigEnv + "=" + string(text)}, nil
}
