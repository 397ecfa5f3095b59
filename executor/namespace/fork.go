package namespace

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"cofferdam/executor"
)

// The bounds on what a zygote loads, and on the forks that wait.
const (
	maxModules = 256
	maxForks   = 64
)

// checkInterpreter checks that one which waits is what a command begins with; what says what for.
func checkInterpreter(interpreter, args []string, what string) error {
	n := len(interpreter)
	if n == 0 || !path.IsAbs(interpreter[0]) {
		return fmt.Errorf("the interpreter that %s is not an absolute path", what)
	}
	if len(args) < n || !slices.Equal(interpreter, args[:n]) {
		return fmt.Errorf("the command %q does not begin with the interpreter %q that %s", args, interpreter, what)
	}
	return nil
}

// checkFork checks what a spec says of the interpreter that it is forked from.
func checkFork(spec *executor.Spec) error {
	f := spec.Fork
	if f == nil {
		return nil
	}
	if err := checkInterpreter(f.Interpreter, spec.Command.Args, "it is forked from"); err != nil {
		return err
	}
	n := len(f.Interpreter)
	if rest := spec.Command.Args[n:]; len(rest) > 0 && strings.HasPrefix(rest[0], "-") && !slices.Contains([]string{"-", "-c", "-m"}, rest[0]) {
		return fmt.Errorf("option %q comes too late for an interpreter that runs already: options are part of the zygote's command", rest[0])
	}
	if len(f.Modules) > maxModules || f.Spares < 0 || f.Spares > maxForks {
		return fmt.Errorf("%d modules and %d forks: at most %d and %d", len(f.Modules), f.Spares, maxModules, maxForks)
	}
	for _, list := range [][]string{f.Interpreter, f.Modules, f.Env, spec.Command.Args, spec.Command.Env} {
		for _, v := range list {
			if strings.ContainsRune(v, 0) {
				return fmt.Errorf("%q contains a NUL byte", v)
			}
		}
	}
	return nil
}
