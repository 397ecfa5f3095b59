package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cofferdam/bench/own"
	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

func benchCommand() *cobra.Command {
	var f format
	var budget time.Duration
	c := &cobra.Command{
		Use:   "bench [SCENARIO...]",
		Short: "Measure this host and say what to expect of it",
		Long: `Bench measures, in some 15 seconds, how long environments take to start here, how
long calls from one to another take, how much connections between them move, and
how many requests the gateway answers; and it says in words what that means and
what limits it. Every answer is compared with the right one.

Scenarios are start, call, relay and http; without any it is all of them. It uses
an application of its own, which it takes down again, and leaves nothing.
Ratios to other software are another matter: make bench, in the source.`,
		Example: `  cofferdam bench
  cofferdam bench start --format json`,
		ValidArgs: own.Scenarios,
		Args:      cobra.OnlyValidArgs,
		RunE: func(_ *cobra.Command, scenarios []string) error {
			found, err := measureHost(scenarios, budget)
			if err != nil {
				return err
			}
			if f.name == "table" {
				return printHost(stdout, found)
			}
			return one(f, stdout, found)
		},
	}
	c.Flags().DurationVar(&budget, "each", time.Second, "about how long each figure may take")
	f.flag(c)
	return c
}

// hostFigures is what bench has found.
type hostFigures struct {
	Machine own.Machine  `json:"machine"`
	Version string       `json:"version"`
	Missing []string     `json:"not_enforced,omitempty"` // protections that the host lacks
	Figures []own.Figure `json:"figures"`
	Expect  []string     `json:"expect"`
}

func measureHost(scenarios []string, budget time.Duration) (hostFigures, error) {
	self, err := os.Executable()
	if err != nil {
		return hostFigures{}, err
	}
	found := hostFigures{Machine: own.ThisMachine(), Version: version}
	exec, err := namespace.New(namespace.Options{Executable: []string{self, roleSpawner}, App: "bench"})
	if err != nil {
		return hostFigures{}, err
	}
	defer exec.Close()
	for _, p := range exec.Protections() {
		if p.Status != executor.Pass {
			found.Missing = append(found.Missing, p.Name)
		}
	}
	// An interrupt ends what is measured, and then what was started for it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	show, done := progress(os.Stderr)
	defer done()
	found.Figures, err = own.Host{
		Program: own.Program{Binary: self, Player: self}, Executor: exec, Degraded: found.Missing, Budget: budget, Progress: show,
	}.Measure(ctx, scenarios)
	if err != nil {
		return hostFigures{}, err
	}
	found.Expect = own.Expect(found.Machine, found.Missing, found.Figures)
	return found, nil
}

// progress says on a terminal what goes on, in one line that is gone afterwards.
func progress(f *os.File) (show func(what string), done func()) {
	if !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil, func() {}
	}
	const back = "\r\x1b[K"
	return func(what string) { fmt.Fprintf(f, "%smeasuring: %s", back, what) }, func() { fmt.Fprint(f, back) }
}

func printHost(w io.Writer, found hostFigures) error {
	err := rows(format{name: "table"}, w, found.Figures, []string{"SCENARIO", "MEASURED", "P99", "WHAT"}, func(f own.Figure) []string {
		p99 := "-"
		if f.P99 > 0 {
			unit := f.Unit
			if unit == "per s" {
				unit = "ms"
			}
			p99 = fmt.Sprintf("%.3g %s", f.P99, unit)
		}
		return []string{f.Name, figureOf(f), p99, f.What}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", strings.Join(wrap(printable(found.Machine.String()), tableWidth), "\n"))
	for _, sentence := range found.Expect {
		for i, line := range wrap(sentence, tableWidth-2) {
			lead := "  "
			if i == 0 {
				lead = "- "
			}
			fmt.Fprintln(w, lead+line)
		}
	}
	return nil
}

func figureOf(f own.Figure) string {
	if f.Value >= 1000 {
		return fmt.Sprintf("%.0f %s", f.Value, f.Unit)
	}
	return fmt.Sprintf("%.3g %s", f.Value, f.Unit)
}

// benchMain is the role of who plays a part in a measurement.
func benchMain() int {
	if err := own.Play(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: %v\n", err)
		return codeOurs
	}
	return 0
}
