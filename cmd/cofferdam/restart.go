package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cofferdam/admin"
)

func restartCommand(p *project) *cobra.Command {
	var within time.Duration
	c := &cobra.Command{
		Use:   "restart [SERVICE...]",
		Short: "Replace the instances of services, one after the other",
		Long: `Restart replaces the instances of the services, of all without one, each service after
those that it depends on. A new instance starts beside the old one; once it is ready, and
healthy where that is checked, the old one is asked nothing more, finishes what it is at
within its stop_grace_period, and is stopped. Nobody who calls notices. What was stopped,
or has ended, is started.

Where two cannot run at a time, because they would write to one volume or the
budget has no room for both, the old one is stopped first, and callers wait in the queue.

If a new instance does not become ready in time the old one stays, or is started
again where it had to be stopped, and nothing further is replaced.`,
		Example:           `  cofferdam restart bank`,
		ValidArgsFunction: p.completeAll,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.order(admin.Request{Op: admin.OpOrder, Order: "restart", Services: args, Within: int64(within)})
		},
	}
	c.Flags().DurationVar(&within, "timeout", 30*time.Second, "how long an instance may take until it is ready")
	return c
}

func stopCommand(p *project) *cobra.Command {
	return &cobra.Command{
		Use:   "stop SERVICE...",
		Short: "Stop services of the running application",
		Long: `Stop stops the instances of the services; they finish what they are at. Whoever calls one is
told that it is unavailable, until it is started again. To stop the application: cofferdam down.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: p.completeAll,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.order(admin.Request{Op: admin.OpOrder, Order: "stop", Services: args})
		},
	}
}

func startCommand(p *project) *cobra.Command {
	return &cobra.Command{
		Use:   "start SERVICE...",
		Short: "Start services that were stopped",
		Long: `Start starts services of the running application that were stopped, have ended, or are
broken, and returns once they are ready.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: p.completeAll,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.order(admin.Request{Op: admin.OpOrder, Order: "start", Services: args})
		},
	}
}

func killCommand(p *project) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "kill [-s SIGNAL] SERVICE",
		Short: "Send a signal to the programs of a service",
		Long: `Kill sends a signal to the program of each running instance of the service, or to that of the
instance with this name; to one that stands by only by its own. What ends is replaced as its restart policy says.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeServices,
		RunE: func(_ *cobra.Command, args []string) error {
			sig, err := signalOf(name)
			if err != nil {
				return err
			}
			return p.order(admin.Request{Op: admin.OpKill, Service: args[0], Signal: sig})
		},
	}
	c.Flags().StringVarP(&name, "signal", "s", "KILL", "its name or number")
	return c
}

// signalOf is the number of a signal.
func signalOf(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); n != 0 {
		return int(n), nil
	}
	return 0, fmt.Errorf("%q is no signal", name)
}

// order has something done, and tells how it goes.
func (p *project) order(req admin.Request) error {
	c, err := p.ask(req)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		r, err := c.Next()
		switch {
		case errors.Is(err, io.EOF):
			return errEndedMeanwhile
		case err != nil:
			return refused(err)
		case r.Done:
			return nil
		}
		fmt.Fprintln(os.Stderr, printable(r.Said))
	}
}

// errEndedMeanwhile is what is known of something that was begun at an application that is gone.
var errEndedMeanwhile = errors.New("the application has ended before all of it was done; cofferdam up starts it by its manifest")

// completeAll offers the services that do not stand there yet to the shell.
func (p *project) completeAll(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	app, err := p.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(serviceNames(app), func(s string) bool { return slices.Contains(args, s) }), cobra.ShellCompDirectiveNoFileComp
}
