package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cofferdam/label"
)

// flow is a question, and its answer.
type flow struct {
	From  labelText  `json:"from"`
	To    labelText  `json:"to"`
	With  privileges `json:"with"`
	Flows bool       `json:"flows"`

	// Needs are the least privileges with which it flows at all; Missing is what
	// With lacks of them. True is none.
	Needs   privileges `json:"needs"`
	Missing privileges `json:"missing"`
}

type privileges struct {
	Out label.Formula `json:"out"`
	In  label.Formula `json:"in"`
}

func flowCommand() *cobra.Command {
	var f format
	var with, out, in string
	c := &cobra.Command{
		Use:   "flow FROM TO",
		Short: "Tell whether data of one label may go to another",
		Long: `Flow asks the code that decides whether data of label FROM may go to where the label
is TO, for somebody who uses the privileges of --out and --in (see cofferdam label for
how both are written). It does if all that keeps it secret keeps it secret there
too, or is released by --out, and if all that vouches for what is there vouches for
it, or --in does.

The exit code is 0 if it flows, and 1 if it does not; then stderr says what
stands in the way, and what privileges would take it away.`,
		Example: `  cofferdam flow 'alice %% True' 'alice & bob %% True'
  cofferdam flow 'alice %% True' 'True %% True' --with alice
  cofferdam flow 'alice %% True' 'True %% bob' --out alice --in bob`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			from, err := parseLabel(args[0])
			if err != nil {
				return err
			}
			to, err := parseLabel(args[1])
			if err != nil {
				return err
			}
			if with != "" {
				out, in = with, with
			}
			p, err := flowPrivileges(with != "", out, in)
			if err != nil {
				return err
			}
			return showFlow(f, from, to, p)
		},
	}
	c.Flags().StringVar(&out, "out", "", "a formula: the privilege that releases from secrecy")
	c.Flags().StringVar(&in, "in", "", "a formula: the privilege that vouches, and adds to integrity")
	c.Flags().StringVar(&with, "with", "", "a formula, for --out and --in")
	c.MarkFlagsMutuallyExclusive("with", "out")
	c.MarkFlagsMutuallyExclusive("with", "in")
	f.flag(c)
	return c
}

func flowPrivileges(both bool, out, in string) (label.Privileges, error) {
	outFlag, inFlag := "--out", "--in"
	if both {
		outFlag, inFlag = "--with", "--with"
	}
	releases, err := parsePrivilege(outFlag, out)
	if err != nil {
		return label.Privileges{}, err
	}
	vouches, err := parsePrivilege(inFlag, in)
	return label.Privileges{Out: releases, In: vouches}, err
}

func showFlow(f format, from, to label.Label, p label.Privileges) error {
	needs, missing := from.Missing(label.Privileges{}, to), from.Missing(p, to)
	flows := from.FlowsUnder(p, to)
	if f.name != "table" {
		answer := flow{textOf(from), textOf(to), privileges(p), flows, privileges(needs), privileges(missing)}
		if err := one(f, stdout, answer); err != nil || flows {
			return err
		}
		return &exitError{code: codeNoFlow}
	}
	if flows {
		fmt.Fprintf(stdout, "%v flows to %v\n", from, to)
		for _, clause := range clausesOf(needs.Out) {
			fmt.Fprintf(stdout, "  secrecy: %v is released by %v\n", clause, p.Out)
		}
		for _, clause := range clausesOf(needs.In) {
			fmt.Fprintf(stdout, "  integrity: %v is vouched for by %v\n", clause, p.In)
		}
		return nil
	}
	lines := []string{fmt.Sprintf("%v does not flow to %v", from, to)}
	for _, clause := range clausesOf(missing.Out) {
		lines = append(lines, fmt.Sprintf("  secrecy: %v is not implied by %v%s; it takes that authority to release it",
			clause, to.Secrecy(), orBy("--out", p.Out)))
	}
	for _, clause := range clausesOf(missing.In) {
		lines = append(lines, fmt.Sprintf("  integrity: %v is not implied by %v%s; it takes that authority to vouch for it",
			clause, from.Integrity(), orBy("--in", p.In)))
	}
	lines = append(lines, "it does with"+flagText("--out", p.Out.And(missing.Out))+flagText("--in", p.In.And(missing.In)))
	return &exitError{code: codeNoFlow, err: errors.New(strings.Join(lines, "\n"))}
}

// clausesOf returns each clause of a formula as a formula.
func clausesOf(f label.Formula) []label.Formula {
	var all []label.Formula
	for _, names := range f.Clauses() {
		one, err := label.NewFormula(names)
		if err != nil {
			panic(err) // a clause of what is within the bounds
		}
		all = append(all, one)
	}
	return all
}

// orBy names a privilege that does not suffice.
func orBy(flag string, p label.Formula) string {
	if p == label.True {
		return ""
	}
	return fmt.Sprintf(", nor by %s %v", flag, p)
}

// flagText is a flag as a shell reads it.
func flagText(flag string, p label.Formula) string {
	if p == label.True {
		return ""
	}
	return fmt.Sprintf(" %s '%s'", flag, strings.ReplaceAll(p.String(), "'", `'\''`))
}
