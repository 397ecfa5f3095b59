package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func checkCommand(p *project) *cobra.Command {
	var f format
	var quiet bool
	var asserts []string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the manifest and show who may reach whom",
		Long: `Check reads the manifest as up would, without starting anything, and shows
what it means: every service with what it sees and may use, and every grant with
the line that gives it. What is not in the table is refused.

If it has labels, it also says of all that has one, and of what comes from outside,
where its data can get, on any path that the grants, the labels and the privileges
leave: cannot reach; reaches, with the shortest way; or only through a gate or a
service that uses a privilege. Then it lists the grants that no label lets anybody use.

  --format table    for people (default)
  --format yaml     the manifest with nothing left to a default
  --format json     {"resolved": the same, "graph": nodes and edges, "flow": the report}
  --format dot      the graph for Graphviz
  --format mermaid  the graph for Markdown

A manifest with errors gives one line for each, and exit code 78.`,
		Example: `  cofferdam check
  cofferdam check --format dot | dot -Tsvg > grants.svg`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			app, err := p.load()
			if err != nil {
				return err
			}
			allowed, err := budget(app)
			if err != nil {
				return err
			}
			for _, line := range asserts {
				if err := app.Assert(line); err != nil {
					return &exitError{code: codeNoFlow, err: fmt.Errorf("--assert: %w", err)}
				}
			}
			if quiet {
				return nil
			}
			if err := showApp(stdout, app, allowed, f.name); err != nil || f.name != "table" {
				return err
			}
			return p.showLive(stdout)
		},
	}
	f.flagOf(c, "", "table", "yaml", "json", "dot", "mermaid")
	c.Flags().StringArrayVar(&asserts, "assert", nil, "also: FROM -/-> TO, or FROM -/-> TO except NAME, as assert in the manifest; exit code 1 if it does not hold")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "only say what is wrong")
	return c
}

func showApp(w io.Writer, app *manifest.App, allowed supervisor.Budget, format string) error {
	switch format {
	case "yaml":
		_, err := w.Write(app.Resolved())
		return err
	case "json":
		graph, err := app.Graph("json")
		if err != nil {
			return err
		}
		enc := newEncoder(w)
		enc.SetIndent("", "  ")
		out := map[string]any{"resolved": json.RawMessage(app.ResolvedJSON()), "graph": json.RawMessage(graph)}
		if app.Labelled() {
			report, err := app.Flow()
			if out["flow"] = report; err != nil {
				out["flow"] = map[string]string{"error": err.Error()}
			}
		}
		return enc.Encode(out)
	case "dot", "mermaid":
		graph, err := app.Graph(format)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, graph)
		return err
	}
	return showSummary(w, app, allowed)
}

