package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/audit"
)

// eventBuffer is how many events wait while older ones are replayed.
const eventBuffer = 1 << 14

func eventsCommand(p *project) *cobra.Command {
	var f format
	var service, sinceText string
	var kinds []string
	var allowed bool
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what happens, as it is recorded",
		Long: `Events shows what is recorded of a running application from now on: starts, ends,
limits, what was denied, health, and what concerns the application as a whole. It is the log of
decisions (cofferdam audit) without what was permitted, which --allowed adds.

With --since it begins with what is in the log, and goes on without a gap and without
showing anything twice. It ends with the application.

Nothing waits for who watches: what is not read in time is lost here, how much is told,
and cofferdam audit query still has it.`,
		Example: `  cofferdam events --kind exit --kind health
  cofferdam events --since 10m --service bank --format jsonl`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			show := eventShower(f)
			since, err := parseWhen("--since", sinceText, time.Now())
			if err != nil {
				return err
			}
			req := admin.Request{Op: admin.OpEvents, Service: service, Allowed: allowed}
			for _, k := range kinds {
				req.Kinds = append(req.Kinds, audit.Kind(k))
			}
			live, err := p.ask(req)
			if err != nil {
				return err
			}
			defer live.Close()
			first, err := live.Next()
			if err != nil || first.Head == nil {
				return refused(errors.Join(err, missingHead(first)))
			}
			come := make(chan admin.Response, eventBuffer)
			var ended error
			go func() {
				defer close(come)
				for {
					var r admin.Response
					if r, ended = live.Next(); ended != nil {
						return
					}
					come <- r
				}
			}()
			if !since.IsZero() {
				if err := p.replay(&req, since, first.Head.Seq, show); err != nil {
					return err
				}
			}
			for r := range come {
				if err := showEvent(r, show); err != nil {
					return err
				}
			}
			if errors.Is(ended, io.EOF) {
				return nil
			}
			return refused(ended)
		},
	}
	c.Flags().StringVar(&service, "service", "", "only what this service asked for or did")
	c.Flags().StringArrayVar(&kinds, "kind", nil, "decision, start, exit, limit, health, mount, grant or app; can be repeated")
	c.Flags().StringVar(&sinceText, "since", "", "begin with what was recorded since then: a time such as 2026-11-30T12:00:00, or how long ago")
	c.Flags().BoolVar(&allowed, "allowed", false, "what was permitted, too")
	c.RegisterFlagCompletionFunc("service", p.completeServices)
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"decision", "start", "exit", "limit", "health", "mount", "grant", "app"}, cobra.ShellCompDirectiveNoFileComp))
	f.flag(c)
	return c
}

func missingHead(r admin.Response) error {
	if r.Head == nil {
		return errors.New("the application does not say where its log ends")
	}
	return nil
}

// event is a record, or how many were lost.
type event struct {
	audit.Record
	lost uint64
}

func showEvent(r admin.Response, show func(event) error) error {
	if r.Lost > 0 {
		return show(event{lost: r.Lost})
	}
	var e event
	if err := json.Unmarshal(r.Event, &e.Record); err != nil {
		return err
	}
	return show(e)
}

// replay shows the events that were recorded since then, up to record last.
func (p *project) replay(req *admin.Request, since time.Time, last uint64, show func(event) error) error {
	dirs, err := p.auditDirs()
	if err != nil {
		return err
	}
	log, err := openLog(auditLog(dirs))
	if err != nil {
		return err
	}
	defer log.Close()
	q := filter{since: since}
	err = log.Scan(q.before, func(r audit.Record) error {
		if r.Seq > last {
			return errEnough
		}
		if q.wants(r) && req.Wants(r) {
			return show(event{Record: r})
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// eventShower prints events one by one. Columns have a width that most fit in: what
// comes is not known.
func eventShower(f format) func(event) error {
	if f.name != "table" { // a line each also as json: a stream has no end that an array could have
		enc := newEncoder(stdout)
		return func(e event) error {
			if e.lost > 0 {
				return enc.Encode(map[string]uint64{"lost": e.lost})
			}
			return enc.Encode(e.Record)
		}
	}
	return func(e event) error {
		if e.lost > 0 {
			_, err := fmt.Fprintf(stdout, "(%s lost here, because they were not read in time)\n", plural(int(e.lost), "event"))
			return err
		}
		cells := auditRow(e.Record)
		for i, c := range cells {
			cells[i] = printable(c)
		}
		line := fmt.Sprintf("%-6s %s %-8s %-12s %-8s %-20s %-6s %s", cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], cells[7])
		_, err := fmt.Fprintln(stdout, strings.TrimRight(line, " "))
		return err
	}
}
