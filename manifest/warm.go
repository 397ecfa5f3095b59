package manifest

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	aWarm       shape = "a number, fork or no, or a mapping"
	aWarmth     shape = "fork or no"
	someModules shape = "a list of modules: names, or paths inside to files NAME.py"
	aModule     shape = "a module: a name, or a path inside to a file NAME.py"

	noWarm, byFork = "no", "fork"

	defaultForks = 2

	maxForks   = 64  // that wait
	maxModules = 256 // that are loaded
)

// Fork says that instances of a service are forks of an interpreter that waits.
type Fork struct {
	Interpreter []string // python3 and its options: the beginning of the service's Command
	Modules     []string // what it loads before
	Spares      int      // forks that wait, default 2
}

// warmth is warm as a mapping.
type warmth struct {
	by      string
	spares  int
	modules []string
}

var (
	moduleNames = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*|/([^/\x00]+/)*[A-Za-z_][A-Za-z0-9_]*\.py)$`)
	pythons     = regexp.MustCompile(`^python3(\.[0-9]+)?$`)
	// Those that only say how the interpreter is to be.
	pythonFlags = regexp.MustCompile(`^-[bBdEIOPqsSuv]+$`)
)

func warmKeys() table[warmth] {
	return table[warmth]{keys: []key[warmth]{
		{"by", aWarmth, true, "", "How an instance comes about. fork: it is a fork of an interpreter of Python that has loaded its modules and waits. no: its program is executed.", func(r *reader, v value, w *warmth) {
			w.by, _ = r.oneOf(v, aWarmth, byFork, noWarm)
		}},
		{"spares", aCount, false, "2", "So many forks wait ahead, each for one use, at most 64.", func(r *reader, v value, w *warmth) {
			w.spares, _ = r.integer(v, aCount, 1, maxForks)
		}},
		{"modules", someModules, false, "none", "What the interpreter loads before it waits. They are to do nothing but be loaded: what one of them keeps, all instances find.", func(r *reader, v value, w *warmth) {
			r.list(v, someModules, maxModules, func(v value) {
				if name, ok := r.name(v, aModule, moduleNames); ok {
					w.modules = append(w.modules, name)
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
		s.Warm, _ = r.integer(v, aCount, 1, maxWarm)
		return
	default:
		w.by, _ = r.oneOf(v, aWarm, byFork, noWarm)
	}
	if w.by == byFork {
		orElse(&w.spares, defaultForks)
		s.Fork = &Fork{Modules: w.modules, Spares: w.spares}
	}
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// checkFork refuses what cannot be forked, and finds out where the interpreter's options end.
func (r *reader) checkFork(at value, s *Service) {
	if len(s.Command) == 0 {
		return // which is an error already
	}
	program := s.Command[0]
	base := path.Base(program)
	switch {
	case base == "node" || base == "nodejs":
		r.refuse(at, "leave it out, or write a number where instances stay", "%q has threads as soon as it runs, which a fork does not have: Node.js can only be executed", program)
		return
	case !path.IsAbs(program) || !pythons.MatchString(base):
		r.refuse(at, "leave it out, or begin the command with /usr/bin/python3", "%q is not an interpreter that can be forked: that is python3, by its whole path", program)
		return
	}
	n := 1
	for n < len(s.Command) {
		arg := s.Command[n]
		switch {
		case arg == "-X" || arg == "-W":
			n++
		case arg == "-" || arg == "-c" || arg == "-m" || !strings.HasPrefix(arg, "-"):
			s.Fork.Interpreter = slices.Clone(s.Command[:n])
			return
		case !pythonFlags.MatchString(arg):
			r.refuse(at, "write options apart from each other, and those alone that say how it runs", "option %q of %s cannot be that of an interpreter that waits", arg, base)
			return
		}
		n++
	}
	s.Fork.Interpreter = slices.Clone(s.Command[:min(n, len(s.Command))])
}

func (f *Fork) node() *yaml.Node {
	var o object
	o.add("by", text(byFork))
	o.add("spares", count(f.Spares))
	o.add("modules", sequence(f.Modules, text))
	return o.done()
}