// showSummary is the manifest in two tables: what each service has, and who may
// reach whom.
func showSummary(w io.Writer, app *manifest.App, allowed supervisor.Budget) error {
	fmt.Fprintf(w, "%s: %s, %s\n", app.Name, plural(len(app.Services), "service"), plural(len(app.Grants()), "grant"))
	if app.Gateway != nil {
		if app.Gateway.Listen != "" {
			fmt.Fprintf(w, "gateway listens on %s\n", app.Gateway.Listen)
		}
		for _, d := range app.Gateway.TCP {
			fmt.Fprintf(w, "gateway leads %s on to %s, for anybody who connects\n", d.Listen, d.To)
		}
	}
	fmt.Fprintf(w, "may use in all, on this host: %s\n", budgetText(allowed))
	if app.Egress != nil && app.Egress.Resolver != "" {
		fmt.Fprintf(w, "names outside are asked of %s\n", app.Egress.Resolver)
	}
	if len(app.AllowDegraded) > 0 {
		fmt.Fprintf(w, "may be missing on the host: %s\n", strings.Join(app.AllowDegraded, ", "))
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "SERVICE\tKIND\tPORTS\tREADS\tKEEPS\tMEMORY\tPIDS\tWALL\tRESTART")
	for _, s := range app.Services {
		fmt.Fprintln(tw, strings.Join([]string{
			s.Name, kindOf(s), portsOf(s), readsOf(s), keepsOf(s),
			manifest.FormatSize(s.Limits.Memory), countText(s.Limits.Pids), manifest.FormatDuration(s.Limits.Wall), s.Restart.Policy,
		}, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if app.Labelled() {
		fmt.Fprintln(tw, "SERVICE\tLABEL\tCLEARANCE\tOWNS\tINSTANCES")
		for _, s := range app.Services {
			fmt.Fprintln(tw, strings.Join([]string{s.Name, s.Label.String(), s.Clearance.String(), s.Owns.String(), s.Instances}, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(app.Shares) > 0 {
		fmt.Fprintln(tw, "SHARE\tMODE\tHOST")
		for _, s := range app.Shares {
			mode := "read-only"
			if s.Writable {
				mode = "writable (" + manifest.FormatSize(s.SizeBytes) + ")"
			}
			fmt.Fprintln(tw, strings.Join([]string{s.Name, mode, printable(s.From)}, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if err := app.Table(w); err != nil {
		return err
	}
	return showReach(w, app)
}

// showLive is what holds in the running application beside the manifest.
func (p *project) showLive(w io.Writer) error {
	r, err := p.one(admin.Request{Op: admin.OpGrants})
	if err != nil || len(r.Live)+len(r.Revoked) == 0 {
		return nil // it does not run, or by its manifest
	}
	fmt.Fprintln(w, "\nin the running application, besides (cofferdam grants says more):")
	for _, g := range r.Grants {
		what := fmt.Sprintf("%s %s %s (%s)", g.Service, g.Kind, printable(g.Object), g.Rule)
		switch {
		case g.Revoked:
			fmt.Fprintf(w, "  revoked  %s\n", what)
		case g.Number > 0:
			fmt.Fprintf(w, "  granted  %s\n", what)
		}
	}
	return nil
}

// showReach is where data can get.
func showReach(w io.Writer, app *manifest.App) error {
	if !app.Labelled() {
		_, err := fmt.Fprintln(w, "\nnothing has a label: data can get wherever a grant leads")
		return err
	}
	fmt.Fprintln(w)
	report, err := app.Flow()
	if err != nil { // which says nothing against the manifest
		_, err = fmt.Fprintf(w, "where data can get was not found out: %v\n", err)
		return err
	}
	return report.Text(w)
}

func kindOf(s *manifest.Service) string {
	switch {
	case s.Template:
		return "template"
	case s.Stdio != "":
		return "per call"
	case s.Warm > 0:
		return fmt.Sprintf("service, %d warm", s.Warm)
	}
	return "service"
}

func portsOf(s *manifest.Service) string {
	var ports []string
	if s.HTTP != 0 {
		ports = append(ports, fmt.Sprintf("http:%d", s.HTTP))
	}
	for _, p := range s.TCP {
		ports = append(ports, strconv.Itoa(p))
	}
	return orDash(ports)
}

// readsOf and keepsOf are places inside; which host files they are is in the
// resolved form.
func readsOf(s *manifest.Service) string {
	var paths []string
	if s.Runtime == "host" {
		paths = append(paths, "runtime")
	}
	for _, f := range s.Files {
		paths = append(paths, f.To)
	}
	return orDash(paths)
}

func keepsOf(s *manifest.Service) string {
	var volumes []string
	for _, v := range s.Volumes {
		text := v.To + " (" + manifest.FormatSize(v.SizeBytes)
		if v.ReadOnly {
			text += ", read-only"
		}
		volumes = append(volumes, text+")")
	}
	return orDash(volumes)
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return printable(strings.Join(list, " "))
}

func countText(n int) string {
	if n == manifest.Unlimited {
		return "unlimited"
	}
	return strconv.Itoa(n)
}
