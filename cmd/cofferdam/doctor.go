package main

import (
	"os"

	"github.com/spf13/cobra"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

func doctorCommand() *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this host can enforce",
		Long: `Doctor lists every protection that an environment has, whether this host
gives it to the present user, and what would provide one that is missing. A
missing protection is an error for run and up unless it is named in
allow_degraded.

The exit code is 0 if all are enforced, 1 if some are only by a weaker
mechanism, 2 if one is missing.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := protections()
			if err != nil {
				return &exitError{code: codeUnprotected, err: err}
			}
			header := []string{"PROTECTION", "STATUS", "DETAIL", "FIX"}
			err = rows(f, stdout, found, header, func(p protection) []string {
				return []string{p.Name, string(p.Status), p.Detail, p.Fix}
			})
			if err != nil {
				return err
			}
			if code := verdict(found); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
	f.flag(c)
	return c
}

// protection is an [executor.Protection] with stable names of its fields.
type protection struct {
	Name   string          `json:"name"`
	Status executor.Status `json:"status"`
	Detail string          `json:"detail"`
	Fix    string          `json:"fix,omitempty"`
}

func protections() ([]protection, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	exec, err := namespace.New(namespace.Options{Executable: []string{self, roleSpawner}, App: "doctor", Warm: -1})
	if err != nil {
		return nil, err
	}
	defer exec.Close()
	var found []protection
	for _, p := range exec.Protections() {
		found = append(found, protection(p))
	}
	return found, nil
}

// verdict is doctor's exit code: that of the worst protection.
func verdict(found []protection) int {
	code := 0
	for _, p := range found {
		switch p.Status {
		case executor.Pass:
		case executor.Degraded:
			code = max(code, codeDegraded)
		default:
			code = max(code, codeUnprotected)
		}
	}
	return code
}
