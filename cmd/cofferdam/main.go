// Command cofferdam runs programs that do not trust each other.
//
// One file per command. The roles at the top of main are this binary started
// in another place: the spawner beside the trusted process, the canary and each
// door inside an environment of its own.
//
// Trusted: yes. It decides nothing, but it wires what decides and gives up root.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cofferdam/bench/own"
	"cofferdam/executor/canary"
	"cofferdam/executor/namespace/spawner"
)

// version is set by the linker.
var version = "devel"

// Names of the roles; not commands, and not in the help.
const (
	roleSpawner = "spawner"
	roleGateway = "gateway"
	roleCanary  = "canary"
	roleEgress  = "egress"
	roleBench   = own.PlayRole
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case roleSpawner:
			os.Exit(spawnerMain())
		case roleGateway:
			os.Exit(gatewayMain())
		case roleCanary:
			os.Exit(canary.Main(os.Args[2:]))
		case roleEgress:
			os.Exit(egressMain())
		case roleBench:
			os.Exit(benchMain())
		}
	}
	os.Exit(run(os.Args[1:]))
}

// spawnerMain is the role of the spawner, whose socket is descriptor 3.
func spawnerMain() int {
	if err := spawner.Main(3); err != nil {
		fmt.Fprintf(os.Stderr, "cofferdam: spawner: %v\n", err)
		return codeOurs
	}
	return 0
}

// run executes a command line and returns the exit code.
func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if _, _, unknown := root.Find(args); unknown != nil {
		err = fmt.Errorf("%w\nsee cofferdam --help", err)
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: codeOurs, err: err}
	}
	if exit.err != nil {
		for line := range strings.SplitSeq(exit.err.Error(), "\n") {
			if line != "" { // cobra has empty lines, and tabs, around what it suggests
				fmt.Fprintf(os.Stderr, "cofferdam: %s\n", strings.ReplaceAll(line, "\t", "  "))
			}
		}
	}
	return exit.code
}

// Exit codes that are ours; a program that ran gives its own.
const (
	codeWall        = 124
	codeOurs        = 125 // and 126 not executable, 127 not found: admin.ExitCode
	codeNotKept     = 69  // EX_UNAVAILABLE of sysexits(3)
	codeDenied      = 77  // EX_NOPERM
	codeBadConfig   = 78  // EX_CONFIG
	codeDamaged     = 1   // audit verify
	codeTruncated   = 2   // audit verify
	codeUnsigned    = 3   // audit verify
	codeWrongKey    = 4   // audit verify
	codeNoFlow      = 1   // flow
	codeDegraded    = 1   // doctor
	codeUnprotected = 2   // doctor
)

// exitError ends the command with a code, and says why unless err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func rootCommand() *cobra.Command {
	p := &project{}
	root := &cobra.Command{
		Use:   "cofferdam",
		Short: "Run programs that do not trust each other",
		Long: `Cofferdam runs each program in an isolated environment in which nothing is
reachable unless one file, cofferdam.yaml, grants it.

What it keeps (audit log, volumes, logs) is under /var/lib/cofferdam for root and
under $XDG_STATE_HOME/cofferdam for others; sockets are under /run/cofferdam and
$XDG_RUNTIME_DIR/cofferdam. COFFERDAM_STATE_DIR and COFFERDAM_RUNTIME_DIR, both
absolute, take the place of either.

Data goes to stdout, all else to stderr. Exit codes: 0; that of the program, for
run and exec; 124 at the wall limit; 125 for an error of ours; 69 if a protection
does not hold when it is tried, and so nothing was started; 77 for what belongs to
another user; 78 for a manifest with errors; and for audit verify, flow, doctor,
run and exec what their help says.`,
		Example: `  cofferdam run --ro script.py -- python3 script.py   one program, on its own
  cofferdam up                                        the application of ./cofferdam.yaml
  cofferdam check                                     who may call whom, before anything runs
  cofferdam why                                       why was the last refusal?`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.PersistentFlags().StringVarP(&p.file, "file", "f", "cofferdam.yaml", "the manifest")
	root.PersistentFlags().StringVarP(&p.name, "project-name", "p", "", "name of the application, instead of the manifest's")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "explain", Title: "Explain:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", upCommand(p), downCommand(p), runCommand(), execCommand(p), restartCommand(p), stopCommand(p), startCommand(p), killCommand(p), grantCommand(p), revokeCommand(p))
	add("look", psCommand(p), topCommand(p), statsCommand(p), grantsCommand(p), logsCommand(p), auditCommand(p), eventsCommand(p), doctorCommand(), benchCommand(), versionCommand())
	add("explain", checkCommand(p), planCommand(p), whyCommand(p), flowCommand(), labelCommand())
	sayUsage(root)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	})
	return root
}

// sayUsage has each command that gets too few arguments, or too many, say what to write.
func sayUsage(c *cobra.Command) {
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, given []string) error {
			if err := args(c, given); err != nil {
				return fmt.Errorf("%w; write %s, or see %s --help", err, strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath())
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		sayUsage(below)
	}
}
