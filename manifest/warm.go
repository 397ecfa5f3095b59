package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	aWarm       shape = "a number, fork, exec or no, or a mapping"
	aWarmth     shape = "fork, exec or no"
	someModules shape = "a list of modules: names, or paths inside to files"
	aModule     shape = "a module: a name, or a path inside to a file NAME.py"
	aNodeModule shape = "a module of Node.js: a name, or a path inside to a file NAME.js, NAME.cjs or NAME.json"

	noWarm, byFork, byExec = "no", "fork", "exec"

	defaultForks = 2

	maxForks   = 64  // that wait
	maxModules = 256 // that are loaded
)

// Interpreter says that an interpreter waits which has loaded modules.
type Interpreter struct {
	Command []string // python3 and its options, or node and its script: the beginning of the service's Command
	Modules []string // what it loads before
	Spares  int      // forks that wait, or interpreters, default 2
}

// warmth is warm as a mapping.
type warmth struct {
	by      string
	spares  int
	modules []string
	places  []value // of those
}

var (
	moduleNames = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*|/([^/\x00]+/)*[A-Za-z_][A-Za-z0-9_]*\.py)$`)
	pythons     = regexp.MustCompile(`^python3(\.[0-9]+)?$`)
	// Those that only say how the interpreter is to be.
	pythonFlags = regexp.MustCompile(`^-[bBdEIOPqsSuv]+$`)

	nodeModules = regexp.MustCompile(`^(node:[a-z0-9_/]+|(@[A-Za-z0-9._-]+/)?[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*|(\.{1,2})?(/[A-Za-z0-9._@-]+)+\.(js|cjs|json))$`)
	nodeFlags   = regexp.MustCompile(`^--(max-old-space-size=[0-9]+|max-semi-space-size=[0-9]+|stack-size=[0-9]+|stack-trace-limit=[0-9]+` +
		`|no-warnings|no-deprecation|throw-deprecation|pending-deprecation|trace-warnings|trace-deprecation|trace-uncaught|trace-exit` +
		`|enable-source-maps|preserve-symlinks|preserve-symlinks-main|conditions=[A-Za-z0-9._-]+|input-type=(module|commonjs)|unhandled-rejections=[a-z-]+` +
		`|disable-proto=[a-z]+|dns-result-order=[a-z0-9]+|expose-gc|jitless|use-strict|frozen-intrinsics|zero-fill-buffers` +
		`|experimental-(vm-modules|wasm-modules|require-module|strip-types|transform-types|sqlite))$`)
)

// isNode tells whether a program is an interpreter of Node.js.
func isNode(program string) bool {
	base := path.Base(program)
	return base == "node" || base == "nodejs"
}

func warmKeys() table[warmth] {
	return table[warmth]{keys: []key[warmth]{
		{"by", aWarmth, true, "", "How an instance comes about. fork: it is a fork of an interpreter of Python that has loaded its modules and waits. exec: it is an interpreter of Python or Node.js that was executed before, has loaded its modules and waits, in an environment that is used once. no: its program is executed.", func(r *reader, v value, w *warmth) {
			w.by, _ = r.oneOf(v, aWarmth, byFork, byExec, noWarm)
		}},
		{"spares", aCount, false, "2", "So many forks, or interpreters, wait ahead, each for one use, at most 64.", func(r *reader, v value, w *warmth) {
			w.spares = r.integer(v, aCount, 1, maxForks)
		}},
		{"modules", someModules, false, "none", "What the interpreter loads before it waits: of Python names, or paths inside to files NAME.py; of Node.js what require takes, where the script lies. They are to do nothing but be loaded: of one that is forked all instances find what they keep.", func(r *reader, v value, w *warmth) {
			r.list(v, someModules, maxModules, func(v value) {
				if name, ok := r.text(v, aModule); ok {
					w.modules = append(w.modules, name)
					w.places = append(w.places, v)
				}
			})
		}},
	}}
}

func readWarm(r *reader, v value, s *Service) {
	w := warmth{}
	switch {
	case kindOf(v.node) == isMapping:
		if !mapping(r, v, aWarm, warmKeys(), &w) {
			return
		}
	case isNumber(v.node.Value):
		s.Warm = r.integer(v, aCount, 1, maxWarm)
		return
	default:
		w.by, _ = r.oneOf(v, aWarm, byFork, byExec, noWarm)
	}
	orElse(&w.spares, defaultForks)
	switch in := (&Interpreter{Modules: w.modules, Spares: w.spares}); w.by {
	case byFork:
		s.Fork = in
	case byExec:
		s.Ahead = in
	}
	r.check(func(*App) { r.checkModules(w.places, s) })
}

// checkModules refuses what is no module of the command's interpreter.
func (r *reader) checkModules(places []value, s *Service) {
	want, grammar := aModule, moduleNames
	if len(s.Command) > 0 && isNode(s.Command[0]) {
		want, grammar = aNodeModule, nodeModules
	}
	for _, v := range places {
		switch {
		case grammar == nodeModules && strings.HasSuffix(v.node.Value, ".mjs"):
			r.refuse(v, "leave it out: a script may import it", "%.64q is an ES module, of which Node.js loads none before it runs", v.node.Value)
		default:
			r.name(v, want, grammar)
		}
	}
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// checkFork refuses what cannot be forked.
func (r *reader) checkFork(at value, s *Service) {
	if len(s.Command) == 0 {
		return // which is an error already
	}
	program := s.Command[0]
	switch {
	case isNode(program):
		r.refuse(at, "write exec, or a number where instances stay", "%q has threads as soon as it runs, which a fork does not have: Node.js can only be executed", program)
	case !path.IsAbs(program) || !pythons.MatchString(path.Base(program)):
		r.refuse(at, "leave it out, or begin the command with /usr/bin/python3", "%q is not an interpreter that can be forked: that is python3, by its whole path", program)
	default:
		s.Fork.Command = r.pythonOptions(at, s.Command)
	}
}

// checkAhead refuses what cannot be executed before anybody wants it.
func (r *reader) checkAhead(v value, s *Service) {
	at := r.key(v, "warm")
	if len(s.Command) == 0 {
		return // which is an error already
	}
	program := s.Command[0]
	switch {
	case !s.Template && s.Stdio == "":
		r.refuse(at, "write a number", "%q has instances that stay; for those, programs that run wait", s.Name)
	case !path.IsAbs(program) || !isNode(program) && !pythons.MatchString(path.Base(program)):
		r.refuse(at, "write a number, and environments wait complete but for it", "%q is not an interpreter that can wait for its program: those are python3 and node, by their whole path", program)
	case isNode(program):
		s.Ahead.Command = r.nodeOptions(at, s.Command)
	default:
		s.Ahead.Command = r.pythonOptions(at, s.Command)
	}
	for i, o := range s.Volumes {
		within := s.WorkingDir == o.To || strings.HasPrefix(s.WorkingDir, o.To+"/")
		switch {
		case !o.ReadOnly:
			r.refuse(r.place(v, o.Pos, fmt.Sprintf("%s.volumes[%d]", v.key, i)), "write read_only: true, or a number for warm, and environments wait complete but for the program",
				"volume %q is to be written to by what was executed before it is there", o.Name)
		case within:
			r.refuse(r.key(v, "working_dir"), "write another one", "%q lies in volume %q, which is not there yet when the interpreter is executed", s.WorkingDir, o.Name)
		}
	}
}

// nodeOptions is the command of Node.js, if it says what is to run.
func (r *reader) nodeOptions(at value, command []string) []string {
	for n, arg := range command[1:] {
		switch {
		case slices.Contains([]string{"-e", "--eval", "-p", "--print"}, arg) && n+2 < len(command), !strings.HasPrefix(arg, "-"):
			return slices.Clone(command)
		case !nodeFlags.MatchString(arg):
			r.refuse(at, "leave it out; if it has a value write both as one, --name=value", "option %q of %s cannot be that of an interpreter that waits", arg, path.Base(command[0]))
			return nil
		}
	}
	r.refuse(at, "write the script: a spawner can give it, as a file of /run", "%q does not say what is to run", strings.Join(command, " "))
	return nil
}

// pythonOptions finds out where the interpreter's options end.
func (r *reader) pythonOptions(at value, command []string) []string {
	n := 1
	for n < len(command) {
		arg := command[n]
		switch {
		case arg == "-X" || arg == "-W":
			n++
		case arg == "-" || arg == "-c" || arg == "-m" || !strings.HasPrefix(arg, "-"):
			return slices.Clone(command[:n])
		case !pythonFlags.MatchString(arg):
			r.refuse(at, "write options apart from each other, and those alone that say how it runs", "option %q of %s cannot be that of an interpreter that waits", arg, path.Base(command[0]))
			return nil
		}
		n++
	}
	return slices.Clone(command[:min(n, len(command))])
}

func (f *Interpreter) node(by string) *yaml.Node {
	var o object
	o.add("by", text(by))
	o.add("spares", count(f.Spares))
	o.add("modules", sequence(f.Modules, text))
	return o.done()
}
