package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func grantCommand(p *project) *cobra.Command {
	var l manifest.Live
	var within time.Duration
	c := &cobra.Command{
		Use:   "grant SERVICE KIND OBJECT",
		Short: "Let a running service use one thing more",
		Long: `Grant lets a service of the running application use one thing more, at once. It means
what the line would mean among the uses of the service in the manifest, and is refused
where that would be: what is not there, what labels forbid, and what would break an
assertion is not granted. It holds until its time is over, it is revoked, or the application
ends or reads another manifest; to keep it, write the line that is printed.

Kind and object are those of uses in the manifest:

  call SERVICE.METHOD      spawn TEMPLATE       egress HOST:PORT [--private]
  connect SERVICE[:PORT]   post, put, take MAILBOX
  share NAME [--into SERVICE]

Only who started the application, and root, can grant; what is confined cannot reach
this. Each grant and each refusal is in the audit log, with the user who asked.`,
		Example: `  cofferdam grant front call bank.balance
  cofferdam grant tool egress example.com:443 --for 10m`,
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: p.completeGrant,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.Service, l.Kind, l.Object = args[0], args[1], args[2]
			if cmd.Flags().Changed("for") && within <= 0 {
				return fmt.Errorf("--for %v: for how long is it?", within)
			}
			return p.change(admin.Request{Op: admin.OpGrant, Live: &l, For: int64(within)})
		},
	}
	c.Flags().DurationVar(&within, "for", 0, "for how long, such as 10m; then it is taken back (default: until the application ends)")
	c.Flags().StringVar(&l.Into, "into", "", "of a share: the service that sees what is mounted (default: the service itself)")
	c.Flags().BoolVar(&l.Private, "private", false, "of an egress: it may lead to addresses that are not of the Internet")
	c.RegisterFlagCompletionFunc("into", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return p.completeServices(cmd, nil, word)
	})
	return c
}

func revokeCommand(p *project) *cobra.Command {
	var l manifest.Live
	c := &cobra.Command{
		Use:   "revoke SERVICE KIND OBJECT",
		Short: "Take a grant back from a running service",
		Long: `Revoke takes a grant back, at once, whether it was given with grant or stands in the
manifest. What was begun by it ends: calls as canceled, connections are closed, spawned
instances killed, directories unmounted.

What stands in the manifest is revoked until that is read again, by up: to be without
it for good, delete its line.`,
		Example:           `  cofferdam revoke front call bank.balance`,
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: p.completeRevoke,
		RunE: func(_ *cobra.Command, args []string) error {
			l.Service, l.Kind, l.Object = args[0], args[1], args[2]
			return p.change(admin.Request{Op: admin.OpRevoke, Live: &l})
		},
	}
	c.Flags().StringVar(&l.Into, "into", "", "of a share: the service that sees what is mounted (default: the service itself)")
	return c
}

