package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func logsCommand(p *project) *cobra.Command {
	var f format
	var follow bool
	var tail int
	c := &cobra.Command{
		Use:   "logs [SERVICE]",
		Short: "Show what services printed",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			service := ""
			if len(args) > 0 {
				service = args[0]
			}
			app, err := p.load()
			if err != nil {
				return err
			}
			if err := checkService(app, service); err != nil {
				return err
			}
			show := lineShower(f, serviceNames(app))
			var live *admin.Client
			if follow { // first, so that no line falls between
				if live, err = p.ask(admin.Request{Op: admin.OpLogs, Service: service}); err != nil {
					return err
				}
				defer live.Close()
			}
			state := dirsOf(app.Name).State
			if _, err := os.Stat(state); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("nothing is kept at %s: the application was never started by this user", state)
			}
			lines, err := readLogs(filepath.Join(state, "logs"), service)
			if err != nil {
				return err
			}
			if tail >= 0 && len(lines) > tail {
				lines = lines[len(lines)-tail:]
			}
			for _, l := range lines {
				show(l)
			}
			for live != nil {
				r, err := live.Next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return refused(err)
				}
				show(*r.Line)
			}
			return nil
		},
	}
	c.ValidArgsFunction = p.completeServices
	c.Flags().BoolVar(&follow, "follow", false, "go on with what they print from now on")
	c.Flags().IntVarP(&tail, "tail", "n", -1, "how many of the latest lines; -1 for all")
	f.flag(c)
	return c
}

// checkService refuses a name that nothing of the application has.
func checkService(app *manifest.App, name string) error {
	if name == "" || slices.Contains(serviceNames(app), name) || name == "gateway" && supervisor.NeedsDoor(app) || name == "telemetry" && supervisor.NeedsTelemetry(app) {
		return nil
	}
	return fmt.Errorf("application %q has no service %q; it has %s", app.Name, name, strings.Join(serviceNames(app), ", "))
}

func lineShower(f format, services []string) func(supervisor.Line) {
	if f.name == "table" {
		return newPrinter(stdout, services).line
	}
	enc := newEncoder(stdout)
	return func(l supervisor.Line) { enc.Encode(l) }
}

// readLogs reads what is kept of one service, or of all, in order of time.
func readLogs(dir, service string) ([]supervisor.Line, error) {
	pattern := service
	if service == "" {
		pattern = "*"
	}
	var lines []supervisor.Line
	for _, ending := range []string{".jsonl.1", ".jsonl"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern+ending))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if lines, err = readLog(path, lines); err != nil {
				return nil, err
			}
		}
	}
	sort.SliceStable(lines, func(i, j int) bool { return lines[i].Time.Before(lines[j].Time) })
	return lines, nil
}

func readLog(path string, lines []supervisor.Line) ([]supervisor.Line, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	scan := bufio.NewScanner(file)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l supervisor.Line
		if json.Unmarshal(scan.Bytes(), &l) == nil { // a line cut by a crash is skipped
			lines = append(lines, l)
		}
	}
	return lines, scan.Err()
}
