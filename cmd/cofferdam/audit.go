package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/audit"
)

func auditCommand(p *project) *cobra.Command {
	var f format
	var denied bool
	var service string
	var tail int
	c := &cobra.Command{
		Use:   "audit",
		Short: "Show and verify what was decided",
		Long: `Audit lists the latest records of the application's log, running or not: every
decision, start, stop and limit. The log of cofferdam run is that of the
application "run".`,
		Example: `  cofferdam audit --denied
  cofferdam audit verify
  cofferdam -p run audit`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := p.auditLog()
			if err != nil {
				return err
			}
			last, err := lastRecords(path, tail, func(r audit.Record) bool {
				return (!denied || r.Verdict == audit.Deny) && (service == "" || r.Subject == service)
			})
			if err != nil {
				return err
			}
			header := []string{"ID", "TIME", "KIND", "SUBJECT", "OP", "OBJECT", "VERDICT", "WHY"}
			return rows(f, stdout, last, header, func(r audit.Record) []string {
				why := r.Rule
				if why == "" {
					why = r.Detail
				}
				return []string{
					audit.ID(r.Seq), r.Time.Local().Format("2006-01-02 15:04:05.000"), string(r.Kind),
					r.Subject, r.Op, r.Object, r.Verdict, why,
				}
			})
		},
	}
	c.Flags().BoolVar(&denied, "denied", false, "only what was denied")
	c.Flags().StringVar(&service, "service", "", "only what this service asked for or did")
	c.Flags().IntVarP(&tail, "tail", "n", 20, "how many of the latest records; -1 for all")
	c.RegisterFlagCompletionFunc("service", p.completeServices)
	f.flag(c)
	c.AddCommand(verifyCommand(p))
	return c
}

// lastRecords are the last n records that are wanted; all of them if n < 0.
func lastRecords(path string, n int, wanted func(audit.Record) bool) ([]audit.Record, error) {
	file, err := openLog(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var last []audit.Record
	err = audit.Scan(file, func(r audit.Record) error {
		if !wanted(r) {
			return nil
		}
		last = append(last, r)
		if n >= 0 && len(last) >= 2*n+1024 { // now and then, not for each record
			last = append(last[:0], last[len(last)-n:]...)
		}
		return nil
	})
	if n >= 0 && len(last) > n {
		last = last[len(last)-n:]
	}
	return last, err
}

func verifyCommand(p *project) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check that the log is one unbroken chain",
		Long: `Verify reads the whole log, that of the application or FILE, and checks that
each record carries the hash of the one before, from record 1 on. It needs
neither the application nor anything else of ours.

It prints the number of records and the head, the hash of the last one. That
records are missing at the end, or that the whole chain was made anew, shows only
in a head that is not the one noted earlier, elsewhere.

The exit code is 0 if the chain holds, and 1 if it does not or if the last line
is torn, which is what a crash leaves behind; the next up cuts it off, and records
that it did.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var path string
			var err error
			if len(args) > 0 {
				path = args[0]
			} else if path, err = p.auditLog(); err != nil {
				return err
			}
			report, err := verifyLog(path)
			damage := err != nil
			if damage && !errors.Is(err, audit.ErrDamaged) && !errors.Is(err, audit.ErrTorn) {
				return err
			}
			if f.name != "table" {
				if ferr := one(f, stdout, report); ferr != nil {
					return ferr
				}
			} else {
				printReport(path, report)
			}
			if damage {
				return &exitError{code: codeUnverified, err: fmt.Errorf("%s: %w", path, err)}
			}
			return nil
		},
	}
	f.flag(c)
	return c
}

// verifyLog verifies the log at path. A log that is being written to may end in
// the middle of a line for a moment: that is looked at again.
func verifyLog(path string) (audit.Report, error) {
	for again := 3; ; again-- {
		file, err := openLog(path)
		if err != nil {
			return audit.Report{}, err
		}
		report, err := audit.Verify(file)
		file.Close()
		if !errors.Is(err, audit.ErrTorn) || again == 0 {
			return report, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func printReport(path string, r audit.Report) {
	fmt.Fprintf(stdout, "log      %s\nrecords  %d\nhead     %s\n", printable(path), r.Records, r.Head)
	if r.Damaged == 0 {
		fmt.Fprintf(stdout, "chain    holds from record %s to %s\n", audit.ID(r.First), audit.ID(r.Last))
	}
	for _, d := range r.Damages {
		fmt.Fprintf(stdout, "damage   %s\n", printable(d.String()))
	}
	if more := r.Damaged - uint64(len(r.Damages)); more > 0 {
		fmt.Fprintf(stdout, "damage   and %d more\n", more)
	}
	if r.Torn > 0 {
		fmt.Fprintf(stdout, "torn     %d bytes after the last whole line\n", r.Torn)
	}
}

// auditLog is the log of the application that the command is about, with all in it
// that was decided before. With --project-name no manifest is needed.
func (p *project) auditLog() (string, error) {
	if err := p.checkName(); err != nil {
		return "", err
	}
	name := p.name
	if name == "" {
		app, err := p.load()
		if err != nil {
			return "", err
		}
		name = app.Name
	}
	dirs := dirsOf(name)
	if err := flushLog(adminSocket(dirs)); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: %s does not hand over the end of its log, and the latest permissions may be missing: %v\n", name, err)
	}
	return auditLog(dirs), nil
}

// flushTimeout is how long an application may take to hand over the end of its log.
const flushTimeout = 5 * time.Second

// flushLog makes an application that runs write down what it still has in memory.
// What does not run has nothing there, and what is another user's has a log that
// nobody else can read anyway.
func flushLog(socket string) error {
	c, err := admin.Ask(socket, admin.Request{Op: admin.OpFlush})
	if errors.Is(err, admin.ErrNotRunning) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	c.Timeout(flushTimeout)
	// One that ends before it answers has written everything.
	if _, err := c.Next(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// completeServices offers the services of the manifest to the shell.
func (p *project) completeServices(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	app, err := p.load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return serviceNames(app), cobra.ShellCompDirectiveNoFileComp
}
