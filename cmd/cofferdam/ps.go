package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/supervisor"
)

func psCommand(p *project) *cobra.Command {
	var f format
	var mounts bool
	c := &cobra.Command{
		Use:   "ps",
		Short: "List services and what runs of them",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if mounts {
				return p.showMounts(f)
			}
			c, err := p.ask(admin.Request{Op: admin.OpStatus})
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Next()
			if err != nil {
				return refused(err)
			}
			header := []string{"SERVICE", "INSTANCE", "STATE", "PID", "UP", "CPU", "MEMORY", "RESTARTS", "NOTE"}
			return rows(f, stdout, r.Services, header, func(s supervisor.Status) []string {
				var notes []string
				if len(s.Granted) > 0 {
					notes = append(notes, "granted: "+strings.Join(s.Granted, ", "))
				}
				for _, l := range slices.Backward(s.Listens) {
					notes = append(notes, "listens: "+l.String())
				}
				if len(s.Egress) > 0 {
					notes = append(notes, "egress: "+strings.Join(s.Egress, ","))
				}
				if len(s.Degraded) > 0 {
					notes = append(notes, "degraded: "+strings.Join(s.Degraded, ","))
				}
				if s.Principal != "" {
					notes = append(notes, "for "+printable(s.Principal))
				}
				if s.Detail != "" {
					notes = append(notes, printable(s.Detail))
				} else if e := s.LastExit; e != nil {
					notes = append(notes, printable("the last one: "+supervisor.Ending(*e)))
				}
				note := strings.Join(notes, "; ")
				if s.Instance == "" {
					return []string{s.Service, "-", string(s.State), "-", "-", "-", "-", fmt.Sprint(s.Restarts), note}
				}
				state := string(s.State)
				if s.Health != "" {
					state += " (" + string(s.Health) + ")"
				}
				return []string{
					s.Service, s.Instance, state, fmt.Sprint(s.Pid),
					s.Usage.Wall.Round(time.Second).String(), s.Usage.CPU.Round(time.Millisecond).String(),
					size(s.Usage.MemoryBytes), fmt.Sprint(s.Restarts), note,
				}
			})
		},
	}
	c.Flags().BoolVar(&mounts, "mounts", false, "list the directories of the host that are mounted in instances, and who has them mounted")
	f.flag(c)
	f.wideFlag(c, "PID", "CPU", "RESTARTS", "UP", "MEMORY")
	return c
}
