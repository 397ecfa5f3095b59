package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/supervisor"
)

func topCommand(p *project) *cobra.Command {
	var f format
	var by string
	var count int
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch services: what they use, answer, and are refused",
		Long: `Top shows for each service what happened since the last look: the processor time
of its instances (100 is one processor), the calls that it answered in a second and
how long half of them and 99 in a hundred took at most, how often a second it was
refused something, how many wait for it, and how often an instance was replaced since the
application was started. Below, who waits for a turn, and where each of them stands.

On a terminal it goes on until q; n c m r p d w and s sort by name, CPU, memory,
calls, p99, denials, queue (who waits) and restarts (started anew). Elsewhere it
shows one look of --interval; --count says how many. --format jsonl is a line for
each service and look, and goes on; its words are those of docs/METRICS.md.`,
		Example: `  cofferdam top --sort p99
  cofferdam top --format jsonl --count 60 >minute.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := sortRates(nil, by); err != nil {
				return err
			}
			w := &watch{p: p, interval: interval, count: count, once: f.name == "json"}
			return w.run(f, by, func(s sample) error {
				if f.name != "table" {
					return rows(f, s.out, s.rates, nil, nil)
				}
				waiting, err := p.turns()
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(s.out, topTable(s)+turnsTable(waiting, s.width))
				return err
			})
		},
	}
	c.Flags().StringVar(&by, "sort", "cpu", "what to sort by: "+strings.Join(sortWords, ", "))
	c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(sortWords, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	c.Flags().IntVar(&count, "count", 0, "how many looks; 0 for one, and on a terminal or with jsonl without end")
	f.flag(c)
	return c
}

// topColumns are those after the name of the service, each with the fewest columns of
// the terminal that it takes. With their gaps they are 66: a name of 14 fits 80.
var topColumns = []struct {
	head  string
	width int
	of    func(rates) string
}{
	{"STATE", 10, func(r rates) string { return instances(r.State, r.Instances, r.Others) }},
	{"CPU%", 5, func(r rates) string { return fmt.Sprintf("%.1f", r.CPUPercent) }},
	{"MEMORY", 7, func(r rates) string { return strings.TrimSuffix(size(r.MemoryBytes), "iB") }},
	{"CALLS/S", 7, func(r rates) string { return perSecond(r.Calls) }},
	{"P50", 6, func(r rates) string { return short(r.P50) }},
	{"P99", 6, func(r rates) string { return short(r.P99) }},
	{"DENY/S", 6, func(r rates) string { return perSecond(r.Denials) }},
	{"WAIT", 4, func(r rates) string { return fmt.Sprint(r.Queued) }},
	{"RESTART", 7, func(r rates) string { return fmt.Sprint(r.Restarts) }},
}

// topTable is one look, as wide as the terminal.
func topTable(s sample) string {
	var b strings.Builder
	running, waiting, calls, denials := 0, s.now.Budget.Depth, 0.0, 0.0
	for _, r := range s.rates {
		running += r.Instances + r.Others
		waiting += r.Queued
		calls += r.Calls
		denials += r.Denials
	}
	fmt.Fprintln(&b, cut(fmt.Sprintf("%s  up %v  instances %d  waiting %d  calls/s %s  denials/s %s  records %d",
		s.app.Name, s.now.Uptime.Round(time.Second), running, waiting, perSecond(calls), perSecond(denials), s.now.Records), s.width))
	rest := 0
	for _, c := range topColumns {
		rest += c.width + 1
	}
	name := len("SERVICE")
	for _, r := range s.rates {
		name = max(name, len([]rune(printable(r.Service))))
	}
	name = max(min(name, s.width-rest), len("SERVICE"))
	line := func(service string, cells func(i int) string) {
		text := fmt.Sprintf("%-*s", name, cut(service, name))
		for i, c := range topColumns {
			cell := cut(cells(i), c.width)
			if i == 0 {
				text += fmt.Sprintf(" %-*s", c.width, cell)
				continue
			}
			text += fmt.Sprintf(" %*s", c.width, cell)
		}
		fmt.Fprintln(&b, cut(strings.TrimRight(text, " "), s.width))
	}
	line("SERVICE", func(i int) string { return topColumns[i].head })
	for _, r := range s.rates {
		line(r.Service, func(i int) string { return topColumns[i].of(r) })
	}
	return b.String()
}

// turns are those who wait for one, in their order in each queue.
func (p *project) turns() ([]supervisor.Status, error) {
	c, err := p.ask(admin.Request{Op: admin.OpTurns})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, err := c.Next()
	if err != nil {
		return nil, refused(err)
	}
	return r.Services, nil
}

// maxTurns is how many of those who wait are shown.
const maxTurns = 20

// turnsTable is where each of those who wait stands, "" if nobody does.
func turnsTable(waiting []supervisor.Status, width int) string {
	if len(waiting) == 0 {
		return ""
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\nWAITS FOR\tWHO\tPLACE")
	for _, st := range waiting[:min(len(waiting), maxTurns)] {
		fmt.Fprintln(t, tableLine([]string{st.Service, cut(printable(cmp.Or(st.Principal, "-")), 24), st.Detail}))
	}
	t.Flush()
	if more := len(waiting) - maxTurns; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return strings.Join(lines, "\n")
}
