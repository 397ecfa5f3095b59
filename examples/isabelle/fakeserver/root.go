package fakeserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sessionInfo is what a ROOT file says of a session, or what is known of one that
// comes with Isabelle.
type sessionInfo struct {
	name, parent string
	dir          string   // where its theories are; "" for one that comes with Isabelle
	others       []string // directories besides
	sessions     []string // whose theories it imports besides those of its parent
	theories     []string // of one with a directory: paths; of another: what is in its image
}

// library are the sessions that come with Isabelle. Of their theories there are
// only the names.
var library = []sessionInfo{
	{name: "Pure", theories: []string{"Pure"}},
	{name: "HOL", parent: "Pure", theories: append([]string{"Main", "Complex_Main"}, qualified("HOL",
		`HOL Orderings Groups Lattices Set Fun Product_Type Sum_Type Nat Power Int List Map Option Relation Finite_Set
		 Rat Real Wellfounded Transitive_Closure Divides Parity String Num Typedef Inductive Lifting Transfer Presburger`)...)},
	{name: "Main", parent: "HOL"},
	{name: "HOL-Library", parent: "HOL", theories: qualified("HOL-Library",
		"Multiset FSet Finite_Map Code_Target_Nat Code_Target_Int Code_Target_Numeral Tree Monad_Syntax Extended_Nat Word While_Combinator LaTeXsugar")},
	{name: "HOL-Computational_Algebra", parent: "HOL-Library", theories: qualified("HOL-Computational_Algebra", "Primes Polynomial Computational_Algebra")},
	{name: "HOL-Number_Theory", parent: "HOL-Computational_Algebra", theories: qualified("HOL-Number_Theory", "Number_Theory Cong Fib")},
	{name: "HOL-Analysis", parent: "HOL-Computational_Algebra", theories: qualified("HOL-Analysis", "Analysis Derivative Topology_Euclidean_Space")},
	{name: "HOL-Algebra", parent: "HOL-Computational_Algebra", theories: qualified("HOL-Algebra", "Group Ring Algebra")},
	{name: "HOL-IMP", parent: "HOL-Library", theories: qualified("HOL-IMP", "AExp BExp Com Big_Step Small_Step Hoare")},
	{name: "HOL-Eisbach", parent: "HOL", theories: qualified("HOL-Eisbach", "Eisbach Eisbach_Tools")},
	{name: "FOL", parent: "Pure", theories: []string{"FOL", "IFOL"}},
	{name: "ZF", parent: "FOL", theories: []string{"ZF", "ZFC"}},
}

func qualified(session, theories string) []string {
	list := strings.Fields(theories)
	for i, t := range list {
		list[i] = session + "." + t
	}
	return list
}

// sessions are those of the library and of directories.
type sessions map[string]sessionInfo

// readSessions reads the ROOT files of directories, and those that ROOTS files lead to.
func readSessions(dirs []string) (sessions, error) {
	all := make(sessions)
	for _, info := range library {
		all[info.name] = info
	}
	seen := make(map[string]bool)
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return nil, fmt.Errorf("No such directory: %q", dir)
		}
		root, errRoot := os.ReadFile(filepath.Join(dir, "ROOT"))
		roots, errRoots := os.ReadFile(filepath.Join(dir, "ROOTS"))
		if errRoot != nil && errRoots != nil {
			return nil, fmt.Errorf("Bad session root directory (missing ROOT or ROOTS): %q", dir)
		}
		if errRoot == nil {
			infos, err := parseRoot(newSource(filepath.Join(dir, "ROOT"), string(root)), dir)
			if err != nil {
				return nil, err
			}
			for _, info := range infos {
				if _, ok := all[info.name]; ok {
					return nil, fmt.Errorf("Duplicate session %q", info.name)
				}
				all[info.name] = info
			}
		}
		for line := range strings.Lines(string(roots)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				dirs = append(dirs, filepath.Join(dir, line))
			}
		}
	}
	return all, nil
}

// parseRoot reads: session NAME (GROUPS) in DIR = PARENT + description … options
// […] sessions … directories … theories ….
func parseRoot(s *source, dir string) ([]sessionInfo, error) {
	var list []sessionInfo
	all := tokens(s.text)
	i := 0
	is := func(v string) bool { return i < len(all) && all[i].kind != quoted && all[i].value == v }
	name := func() (string, bool) {
		if i < len(all) && (all[i].kind == word || all[i].kind == quoted) {
			i++
			v := all[i-1].value
			for all[i-1].kind == word && i+1 < len(all) && all[i].value == "-" && all[i].start == all[i-1].end && all[i+1].kind == word { // HOL-Library
				v, i = v+"-"+all[i+1].value, i+2
			}
			return v, true
		}
		return "", false
	}
	bracket := func(open, close string) {
		if is(open) {
			for ; i < len(all) && !is(close); i++ {
			}
			i++
		}
	}
	bad := func(want string) ([]sessionInfo, error) {
		if i < len(all) {
			return nil, fmt.Errorf("Outer syntax error%s: %s expected,\nbut %s was found", s.place(all[i].start), want, all[i].describe())
		}
		return nil, fmt.Errorf("Outer syntax error%s: %s expected,\nbut end-of-input was found", s.place(len(s.text)), want)
	}
	for i < len(all) {
		if is("chapter") || is("chapter_definition") {
			i += 2
			continue
		}
		if !is("session") {
			return bad(`keyword "session"`)
		}
		i++
		info := sessionInfo{dir: dir}
		var ok bool
		if info.name, ok = name(); !ok {
			return bad("session name")
		}
		bracket("(", ")")
		if is("in") {
			i++
			in, ok := name()
			if !ok {
				return bad("directory")
			}
			info.dir = filepath.Join(dir, in)
		}
		if !is("=") {
			return bad(`keyword "="`)
		}
		i++
		if info.parent, ok = name(); !ok {
			return bad("parent session")
		}
		if !is("+") {
			return bad(`keyword "+"`)
		}
		section := "" // of what follows the names are
		for i++; i < len(all) && !is("session") && !is("chapter"); {
			switch {
			case all[i].kind == word && slices.Contains(rootWords, all[i].value):
				section = all[i].value
				i++
			case is("["):
				bracket("[", "]")
			case is("("):
				bracket("(", ")")
			default:
				v, ok := name()
				switch {
				case !ok:
					return bad(`keyword "theories"`)
				case section == "theories":
					info.theories = append(info.theories, v)
				case section == "sessions":
					info.sessions = append(info.sessions, v)
				case section == "directories":
					info.others = append(info.others, filepath.Join(info.dir, v))
				}
			}
		}
		list = append(list, info)
	}
	return list, nil
}

var rootWords = strings.Fields("description options sessions directories theories document_theories document_files export_files export_classpath")

// chain is the session and all that it is built on, the lowest first.
func (s sessions) chain(name string) ([]sessionInfo, error) {
	var list []sessionInfo
	for at := name; at != ""; {
		info, ok := s[at]
		if !ok {
			return nil, fmt.Errorf("Undefined session(s): %q", at)
		}
		if slices.ContainsFunc(list, func(i sessionInfo) bool { return i.name == at }) {
			return nil, fmt.Errorf("Cyclic dependency of sessions %q", name)
		}
		list = append(list, info)
		at = info.parent
	}
	slices.Reverse(list)
	return list, nil
}

// has reports whether a theory is one of the library.
func (s sessions) has(theory string) bool {
	for _, info := range s {
		if info.dir == "" && slices.Contains(info.theories, theory) {
			return true
		}
	}
	return false
}
