package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/audit"
	"cofferdam/supervisor"
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
decision, start, stop and limit. The log's own checkpoints are not shown here. The log
of cofferdam run is that of the application "run".`,
		Example: `  cofferdam audit --denied
  cofferdam audit query --principal alice --since 1h
  cofferdam audit verify
  cofferdam -p run audit`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := p.auditLog()
			if err != nil {
				return err
			}
			last, err := lastRecords(path, tail, func(r audit.Record) bool {
				return r.Checkpoint == nil && (!denied || r.Verdict == audit.Deny) && (service == "" || r.Subject == service)
			})
			if err != nil {
				return err
			}
			return rows(f, stdout, last, auditHeader, auditRow)
		},
	}
	c.Flags().BoolVar(&denied, "denied", false, "only what was denied")
	c.Flags().StringVar(&service, "service", "", "only what this service asked for or did")
	c.Flags().IntVarP(&tail, "tail", "n", 20, "how many of the latest records; -1 for all")
	c.RegisterFlagCompletionFunc("service", p.completeServices)
	f.flag(c)
	c.AddCommand(queryCommand(p), verifyCommand(p), keyCommand(p))
	return c
}

// auditRow is a record as a row of a table.
func auditRow(r audit.Record) []string {
	why := r.Rule
	if why == "" {
		why = r.Detail
	}
	return []string{
		audit.ID(r.Seq), r.Time.Local().Format("2006-01-02 15:04:05.000"), string(r.Kind),
		r.Subject, r.Op, r.Object, r.Verdict, why,
	}
}

var auditHeader = []string{"ID", "TIME", "KIND", "SUBJECT", "OP", "OBJECT", "VERDICT", "WHY"}

// lastRecords are the last n records that are wanted; all of them if n < 0.
func lastRecords(path string, n int, wanted func(audit.Record) bool) ([]audit.Record, error) {
	log, err := openLog(path)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var last []audit.Record
	err = log.ScanBack(func(r audit.Record) error {
		if len(last) == n {
			return errEnough
		}
		if wanted(r) {
			last = append(last, r)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	slices.Reverse(last)
	return last, err
}

// openLog opens an audit log for reading, and says who can if we cannot.
func openLog(path string) (*audit.Segments, error) {
	s, err := audit.OpenSegments(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("no audit log at %s: the application was never started by this user", path)
	case errors.Is(err, os.ErrPermission):
		return nil, &exitError{code: codeDenied, err: err}
	}
	return s, err
}

// auditLog is the log of the application that the command is about, with all in it
// that was decided before. With --project-name no manifest is needed.
func (p *project) auditLog() (string, error) {
	dirs, err := p.auditDirs()
	if err != nil {
		return "", err
	}
	liveHead(dirs)
	return auditLog(dirs), nil
}

func (p *project) auditDirs() (supervisor.Dirs, error) {
	if err := p.checkName(); err != nil {
		return supervisor.Dirs{}, err
	}
	name := p.name
	if name == "" {
		app, err := p.load()
		if err != nil {
			return supervisor.Dirs{}, err
		}
		name = app.Name
	}
	return dirsOf(name), nil
}

// flushTimeout is how long an application may take to hand over the end of its log.
const flushTimeout = 5 * time.Second

// liveHead makes an application that runs write down what it still has in memory, and
// is where its log ends then; nil for one that does not run.
func liveHead(dirs supervisor.Dirs) *audit.Head {
	head, err := askHead(adminSocket(dirs))
	if err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: the application does not hand over the end of its log, and the latest permissions may be missing: %v\n", err)
	}
	return head
}

// askHead asks who listens at socket. What does not run has nothing to hand over, and
// what is another user's has a log that nobody else can read anyway.
func askHead(socket string) (*audit.Head, error) {
	c, err := admin.Ask(socket, admin.Request{Op: admin.OpFlush})
	if errors.Is(err, admin.ErrNotRunning) || errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.Timeout(flushTimeout)
	r, err := c.Next()
	if errors.Is(err, io.EOF) { // it ended before it could answer, and has written everything
		return nil, nil
	}
	return r.Head, err
}

// completeServices offers the services of the manifest to the shell.
func (p *project) completeServices(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	app, err := p.load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return serviceNames(app), cobra.ShellCompDirectiveNoFileComp
}
