package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func planCommand(p *project) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "plan",
		Short: "Say what up would change in the running application",
		Long: `Plan compares the manifest with the one that the running application goes by, and says
what cofferdam up would do: what is in force at once, which instances are replaced
and because of which key, and what cannot change while it runs, and why. It changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.reload(0, true, f)
			return err
		},
	}
	f.flag(c)
	return c
}

// reload makes the manifest that of the running application, or says what that takes, in that format. It
// reports false if none runs.
func (p *project) reload(within time.Duration, dryRun bool, show format) (running bool, err error) {
	app, err := p.load()
	if err != nil {
		return false, err
	}
	f, err := os.Open(p.file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	w := &supervisor.Written{File: app.File, Dir: app.Dir, Name: app.Name, Paths: app.Paths(), Prints: app.Prints()}
	socket := adminSocket(dirsOf(app.Name))
	c, err := admin.Ask(socket, admin.Request{Op: admin.OpStatus})
	if errors.Is(err, admin.ErrNotRunning) || errors.Is(err, os.ErrNotExist) {
		if !dryRun {
			return false, nil
		}
		fmt.Fprintf(os.Stderr, "%s is not running: up would start all of it\n", app.Name)
		if show.name == "table" {
			return false, nil
		}
		return false, one(show, stdout, nil) // null is not [], of one that runs and stays as it is
	}
	if errors.Is(err, os.ErrPermission) {
		return true, &exitError{code: codeDenied, err: fmt.Errorf("application %q belongs to another user: %w", app.Name, err)}
	}
	if err != nil {
		return true, err
	}
	status, err := c.Next()
	c.Close()
	if err != nil {
		return true, refused(err)
	}
	c, err = admin.Ask(socket, admin.Request{Op: admin.OpReload, Written: w, DryRun: dryRun, Within: int64(within)}, f)
	if err != nil {
		return true, err
	}
	defer c.Close()
	for {
		r, err := c.Next()
		switch {
		case errors.Is(err, io.EOF):
			return true, errEndedMeanwhile
		case err != nil:
			return true, refused(err)
		case r.Done:
			return true, nil
		case r.Plan != nil && dryRun && show.name != "table":
			if err := rows(show, stdout, changesOf(r.Plan), nil, nil); err != nil {
				return true, err
			}
		case r.Plan != nil && r.Plan.Empty():
			fmt.Fprintf(os.Stderr, "%s runs (process %d), and by this manifest: nothing is to change\n", app.Name, status.App.Pid)
		case r.Plan != nil && dryRun:
			showChanges(stdout, changesOf(r.Plan))
		case r.Plan != nil:
			showChanges(os.Stderr, changesOf(r.Plan))
		default:
			fmt.Fprintln(os.Stderr, printable(r.Said))
		}
	}
}

// change is something that a plan does.
type change struct {
	How  string `json:"how"`
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
}

func showChanges(w io.Writer, changes []change) {
	for _, c := range changes {
		why := ""
		if c.Why != "" {
			why = ": " + c.Why
		}
		fmt.Fprintf(w, "%-9s %s%s\n", c.How, printable(c.What), printable(why))
	}
}

// changesOf is what a plan does, in the order of what it costs.
func changesOf(plan *supervisor.Plan) (changes []change) {
	add := func(how, what, why string) { changes = append(changes, change{how, what, why}) }
	grant := func(g manifest.Grant) string { return g.From + " " + g.Kind + " " + g.Object() }
	for _, c := range plan.Fixed {
		add("cannot", c.Name, c.Why)
	}
	for _, c := range plan.Replaced {
		why := strings.Join(c.Keys, ", ")
		if c.Why != "" {
			why += " (" + c.Why + ")"
		}
		add("replaced", c.Name, why)
	}
	for _, name := range plan.Added {
		add("started", name, "")
	}
	for _, name := range plan.Removed {
		add("stopped", name, "")
	}
	before := make(map[string]manifest.Grant) // what there was of each; what only changed is neither given nor taken
	for _, g := range plan.Revoked {
		before[grant(g)] = g
	}
	for _, g := range plan.Granted {
		was, ok := before[grant(g)]
		if !ok {
			add("granted", grant(g), "")
			continue
		}
		delete(before, grant(g))
		why := "on other conditions"
		if now := g.AtMost(); now != was.AtMost() {
			why = fmt.Sprintf("at most %s, before %s", cmp.Or(now, "what there is"), cmp.Or(was.AtMost(), "what there is"))
		}
		add("changed", grant(g), why)
	}
	for _, g := range plan.Revoked {
		if _, ok := before[grant(g)]; ok {
			add("revoked", grant(g), "")
		}
	}
	for _, m := range plan.Mailboxes {
		add("emptied", "mailbox "+m, "")
	}
	for _, key := range plan.Live {
		add("live", key, "")
	}
	for _, note := range plan.Notes {
		add("note", note, "")
	}
	return changes
}
