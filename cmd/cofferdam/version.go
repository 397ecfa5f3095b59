package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is which program this is.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified"` // built from files that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "version",
		Short: "Tell which cofferdam this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if f.name != "table" {
				return one(f, stdout, b)
			}
			commit := orNone(b.Commit)
			if b.Modified {
				commit += ", and changes to it"
			}
			fmt.Fprintf(stdout, "cofferdam %s\ncommit    %s\ngo        %s %s\n", b.Version, commit, b.Go, b.Platform)
			return nil
		},
	}
	f.flag(c)
	return c
}