func grantsCommand(p *project) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "grants",
		Short: "List who may reach whom in the running application",
		Long: `Grants lists every grant that is in force in the running application, those that were
given while it runs with the user who gave them and until when, and those of the manifest
that were revoked.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r, err := p.one(admin.Request{Op: admin.OpGrants})
			if err != nil {
				return err
			}
			header := []string{"SERVICE", "MAY", "OBJECT", "BECAUSE OF", "BY USER", "UNTIL"}
			return rows(f, stdout, r.Grants, header, func(g supervisor.Grant) []string {
				by, until := "-", "-"
				if g.By != nil {
					by = fmt.Sprint(*g.By)
				}
				switch {
				case g.Revoked:
					until = "revoked"
				case g.Until != nil:
					until = g.Until.Local().Format(time.DateTime)
				case g.Number > 0:
					until = "the end"
				}
				return []string{g.Service, g.Kind, g.Object, g.Rule, by, until}
			})
		},
	}
	f.flag(c)
	return c
}

// one asks the running application for one response.
func (p *project) one(req admin.Request) (admin.Response, error) {
	c, err := p.ask(req)
	if err != nil {
		return admin.Response{}, err
	}
	defer c.Close()
	r, err := c.Next()
	return r, refused(err)
}

// change grants or revokes, and says what became of it.
func (p *project) change(req admin.Request) error {
	if !slices.Contains(manifest.LiveKinds, req.Live.Kind) {
		return fmt.Errorf("%q is no kind of grant; there are %s", req.Live.Kind, strings.Join(manifest.LiveKinds, ", "))
	}
	r, err := p.one(req)
	if err != nil {
		return err
	}
	if r.Change == nil {
		return errors.New("the application did not say what became of it")
	}
	g := r.Change.Grant
	what := fmt.Sprintf("%s %s %s", g.Service, g.Kind, g.Object)
	switch {
	case req.Op == admin.OpRevoke && g.Revoked:
		fmt.Fprintf(os.Stderr, "revoked: %s, until the manifest is read again (it stands at %s)\n", what, g.Rule)
	case req.Op == admin.OpRevoke:
		fmt.Fprintf(os.Stderr, "revoked: %s\n", what)
	case g.Number == 0:
		fmt.Fprintf(os.Stderr, "granted again: %s (%s)\n", what, g.Rule)
	default:
		until := "until the application ends"
		if g.Until != nil {
			until = "until " + g.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(os.Stderr, "granted: %s, %s (grant %d)\n", what, until, g.Number)
		fmt.Fprintf(os.Stderr, "to keep it, write under services.%s.uses:\n  %s\n", g.Service, printable(g.Line))
	}
	if cut := cutText(r.Change.Cut.Calls, "call", r.Change.Cut.Connections, "connection", r.Change.Cut.Waits, "wait", r.Change.Cut.Children, "spawned instance", r.Change.Cut.Mounts, "mount"); cut != "" {
		fmt.Fprintf(os.Stderr, "cut: %s\n", cut)
	}
	for _, note := range r.Change.Notes {
		fmt.Fprintf(os.Stderr, "note: %s\n", printable(note))
	}
	return nil
}

// cutText is how many of each there were, where there were any.
func cutText(pairs ...any) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if n := pairs[i].(int); n > 0 {
			parts = append(parts, plural(n, pairs[i+1].(string)))
		}
	}
	return strings.Join(parts, ", ")
}

// completeGrant offers to the shell what could be granted.
func (p *project) completeGrant(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	const no = cobra.ShellCompDirectiveNoFileComp
	switch len(args) {
	case 0:
		return p.completeServices(cmd, args, word)
	case 1:
		return manifest.LiveKinds, no
	case 2:
		app, err := p.load()
		if err != nil {
			return nil, no
		}
		return objects(app, args[1]), no
	}
	return nil, no
}

// objects are the things of a kind that the manifest declares.
func objects(app *manifest.App, kind string) (all []string) {
	for _, s := range app.Services {
		switch kind {
		case "call":
			for _, m := range s.Provides {
				all = append(all, s.Name+"."+m.Call)
			}
		case "spawn":
			if s.Template {
				all = append(all, s.Name)
			}
		case "connect":
			for _, port := range append([]int{s.HTTP}, s.TCP...) {
				if port != 0 {
					all = append(all, fmt.Sprintf("%s:%d", s.Name, port))
				}
			}
		}
	}
	for _, m := range app.Mailboxes {
		if kind == "post" || m.Owner == "" && (kind == "put" || kind == "take") {
			all = append(all, m.Name)
		}
	}
	if kind == "share" {
		for _, s := range app.Shares {
			all = append(all, s.Name)
		}
	}
	return all
}

// completeRevoke offers to the shell what is granted, by the running application or else by
// the manifest.
func (p *project) completeRevoke(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var all []string
	add := func(words ...string) {
		if len(args) < len(words) && slices.Equal(args, words[:len(args)]) && !slices.Contains(all, words[len(args)]) {
			all = append(all, words[len(args)])
		}
	}
	if r, err := p.one(admin.Request{Op: admin.OpGrants}); err == nil {
		for _, g := range r.Grants {
			if !g.Revoked {
				add(g.Service, liveKind(g.Kind), g.Object)
			}
		}
	} else if app, err := p.load(); err == nil {
		for _, g := range app.Grants() {
			add(g.From, liveKind(g.Kind), g.Object())
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// liveKind is the kind of a grant as it is given.
func liveKind(kind string) string {
	if kind == "http" || kind == "tcp" {
		return "connect"
	}
	return cmp.Or(kind, "call")
}
