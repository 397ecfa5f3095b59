package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/audit"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func whyCommand(p *project) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "why [ID]",
		Short: "Explain a decision, and the line that would change it",
		Long: `Why shows the record with this ID (see cofferdam audit), or the latest denial
without one. It asks the code that decided once more, under the manifest as it is
now and with what was granted and revoked while the application runs, and shows what to
write in it for a denial to become a grant, or what to type for it to become one at once.

What is asked again is whether an instance like that one may: an instance that
its spawner bound something to, if the record permits something only to those.`,
		Example: `  cofferdam why        the latest denial
  cofferdam why 7f3a`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := p.auditLog()
			if err != nil {
				return err
			}
			var r audit.Record
			if len(args) > 0 {
				r, err = findRecord(path, args[0])
			} else {
				r, err = lastDenial(path)
			}
			if err != nil {
				return err
			}
			e, err := p.explain(r)
			if err != nil {
				return err
			}
			if f.name != "table" {
				return one(f, stdout, e)
			}
			e.print()
			return nil
		},
	}
	f.flag(c)
	return c
}

// explanation is what there is to say about a record.
type explanation struct {
	ID     string       `json:"id"`
	Record audit.Record `json:"record"`

	// Of decisions that a grant is needed for: the answer under the present
	// manifest, the rule, and what to write, line by line.
	Now   string   `json:"now,omitempty"`
	Rule  string   `json:"rule,omitempty"`
	Write []string `json:"write,omitempty"`
	Grant string   `json:"grant,omitempty"` // or the command that gives it while the application runs
	Note  string   `json:"note,omitempty"`

	// Of decisions in which labels had a part: why they refuse it.
	Labels *labelReason `json:"labels,omitempty"`
}

func (p *project) explain(r audit.Record) (explanation, error) {
	e := explanation{ID: audit.ID(r.Seq), Record: r}
	if r.Kind != audit.KindDecision {
		e.Note = kindNotes[r.Kind]
		return e, nil
	}
	app, live, err := p.present()
	if err != nil {
		return e, err
	}
	// The record does not say whether something was bound to the instance. What
	// was permitted may have needed it; what was denied did not get by with it.
	v, err := supervisor.Decide(app, r.Subject, r.Op, r.Object, r.Verdict == audit.Allow)
	if addr, ok := addressOf(r); ok {
		v, err = supervisor.DecideAddress(app, r.Subject, r.Object, addr)
	}
	why, labelErr := askLabels(app, r)
	if labelErr != nil {
		return e, labelErr
	}
	if r.Verdict == audit.Deny {
		e.Labels = why
	}
	if err != nil {
		e.Note = "it concerns the environment itself: " + err.Error()
		return e, nil
	}
	e.Now, e.Rule = audit.Allow, v.Rule
	if e.Labels != nil && v.Allowed {
		e.Now, e.Rule = audit.Deny, v.Rule+", and by its labels"
		e.Note = "labels are asked as they were then"
		return e, nil
	}
	if v.Allowed && r.Verdict == audit.Deny && strings.HasPrefix(r.Rule, v.Rule+": ") {
		e.Now, e.Note = "", "it is granted, and was refused for what the rule says besides"
		return e, nil
	}
	if !v.Allowed {
		e.Now, e.Labels = audit.Deny, nil
		if lines := supervisor.GrantLine(app, r.Subject, r.Op, r.Object); lines != "" {
			e.Write = strings.Split(lines, "\n")
		} else {
			e.Note = "no single line of the manifest grants this: its subject or its object is not declared, or it is granted on a condition that was not met"
		}
	}
	if l, ok := supervisor.LiveFor(app, r.Subject, r.Op, r.Object); ok && !v.Allowed {
		e.Grant = p.grantLine(l)
	}
	switch {
	case e.Now == r.Verdict:
	case live:
		e.Note = "that is how it is now, with what was granted and revoked while it runs: cofferdam grants"
	default:
		e.Note = "the manifest has changed since; a running application keeps the one it was started with"
	}
	return e, nil
}

