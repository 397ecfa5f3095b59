package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cofferdam/audit"
	"cofferdam/door/egress"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// egressMain is the role of the door to the Internet, inside its environment.
func egressMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := egress.Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: %v\n", err)
		return codeOurs
	}
	return 0
}

// egressOf is the door to the Internet of app, run by the executable self, and
// whom it asks for names. It is told where it finds them inside.
func egressOf(app *manifest.App, self doorProgram) (supervisor.Door, []netip.AddrPort, error) {
	if !supervisor.NeedsEgress(app) {
		return supervisor.Door{}, nil, nil
	}
	resolvers, err := supervisor.Resolvers(app)
	if err != nil {
		return supervisor.Door{}, nil, err
	}
	c := egress.Config{Port: supervisor.EgressPort}
	for i := range resolvers {
		c.Resolvers = append(c.Resolvers, supervisor.ResolverAddress(i))
	}
	text, err := json.Marshal(c)
	if err != nil {
		return supervisor.Door{}, nil, fmt.Errorf("egress: %w", err)
	}
	return supervisor.Door{Program: self.path, Runtime: self.runtime, Env: []string{egress.ConfigEnv + "=" + string(text)}}, resolvers, nil
}

// addressOf is the address that an egress led to, of which the record tells.
func addressOf(r audit.Record) (netip.Addr, bool) {
	text, ok := strings.CutPrefix(r.Detail, "address ")
	if r.Op != "egress" || !ok {
		return netip.Addr{}, false
	}
	text, _, _ = strings.Cut(text, ",")
	addr, err := netip.ParseAddr(text)
	return addr, err == nil
}
