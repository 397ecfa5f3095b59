package executortest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// mark begins the lines of a probe's standard output that are for the suite. All
// others are told when the case fails.
const mark = "\x01attempt "

// Inside is the half of a case in the environment.
type Inside struct {
	Args []string // what the half outside has given to [Trial.Spec]

	c Case
}

// Attempt says that what was tried ended with err, and should have ended with one of
// the errors want. An Errno of 0 among them is success.
func (in *Inside) Attempt(what string, err error, want ...syscall.Errno) {
	in.say(erring(what, err, want...))
}

// Check says that what was tried gave got, and should have given want.
func (in *Inside) Check(what string, got, want any) { in.say(saying(what, got, want)) }

func (in *Inside) say(a attempt) {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s%s\n", mark, b)
}

// Must ends the probe if err is one: something that should work for everybody does
// not, and there is nothing to attempt.
func (in *Inside) Must(err error) {
	if err != nil {
		fmt.Printf("cannot attempt: %v\n", err)
		os.Exit(101)
	}
}

// Part is the first of Args, or "".
func (in *Inside) Part() string {
	if len(in.Args) == 0 {
		return ""
	}
	return in.Args[0]
}

// Again is a command that runs this case's half inside once more, as a child.
func (in *Inside) Again(args ...string) *exec.Cmd {
	return exec.Command(probePath, append([]string{role, in.c.Name}, args...)...)
}