// kindNotes say what records are that nobody decided.
var kindNotes = map[audit.Kind]string{
	audit.KindStart: "no decision: an environment was started",
	audit.KindExit:  "no decision: an environment ended",
	audit.KindLimit: "no decision: a limit fired",
	audit.KindGrant: "no decision: a grant was given or taken back",
	audit.KindMount: "no decision: something was mounted or unmounted",
	audit.KindApp:   "no decision: it concerns the application as a whole",

	audit.KindCheckpoint: "no decision: the log signs what it holds so far",
}

func (e explanation) print() {
	r := e.Record
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(stdout, "%-9s %s\n", name, printable(text))
		}
	}
	line("record", e.ID)
	line("time", r.Time.Local().Format(time.RFC3339Nano))
	line("subject", strings.TrimSpace(r.Subject+" "+parens(r.Instance)))
	line("principal", r.Principal)
	line("operation", r.Op)
	line("object", r.Object)
	line("verdict", r.Verdict)
	line("rule", r.Rule)
	line("detail", r.Detail)
	printLabels(line, r.Labels)
	line("degraded", r.Degraded)
	if e.Now != "" {
		line("now", e.Now+" "+parens(e.Rule))
	}
	line("note", e.Note)
	if e.Labels != nil {
		e.Labels.print(line)
	}
	if len(e.Write) > 0 {
		fmt.Fprintf(stdout, "\nto allow it, write at\n")
		for _, l := range e.Write {
			fmt.Fprintf(stdout, "  %s\n", printable(l))
		}
	}
	if e.Grant != "" {
		fmt.Fprintf(stdout, "\nto allow it now, while the application runs\n  %s\n", printable(e.Grant))
	}
}

// present is the manifest, and if the application runs, with what was granted and revoked
// since; live tells whether there was any.
func (p *project) present() (app *manifest.App, live bool, err error) {
	if app, err = p.load(); err != nil {
		return nil, false, err
	}
	r, err := p.one(admin.Request{Op: admin.OpGrants})
	if err != nil || len(r.Live)+len(r.Revoked) == 0 {
		return app, false, nil
	}
	var revoked []manifest.Grant
	for _, g := range r.Revoked {
		if there, ok := app.Granted(g.Service, liveKind(g.Kind), g.Object, ""); ok {
			revoked = append(revoked, there)
		}
	}
	with, err := app.With(r.Live, revoked)
	if err != nil {
		return app, false, nil // the file says something else by now
	}
	return with, true, nil
}

// grantLine is the command that gives l.
func (p *project) grantLine(l supervisor.Live) string {
	line := "cofferdam "
	switch {
	case p.name != "":
		line += "-p " + p.name + " "
	case p.file != "cofferdam.yaml":
		line += "-f " + shellWord(p.file) + " "
	}
	line += fmt.Sprintf("grant %s %s %s", l.Service, l.Kind, shellWord(l.Object))
	if l.Into != "" {
		line += " --into " + l.Into
	}
	if l.Private {
		line += " --private"
	}
	return line
}

// shellWord is s as a shell reads it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(plainRunes, c) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,="

func parens(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func findRecord(path, id string) (audit.Record, error) {
	seq, err := audit.ParseID(id)
	if err != nil {
		return audit.Record{}, err
	}
	log, err := openLog(path)
	if err != nil {
		return audit.Record{}, err
	}
	defer log.Close()
	r, err := log.Find(seq)
	if errors.Is(err, audit.ErrNotFound) {
		return r, fmt.Errorf("%s has no record %s; cofferdam audit lists the latest", path, id)
	}
	return r, err
}

func lastDenial(path string) (audit.Record, error) {
	log, err := openLog(path)
	if err != nil {
		return audit.Record{}, err
	}
	defer log.Close()
	var last audit.Record
	err = log.ScanBack(func(r audit.Record) error {
		if r.Verdict == audit.Deny {
			last = r
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && last.Seq == 0 {
		err = fmt.Errorf("nothing was denied yet, says %s", path)
	}
	return last, err
}
