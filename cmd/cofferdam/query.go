package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/audit"
)

// filter says which records are wanted: those that have what it asks for, of each kind
// of question that it asks.
type filter struct {
	services, instances, principals, ops, objects, rules []string // with * for anything
	verdicts, kinds                                      []string
	calls                                                []uint
	ids                                                  []string
	sinceText, untilText                                 string

	since, until time.Time
	ranges       [][2]uint64
}

func (q *filter) flags(c *cobra.Command) {
	c.Flags().StringArrayVar(&q.services, "service", nil, "who asked, or what was started or stopped")
	c.Flags().StringArrayVar(&q.instances, "instance", nil, "the same, one environment of it")
	c.Flags().StringArrayVar(&q.principals, "principal", nil, "for whom it ran or asked")
	c.Flags().StringArrayVar(&q.ops, "op", nil, "what was asked: call, connect, spawn, …")
	c.Flags().StringArrayVar(&q.objects, "object", nil, "what it was asked for, such as bank.transfer")
	c.Flags().StringArrayVar(&q.rules, "rule", nil, "the line of the manifest, such as cofferdam.yaml:31")
	c.Flags().StringArrayVar(&q.verdicts, "verdict", nil, "allow or deny")
	c.Flags().StringArrayVar(&q.kinds, "kind", nil, "decision, start, exit, limit, grant, mount, app, checkpoint, …")
	c.Flags().UintSliceVar(&q.calls, "call", nil, "the monitor's number of the call")
	c.Flags().StringArrayVar(&q.ids, "id", nil, "the record's ID, or FIRST..LAST")
	c.Flags().StringVar(&q.sinceText, "since", "", "not before: 2026-11-30T12:00:00, with a zone or in local time, a day, or how long ago, such as 90m")
	c.Flags().StringVar(&q.untilText, "until", "", "not after: the same")
	fixed := func(flag string, words ...string) {
		c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	fixed("verdict", audit.Allow, audit.Deny)
	fixed("kind", "decision", "start", "exit", "limit", "grant", "mount", "app", "checkpoint")
}

// parse reads what was written.
func (q *filter) parse(now time.Time) (err error) {
	if q.since, err = parseWhen("--since", q.sinceText, now); err != nil {
		return err
	}
	if q.until, err = parseWhen("--until", q.untilText, now); err != nil {
		return err
	}
	for _, v := range q.verdicts {
		if v != audit.Allow && v != audit.Deny {
			return fmt.Errorf("--verdict %q: allow or deny", v)
		}
	}
	for _, id := range q.ids {
		from, to, is := strings.Cut(id, "..")
		if !is {
			to = from
		}
		first, err := audit.ParseID(from)
		if err != nil {
			return fmt.Errorf("--id: %w", err)
		}
		last, err := audit.ParseID(to)
		if err != nil {
			return fmt.Errorf("--id: %w", err)
		}
		if last < first {
			return fmt.Errorf("--id %q: ends before it begins", id)
		}
		q.ranges = append(q.ranges, [2]uint64{first, last})
	}
	return nil
}

// whenLayouts are the ways to write a time. Those without a zone are local.
var whenLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// parseWhen reads a time, or how long ago it was; nothing is no time.
func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range whenLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q: neither a time such as 2026-11-30T12:00:00 or 2026-11-30, nor how long ago, such as 90m or 36h", flag, text)
}

// clockSlack is how far a host's clock may have been set back without --since missing
// a record.
const clockSlack = time.Hour

// before tells of a record that neither it nor any before it is wanted.
func (q *filter) before(r audit.Record) bool {
	if !q.since.IsZero() && r.Time.Before(q.since.Add(-clockSlack)) {
		return true
	}
	return len(q.ranges) > 0 && !slices.ContainsFunc(q.ranges, func(ids [2]uint64) bool { return r.Seq > ids[0] })
}

// over tells of a record that none after it is wanted.
func (q *filter) over(r audit.Record) bool {
	return len(q.ranges) > 0 && !slices.ContainsFunc(q.ranges, func(ids [2]uint64) bool { return r.Seq <= ids[1] })
}

