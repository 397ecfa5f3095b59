package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/numbers"
)

// counted is a service as `stats` shows it: everything that is counted of it.
type counted struct {
	*numbers.Service
	CPUPercent float64 `json:"cpu_percent"` // 100 is one processor
}

func statsCommand(p *project) *cobra.Command {
	var f format
	var once bool
	var interval time.Duration
	c := &cobra.Command{
		Use:   "stats [SERVICE...]",
		Short: "Show what services use, and what was counted of them",
		Long: `Stats lists for each service what its instances use now, and what was counted
since the application was started: calls that it has answered, those of them that
failed, what it was refused, and how often an instance was replaced.

On a terminal it goes on, as top does; elsewhere, and with --no-stream, it ends after
one look of --interval, in which the processor time is measured. --format json and
jsonl show everything that is counted, as docs/METRICS.md explains it.`,
		Example: `  cofferdam stats --no-stream
  cofferdam stats --format jsonl bank`,
		RunE: func(_ *cobra.Command, args []string) error {
			w := &watch{p: p, interval: interval, once: once || f.name == "json"}
			return w.run(f, "name", func(s sample) error {
				return showStats(f, s, args)
			})
		},
	}
	c.ValidArgsFunction = p.completeServices
	c.Flags().BoolVar(&once, "no-stream", false, "end after one look")
	c.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	f.flag(c)
	f.wideFlag(c, "PIDS", "FAILED", "MEMORY / LIMIT")
	return c
}

func showStats(f format, s sample, only []string) error {
	for _, name := range only {
		if s.now.Service(name) == nil {
			return fmt.Errorf("application %q has no service %q", s.app.Name, name)
		}
	}
	var all []counted
	for i, r := range s.rates {
		of := s.now.Service(r.Service)
		if len(only) > 0 && !slices.Contains(only, of.Name) {
			continue
		}
		all = append(all, counted{of, s.rates[i].CPUPercent})
	}
	f.width = s.width
	header := []string{"SERVICE", "STATE", "CPU %", "MEMORY / LIMIT", "PIDS", "CALLS", "FAILED", "DENIED", "RESTARTS"}
	return rows(f, s.out, all, header, func(c counted) []string {
		state, n, others := stateOf(c.States)
		calls, failed := c.Calls()
		limit := "-"
		if c.MemoryLimit > 0 {
			limit = size(c.MemoryLimit)
		}
		return []string{
			c.Name, instances(state, n, others), fmt.Sprintf("%.1f", c.CPUPercent), size(c.MemoryBytes) + " / " + limit, fmt.Sprint(c.Pids),
			fmt.Sprint(calls), fmt.Sprint(failed), fmt.Sprint(c.Denied()), fmt.Sprint(c.Restarted()),
		}
	})
}

// instances is how many are in a state, for people: "ready", "3 ready", "1 starting +2".
func instances(state string, n, others int) string {
	s := state
	if n > 1 || others > 0 {
		s = fmt.Sprintf("%d %s", n, state)
	}
	if others > 0 {
		s += fmt.Sprintf(" +%d", others)
	}
	return s
}
