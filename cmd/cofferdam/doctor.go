package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/executor"
	"cofferdam/executor/canary"
	"cofferdam/executor/namespace"
)

func doctorCommand() *cobra.Command {
	var f format
	var prove bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this host can enforce",
		Long: `Doctor lists every protection that an environment has, whether this host
gives it to the present user, and the one command that would provide one that is
missing. A missing protection is an error for run and up unless it is named in
allow_degraded.

With --prove it tries each of them: a canary in an environment attempts what must
not work, and the same outside, where it must, so that the refusal proves
something. Run and up do this too, but for what takes time.

The exit code is 0 if all are enforced, 1 if some are only by a weaker
mechanism, 2 if one is missing, or does not hold when it is tried.`,
		Example: `  cofferdam doctor
  cofferdam doctor --prove
  cofferdam doctor --prove --format json | jq '.[].probes[]?'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, notTried := examine(prove)
			if found == nil {
				return &exitError{code: codeUnprotected, err: notTried}
			}
			if f.name == "table" {
				printProtections(stdout, found, prove)
			} else if err := rows(f, stdout, found, nil, nil); err != nil {
				return err
			}
			if notTried != nil {
				return &exitError{code: codeUnprotected, err: fmt.Errorf("nothing could be tried: %w", notTried)}
			}
			if code := verdict(found); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&prove, "prove", false, "try every protection in an environment")
	f.flag(c)
	return c
}

// protection is an [executor.Protection] with stable names of its fields, and what
// came of trying it.
type protection struct {
	Name   string          `json:"name"`
	Status executor.Status `json:"status"`
	Detail string          `json:"detail"`
	Fix    string          `json:"fix,omitempty"`

	Proof  proof          `json:"proof,omitempty"` // "" if it was not asked for
	Probes []canary.Proof `json:"probes,omitempty"`
}

// proof is what trying a protection has shown.
type proof string

const (
	proven    proof = "proven"     // everything that was tried got the right answer
	notProven proof = "not proven" // there was nothing to try, or it proves nothing here
	notHeld   proof = "not held"   // something worked that must not
)

// patience is how long doctor works without saying so.
const patience = time.Second

// examine asks an executor, and has a canary try if prove says so. Protections with
// an error are what the host gives, and why it could not be tried.
func examine(prove bool) ([]protection, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(patience, func() {
		fmt.Fprintln(os.Stderr, "cofferdam: looking at what the host gives; limits take some seconds to try")
	}).Stop()
	dir, err := os.MkdirTemp("", "cofferdam-doctor-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// It does without links in its path, as a place for volumes must.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	exec, err := namespace.New(namespace.Options{Executable: []string{self, roleSpawner}, App: "doctor", Warm: -1, Volumes: dir})
	if errors.Is(err, executor.ErrUnsupported) {
		// Not even the spawner can live here: what can be told without it.
		return listed(namespace.Without(err)), nil
	}
	if err != nil {
		return nil, err
	}
	defer exec.Close()
	found := listed(exec.Protections())
	if !prove {
		return found, nil
	}
	return found, tryAll(exec, self, dir, found)
}

func listed(all []executor.Protection) []protection {
	var found []protection
	for _, p := range all {
		found = append(found, protection{Name: p.Name, Status: p.Status, Detail: p.Detail, Fix: p.Fix})
	}
	return found
}

// tryAll has a canary try all that is there, and writes down what came of it.
func tryAll(exec executor.Executor, self, dir string, found []protection) error {
	// Whatever is missing is to be seen in the table, and not to end the attempt.
	o, err := canaryOptions(self, dir, executor.ProtectionNames)
	if err != nil {
		return err
	}
	o.Deep, o.Volumes = true, true
	r, err := canary.Prove(context.Background(), exec, o)
	for i := range found {
		p := &found[i]
		for _, probe := range r.Proofs {
			if probe.Protection == p.Name {
				p.Probes = append(p.Probes, probe)
			}
		}
		broken := slices.IndexFunc(p.Probes, func(q canary.Proof) bool { return !q.Holds() })
		switch {
		case broken >= 0:
			q := p.Probes[broken]
			p.Status, p.Proof = executor.Fail, notHeld
			p.Detail = fmt.Sprintf("does not hold: %s: the answer is %s, and not %s", q.Probe, q.Got, q.Want)
			p.Fix = "report this, with the output of: cofferdam doctor --prove --format json"
		case slices.Contains(r.Held, p.Name):
			p.Proof = proven
		default:
			p.Proof = notProven
		}
	}
	return err
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

// tableWidth is that of a terminal as it always was.
const tableWidth = 80

// printProtections prints the table, and below it once each what would provide what
// is missing.
func printProtections(w io.Writer, found []protection, prove bool) {
	row := func(name, status, tried, detail string) {
		head := fmt.Sprintf("%-18s %-9s", name, status)
		if prove {
			head += fmt.Sprintf(" %-10s", tried)
		}
		lines := wrap(detail, tableWidth-len(head)-1)
		for _, line := range lines {
			fmt.Fprintf(w, "%s %s\n", head, line)
			head = strings.Repeat(" ", len(head))
		}
	}
	row("PROTECTION", "STATUS", "PROOF", "DETAIL")
	mend := map[string][]string{}
	var fixes []string
	for _, p := range found {
		tried := string(p.Proof)
		if p.Proof == proven {
			tried = plural(len(p.Probes), "probe")
		}
		row(p.Name, string(p.Status), cmp.Or(tried, "-"), printable(p.Detail))
		if p.Fix == "" {
			continue
		}
		if mend[p.Fix] == nil {
			fixes = append(fixes, p.Fix)
		}
		mend[p.Fix] = append(mend[p.Fix], p.Name)
	}
	for _, fix := range fixes {
		fmt.Fprintln(w)
		for _, line := range wrap("to mend "+strings.Join(mend[fix], ", ")+":", tableWidth) {
			fmt.Fprintln(w, line)
		}
		fmt.Fprintf(w, "  %s\n", fix) // in one piece, to be copied
	}
}

// wrap breaks a text into lines of at most width bytes: at spaces, and a path that
// is longer at a slash.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		for len(word) > width {
			at := strings.LastIndexByte(word[:width], '/')
			if at <= 0 {
				break
			}
			lines = append(lines, word[:at])
			word = word[at:]
		}
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
