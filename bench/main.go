// Command bench measures this software beside named peers, in turn and in one
// run, and prints ratios: numbers of one machine mean little, ratios travel.
//
//	go run ./bench                 all of it; needs what make bench makes
//	go run ./bench start call      those whose names begin so, see --list
//
// Every measurement compares the answer it got with the right one, so that
// nothing fast is wrong. Ours is measured by package own, which `cofferdam bench`
// is as well; here are the peers. Those that are Go modules are programs of a module
// of their own, bench/peers, and plots are drawn by another, bench/plot: neither
// is ever linked with what they are beside.
//
// Trusted: no. It only measures.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cofferdam/bench/own"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == own.PlayRole {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	// Servers that scripts/install unpacked, so that they do not start by themselves.
	unpacked := filepath.Join(tools, "debian/usr")
	os.Setenv("PATH", strings.Join([]string{os.Getenv("PATH"), filepath.Join(unpacked, "sbin"), filepath.Join(unpacked, "bin")}, ":"))
	if err := measure(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	format string
	list   bool
	rounds int    // 0 for what each scenario takes
	count  int    // the same
	docs   string // where to write what was found, or nowhere
	opened *opened
}

func measure(args []string) error {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.StringVar(&s.format, "format", "table", "table, json or jsonl")
	flags.BoolVar(&s.list, "list", false, "list the scenarios and measure nothing")
	flags.IntVar(&s.rounds, "rounds", 0, "rounds of each scenario, instead of its own number")
	flags.IntVar(&s.count, "count", 0, "how often each does it in a round, instead of the scenario's own number")
	flags.StringVar(&s.docs, "write", "", "a directory of documents: benchmarks/latest.json and the tables of BENCHMARKS.md in it are brought up to date")
	flags.Parse(args)
	print, err := printerOf(s.format)
	if err != nil {
		return err
	}
	wanted, curves := choose(flags.Args())
	if len(wanted)+len(curves) == 0 {
		return fmt.Errorf("there is no scenario %q; see --list", flags.Args())
	}
	if s.list {
		for _, sc := range wanted {
			fmt.Printf("%-16s %s\n", sc.name, sc.what)
		}
		for _, w := range curves {
			fmt.Printf("%-16s %s\n", w.name, w.title)
		}
		return nil
	}
	found := report{Machine: thisMachine()}
	s.opened = new(opened)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		s.opened.close()
		os.Exit(130)
	}()
	var failed []error
	keep := func() {
		if s.docs != "" {
			failed = append(failed, write(s.docs, found))
		}
	}
	for _, sc := range wanted {
		r, err := sc.run(s)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", sc.name, err))
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", sc.name, err)
			continue
		}
		found.Scenarios = append(found.Scenarios, r)
		keep()
	}
	for _, w := range curves {
		c, err := w.run(s)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", w.name, err)
			continue
		}
		found.Curves = append(found.Curves, c)
		keep()
	}
	if err := print(os.Stdout, found); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// choose gives what has a name that is one of the words, or begins with one and a
// hyphen; or all but what only runs if it is asked for.
func choose(words []string) (wanted []scenario, curves []sweep) {
	asked := func(name string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return name == w || strings.HasPrefix(name, w+"-") })
	}
	for _, sc := range scenarios() {
		if asked(sc.name) || len(words) == 0 && !sc.asked {
			wanted = append(wanted, sc)
		}
	}
	for _, w := range sweeps() {
		if asked(w.name) || len(words) == 0 {
			curves = append(curves, w)
		}
	}
	return wanted, curves
}
