package main

import (
	"errors"
	"fmt"
	"io"
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
			header := []string{"PROTECTION", "STATUS", "DETAIL"}
			err = rows(f, stdout, found, header, func(p protection) []string {
				return []string{p.Name, string(p.Status), p.Detail}
			})
			if err != nil {
				return err
			}
			if f.name == "table" {
				printFixes(stdout, found)
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

// printFixes says once what would provide what is missing.
func printFixes(w io.Writer, found []protection) {
	said := make(map[string]bool)
	for _, p := range found {
		if p.Fix != "" && !said[p.Fix] {
			said[p.Fix] = true
			fmt.Fprintf(w, "\nto mend %s: %s\n", p.Name, p.Fix)
		}
	}
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
	if errors.Is(err, executor.ErrUnsupported) {
		// Not even the spawner can live here: then nothing else can be asked.
		return []protection{{Name: "isolation", Status: executor.Fail, Detail: err.Error()}}, nil
	}
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
