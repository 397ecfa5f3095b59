package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"cofferdam/admin"
)

func downCommand(p *project) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the application",
		Long:  `Down stops every service, politely first, and returns when nothing runs any more.`,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := p.ask(admin.Request{Op: admin.OpStop})
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Next(); err != nil && !errors.Is(err, io.EOF) {
				return refused(err)
			}
			fmt.Fprintln(os.Stderr, "stopped")
			return nil
		},
	}
}