// wants tells whether a record is wanted.
func (q *filter) wants(r audit.Record) bool {
	return like(q.services, r.Subject) && like(q.instances, r.Instance) && like(q.principals, r.Principal) &&
		like(q.ops, r.Op) && like(q.objects, r.Object) && like(q.rules, r.Rule) &&
		(len(q.verdicts) == 0 || slices.Contains(q.verdicts, r.Verdict)) &&
		(len(q.kinds) == 0 || slices.Contains(q.kinds, string(r.Kind))) &&
		(len(q.calls) == 0 || slices.Contains(q.calls, uint(r.Call))) &&
		(len(q.ranges) == 0 || slices.ContainsFunc(q.ranges, func(ids [2]uint64) bool { return ids[0] <= r.Seq && r.Seq <= ids[1] })) &&
		(q.since.IsZero() || !r.Time.Before(q.since)) && (q.until.IsZero() || !r.Time.After(q.until))
}

// like tells whether s is one of patterns, or there are none.
func like(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matches(p, s) })
}

// matches tells whether s is pattern, where each * stands for any text.
func matches(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		_, after, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, last)
}

func queryCommand(p *project) *cobra.Command {
	var f format
	var q filter
	var file string
	c := &cobra.Command{
		Use:   "query",
		Short: "Find records, by who, what and when",
		Long: `Query prints the records that have all that is asked for, the oldest first, over all
segments of the log, as it reads them. A flag given twice asks for either; * in what names
something stands for any text.

The log is of the application, running or not, or the copy that --log names.`,
		Example: `  cofferdam audit query --principal alice --since 1h
  cofferdam audit query --verdict deny --op connect --object 'bank:*'
  cofferdam audit query --kind start --kind exit --format jsonl | jq .end.wall_ns
  cofferdam audit query --call 77`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := q.parse(time.Now()); err != nil {
				return err
			}
			out := newRecordWriter(f, stdout)
			path := file
			if path == "" {
				var err error
				if path, err = p.auditLog(); err != nil {
					return err
				}
			}
			log, err := openLog(path)
			if err != nil {
				return err
			}
			defer log.Close()
			err = log.Scan(q.before, func(r audit.Record) error {
				if q.over(r) {
					return errEnough
				}
				if q.wants(r) {
					return out.write(r)
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				err = nil
			}
			return errors.Join(err, out.close())
		},
	}
	q.flags(c)
	c.Flags().StringVar(&file, "log", "", "the log to read, or its directory, instead of the application's")
	c.RegisterFlagCompletionFunc("service", p.completeServices)
	f.flag(c)
	return c
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// recordWriter prints records one by one.
type recordWriter struct {
	format
	w   io.Writer
	enc *json.Encoder
	tab *tabwriter.Writer
	n   int
}

// tableRows is after how many rows a table is printed, each with columns of its own
// width: it need not be kept.
const tableRows = 200

func newRecordWriter(f format, w io.Writer) *recordWriter {
	o := &recordWriter{format: f, w: w, enc: newEncoder(w)}
	if f.name == "table" {
		o.tab = tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(o.tab, strings.Join(auditHeader, "\t"))
	}
	return o
}

func (o *recordWriter) write(r audit.Record) error {
	o.n++
	switch o.name {
	case "table":
		fmt.Fprintln(o.tab, tableLine(auditRow(r)))
		if o.n%tableRows == 0 {
			return o.tab.Flush()
		}
		return nil
	case "json":
		begin := ","
		if o.n == 1 {
			begin = "["
		}
		if _, err := io.WriteString(o.w, begin+"\n"); err != nil {
			return err
		}
	}
	return o.enc.Encode(r)
}

func (o *recordWriter) close() error {
	switch {
	case o.name == "table":
		return o.tab.Flush()
	case o.name == "json" && o.n == 0:
		_, err := io.WriteString(o.w, "[]\n")
		return err
	case o.name == "json":
		_, err := io.WriteString(o.w, "]\n")
		return err
	}
	return nil
}
