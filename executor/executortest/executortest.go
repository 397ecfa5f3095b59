// Package executortest is the suite of things that must not work.
//
// Every known way out of a sandbox is a [Case]: a real program that tries it from
// inside an environment, the denial that it must meet, word for word, and what is
// recorded of it. [Run] tries all of them against any executor. docs/ESCAPES.md
// lists which published escape is covered by which case; a test holds that list
// against the table.
//
// Whose tests call Run lets [Main] play the programs inside, in TestMain:
//
//	func TestMain(m *testing.M) {
//		executortest.Main()
//		os.Exit(m.Run())
//	}
//
// A case has two halves. Outside runs in the test and prepares the environment; what
// it does not do itself, the default does: start one environment with the probe, wait
// for its end. Inside is the probe: this very test binary, started in the environment
// under the name of the case, which says of each attempt how it ended and how it
// should have. Both halves say so with Attempt, and the suite counts.
//
// Trusted: no. It is linked into tests only.
package executortest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
)

// patience is for what takes no time on a real processor, and minutes on an
// emulated one that is short of memory.
const patience = 10 * time.Minute

// Case is one way out, tried.
type Case struct {
	Name string // stable: "proc/tiocsti". The first part is the group of escapes
	Row  string // what it is known as: CVEs, or a title of docs/ESCAPES.md

	// Outside is the half in the test; nil runs the probe once in an environment as
	// [Trial.Spec] gives it.
	Outside func(t *Trial)
	// Inside is the half in the environment.
	Inside func(in *Inside)

	// What is recorded of the attempt is one of these three.
	//
	// Ends is the cause that the exit record gives, where the attempt is the end of
	// the program. The default Outside asserts it.
	Ends executor.Cause
	// Audited names the test with a whole application that asserts the audit record.
	Audited string
	// Invisible says why there is no record: the kernel answers by itself, and no
	// event reaches us.
	Invisible string
}

// Factory makes an executor that lasts for the test. It skips the test on a host that
// cannot have one.
type Factory func(t testing.TB) executor.Executor

// Cases is the table.
func Cases() []Case {
	return slices.Concat(procCases, ttyCases, callCases, kernelCases, socketCases, ipcCases, referenceCases, pathCases, platformCases, resourceCases)
}

// Run tries every case against the executor that factory makes.
func Run(t *testing.T, factory Factory) {
	x := factory(t)
	var sum tally
	var before *quiet
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			trial := &Trial{T: t, Executor: x, factory: factory, c: c, quiet: &before}
			defer func() { sum.add(trial.tally) }()
			if c.Outside != nil {
				c.Outside(trial)
			} else {
				trial.Run(trial.Spec())
			}
			if trial.attempts == 0 && !t.Skipped() {
				t.Errorf("%s: nothing was attempted", c.Name)
			}
		})
	}
	if before != nil {
		if left := before.left(); len(left) > 0 {
			t.Errorf("left of the bombs: %s", strings.Join(left, "; "))
		}
	}
	t.Logf("%d cases, %d attempts, %d refused", len(Cases()), sum.attempts, sum.refused)
}

// tally counts attempts.
type tally struct{ attempts, refused int }

func (a *tally) add(b tally) {
	a.attempts += b.attempts
	a.refused += b.refused
}

// role is the first argument of the test binary when it is a program inside.
const role = "executortest"

// Main plays the program inside, if that is what this process was started for, and
// does not return then.
func Main() {
	if len(os.Args) < 3 || os.Args[1] != role {
		return
	}
	for _, c := range Cases() {
		if c.Name == os.Args[2] && c.Inside != nil {
			in := &Inside{Args: os.Args[3:], c: c}
			c.Inside(in)
			os.Exit(0)
		}
	}
	fmt.Fprintf(os.Stderr, "no case %q with a half inside\n", os.Args[2])
	os.Exit(100)
}
