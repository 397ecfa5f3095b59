package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cofferdam/label"
)

// labelText is a label for other programs: as text, and taken apart.
type labelText struct {
	Text      string        `json:"text"`
	Secrecy   label.Formula `json:"secrecy"`
	Integrity label.Formula `json:"integrity"`
}

func textOf(l label.Label) labelText { return labelText{l.String(), l.Secrecy(), l.Integrity()} }

func labelCommand() *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "label LABEL",
		Short: "Show a label in its normal form",
		Long: `Label reads a label and shows the one text that everything else shows for it: of
two labels that mean the same it is the same.

A label is SECRECY %% INTEGRITY: whose authority it takes to make the data public,
and whose authority vouches for it. Each is a formula over names: & for what takes
both, | for what either may do, True for nobody at all, False for more than
anybody has, and parentheses where & meets |. Names with anything but letters, digits
and _ @ . - : + stand in double quotes.`,
		Example: `  cofferdam label 'alice & (bob | carol) %% True'
  cofferdam label 'alice %% alice' --format json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := parseLabel(args[0])
			if err != nil {
				return err
			}
			if f.name != "table" {
				return one(f, stdout, textOf(l))
			}
			fmt.Fprintln(stdout, l)
			return nil
		},
	}
	f.flag(c)
	return c
}

func parseLabel(arg string) (label.Label, error) {
	l, err := label.Parse(arg)
	if err != nil {
		return l, fmt.Errorf("label %s: %w", shortened(arg), err)
	}
	return l, nil
}

// parsePrivilege reads the formula of a flag; without one there is no power.
func parsePrivilege(flag, value string) (label.Formula, error) {
	if value == "" {
		return label.True, nil
	}
	f, err := label.ParseFormula(value)
	if err != nil {
		return f, fmt.Errorf("%s %s: %w", flag, shortened(value), err)
	}
	return f, nil
}

// shortened quotes what was written, or its beginning.
func shortened(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%.80q…", s)
	}
	return fmt.Sprintf("%q", s)
}
