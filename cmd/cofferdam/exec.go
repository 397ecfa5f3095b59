package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cofferdam/admin"
)

func execCommand(p *project) *cobra.Command {
	var env []string
	var dir string
	c := &cobra.Command{
		Use:   "exec [flags] SERVICE -- COMMAND [ARG...]",
		Short: "Run a program inside a running service",
		Long: `Exec runs a program in the environment of a running service, with what the
service itself may do and no more. The program must be one that the service
can see. Of a service with an instance for each principal or label, SERVICE is the
name of an instance, as ps shows it, unless only one runs.

The exit code is the program's own; 128+n if signal n ended it; 127 if it was not
found, 126 if it cannot be executed, 125 if it could not be started for another
reason.`,
		Example: `  cofferdam exec bank -- /app/probe connect auth:8081`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			service, command := args[0], args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return fmt.Errorf("exec %s: no command to run", service)
			}
			req := admin.Request{Op: admin.OpExec, Service: service, Args: command, Env: env, Dir: dir}
			c, err := p.ask(req, os.Stdin, os.Stdout, os.Stderr)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Next()
			if err != nil {
				return refused(err)
			}
			if r.Exit == nil || r.Exit.Code == 0 {
				return nil
			}
			return &exitError{code: r.Exit.Code}
		},
	}
	c.Flags().SetInterspersed(false)
	c.ValidArgsFunction = p.completeServices
	c.Flags().StringArrayVarP(&env, "env", "e", nil, "K=V, added to the service's environment")
	c.Flags().StringVarP(&dir, "workdir", "w", "", "directory inside")
	return c
}
