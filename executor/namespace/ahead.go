package namespace

import (
	"errors"
	"fmt"
	"strings"

	"cofferdam/executor"
)

// checkAhead checks what a spec says of the interpreter that is executed before.
func checkAhead(spec *executor.Spec) error {
	a := spec.Ahead
	if a == nil {
		return nil
	}
	if err := checkInterpreter(a.Interpreter, spec.Command.Args, "is executed ahead"); err != nil {
		return err
	}
	n := len(a.Interpreter)
	if a.Node() && n == 1 {
		return fmt.Errorf("%q is executed ahead without a script", a.Interpreter[0])
	}
	if spec.Fork != nil || len(spec.Extra) > 0 {
		return errors.New("what is executed ahead is no fork, and gets no descriptors but its streams")
	}
	if len(a.Modules) > maxModules {
		return fmt.Errorf("%d modules: at most %d", len(a.Modules), maxModules)
	}
	for _, list := range [][]string{a.Interpreter, a.Modules, a.Env, spec.Command.Args, spec.Command.Env} {
		for _, v := range list {
			if strings.ContainsRune(v, 0) {
				return fmt.Errorf("%q contains a NUL byte", v)
			}
		}
	}
	for _, name := range a.Modules {
		if name == "" || strings.Contains(name, "\n") {
			return fmt.Errorf("%q is no name of a module", name)
		}
	}
	return nil
}
