package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/audit"
)

// verdictCodes are the exit codes of audit verify.
var verdictCodes = map[audit.Verdict]int{
	audit.Complete:  0,
	audit.Damaged:   codeDamaged,
	audit.Truncated: codeTruncated,
	audit.Unsigned:  codeUnsigned,
	audit.WrongKey:  codeWrongKey,
}

func verifyCommand(p *project) *cobra.Command {
	var f format
	var keys []string
	var anchor string
	c := &cobra.Command{
		Use:   "verify [FILE|DIRECTORY]",
		Short: "Tell whether the log is whole, and what is wrong with it",
		Long: `Verify reads the whole log, that of the application or a copy of it, and comes to one
verdict, which is its exit code too:

  complete   0  the chain holds, every checkpoint is signed, and the end is vouched for:
                the log was closed there, or the running application or --anchor says so
  damaged    1  something is not as it was written; where is told
  truncated  2  what is there is right, and the end is missing, or may be: the log was
                not closed. A killed application leaves that until the next up
  unsigned   3  the same up to a checkpoint, and nobody vouches for the records after it
  wrong-key  4  a checkpoint was signed with another key than that of --key

A log that was not closed and then gone on with is complete, and the places where
that happened are listed: between a checkpoint and the next start something may
have been lost there, or changed.

Keys are those of --key, or else the one in the .pub file beside the log; without either
the log's first checkpoint is taken at its word. Who could write to the directory of the log can
have replaced both, and signed with the key that lies there: so note the key (cofferdam
audit key) and from time to time the anchor that verify prints, elsewhere. A copy
needs the files audit*.jsonl, and neither the application nor this host.`,
		Example: `  cofferdam audit verify
  cofferdam audit verify --format json | jq -r .anchor >> elsewhere
  cofferdam audit verify --key noted.pub --anchor "$(tail -n 1 elsewhere)" copy/audit.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var check audit.Check
			if anchor != "" {
				head, err := audit.ParseHead(anchor)
				if err != nil {
					return err
				}
				check.Anchor = &head
			}
			for _, key := range keys {
				k, err := keyOf(key)
				if err != nil {
					return fmt.Errorf("--key: %w", err)
				}
				check.Keys = append(check.Keys, k)
			}
			var path string
			if len(args) > 0 {
				path = args[0]
			} else {
				dirs, err := p.auditDirs()
				if err != nil {
					return err
				}
				check.Live = liveHead(dirs)
				path = auditLog(dirs)
			}
			v, err := verifyLog(path, check)
			if err != nil {
				return err
			}
			if f.name != "table" {
				err = one(f, stdout, v)
			} else {
				v.print()
			}
			if err != nil || v.Verdict == audit.Complete {
				return err
			}
			return &exitError{code: verdictCodes[v.Verdict], err: fmt.Errorf("%s: %s: %s", path, v.Verdict, printable(v.Why))}
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "a public key, or a file with one, that may have signed; can be repeated")
	c.Flags().StringVar(&anchor, "anchor", "", "HASH:COUNT of an earlier verify: nothing up to there may have changed")
	f.flag(c)
	return c
}

// keyOf is a public key, or the one in a file.
func keyOf(s string) (audit.Key, error) {
	if k, err := audit.ParseKey(s); err == nil {
		return k, nil
	}
	return audit.ReadKey(s)
}

// verification is a report, and what was held against the log.
type verification struct {
	Path    string `json:"path"`
	KeyFrom string `json:"key_from"`         // "given", "beside", or "log"
	Anchor  string `json:"anchor,omitempty"` // of the end, to note elsewhere
	audit.Report
}

func verifyLog(path string, check audit.Check) (verification, error) {
	log, err := openLog(path)
	if err != nil {
		return verification{}, err
	}
	defer log.Close()
	v := verification{Path: log.Path(), KeyFrom: "given"}
	if len(check.Keys) == 0 {
		v.KeyFrom = "beside"
		k, err := audit.ReadKey(audit.PublicKeyPath(log.Path()))
		switch {
		case err == nil:
			check.Keys = []audit.Key{k}
		case errors.Is(err, os.ErrNotExist):
			v.KeyFrom = "log"
		default:
			return v, err
		}
	}
	v.Report, err = log.Verify(check)
	if v.Records > 0 && v.Damaged == 0 {
		v.Anchor = audit.Head{Seq: v.Last, Hash: v.Head}.String()
	}
	return v, err
}

// whoseKey says how far the key is to be believed.
var whoseKey = map[string]string{
	"given":  "as given",
	"beside": "beside the log: compare it with the one noted elsewhere",
	"log":    "the log's own word: compare it with the one noted elsewhere",
}

func (v verification) print() {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(stdout, "%-11s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("log", "%s, %s", v.Path, plural(v.Segments, "file"))
	line("verdict", "%s: %s", v.Verdict, v.Why)
	if v.Records > 0 {
		line("records", "%d, from %s to %s", v.Records, audit.ID(v.First), audit.ID(v.Last))
	}
	if v.Dropped > 0 {
		line("begins", "at record %s by rotation: the %d before it were deleted, and a checkpoint says so", audit.ID(v.First), v.Dropped)
	}
	if v.Checkpoints > 0 {
		line("signed", "%d times, the last one at record %s, %s", v.Checkpoints, audit.ID(v.Signed), v.SignedAt.Local().Format(time.DateTime))
	}
	for _, k := range v.Keys {
		line("key", "%v, %s", k, whoseKey[v.KeyFrom])
	}
	if v.Anchor != "" {
		line("anchor", "%s", v.Anchor)
	}
	for _, g := range v.Unclosed {
		line("not closed", "after record %s: %s stood there that nobody vouches for, and nobody knows whether that was all", audit.ID(g.After), plural(int(g.Records), "record"))
	}
	for _, d := range v.Damages {
		line("damage", "%s", strings.TrimPrefix(d.String(), v.Path+" "))
	}
	if more := v.Damaged - uint64(len(v.Damages)); more > 0 && v.Damaged > 0 {
		line("damage", "and %d more", more)
	}
	if v.Unsigned > 0 {
		line("unsigned", "%s after the last checkpoint", plural(int(v.Unsigned), "record"))
	}
	if v.Torn > 0 {
		line("torn", "%d bytes after the last whole line", v.Torn)
	}
}

func keyCommand(p *project) *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Print the public key that the log is signed with",
		Long: `Key prints the public key of the application's log (Ed25519, in hex). Note it where
nobody can change it who can write to this host: audit verify --key holds the log against it.

The private half lies beside the log, in audit.key. With it, anybody can make a log that
verifies.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dirs, err := p.auditDirs()
			if err != nil {
				return err
			}
			path := audit.PublicKeyPath(auditLog(dirs))
			k, err := audit.ReadKey(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return fmt.Errorf("no key at %s: the first up makes it", path)
			case errors.Is(err, os.ErrPermission):
				return &exitError{code: codeDenied, err: err}
			case err != nil:
				return err
			}
			fmt.Fprintln(stdout, k)
			return nil
		},
	}
}
