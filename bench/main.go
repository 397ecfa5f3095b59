// Command bench measures this software beside named peers, in turn and in one
// run, and prints ratios: numbers of one machine mean little, ratios travel.
//
//	go run ./bench            all of it; needs bin/cofferdam (make build)
//	go run ./bench start      one of: start call relay view memory stress
//
// Every measurement compares the answer it got with the right one, so that
// nothing fast is wrong. The same binary plays the programs inside the
// environments, in the roles at the end of main.
//
// Trusted: no. It only measures.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// measurement is one line of the result.
type measurement struct {
	Name   string  `json:"name"`
	Ours   float64 `json:"ours"`
	Peer   float64 `json:"peer"`
	Unit   string  `json:"unit"`
	Versus string  `json:"versus"`
	Ratio  float64 `json:"ratio"`  // ours / peer
	Spread string  `json:"spread"` // lowest and highest ratio of the rounds
	Target string  `json:"target"`
	Met    bool    `json:"met"`
}

var suites = []struct {
	name string
	run  func() ([]measurement, error)
}{
	{"start", benchStart},
	{"call", benchCall},
	{"relay", benchRelay},
	{"view", benchView},
	{"memory", benchMemory},
	{"stress", benchStress},
}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "role-") {
		if err := runRole(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	format := flag.String("format", "table", "table or json")
	flag.Parse()
	var results []measurement
	failed := false
	for _, s := range suites {
		if flag.NArg() > 0 && !wanted(flag.Args(), s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", s.name)
		ms, err := s.run()
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", s.name, err)
			failed = true
			continue
		}
		results = append(results, ms...)
	}
	print(*format, results)
	if failed {
		os.Exit(1)
	}
}

func wanted(args []string, name string) bool {
	for _, a := range args {
		if a == name {
			return true
		}
	}
	return false
}

func print(format string, results []measurement) {
	if format == "json" {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		enc.Encode(results)
		return
	}
	fmt.Printf("%s, %d cores, %s\n\n", kernel(), runtime.NumCPU(), time.Now().UTC().Format("2006-01-02"))
	fmt.Println("| what | ours | peer | | ratio | spread | target | met |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, m := range results {
		met := "yes"
		if !m.Met {
			met = "**no**"
		}
		fmt.Printf("| %s | %s | %s | %s | %.2f | %s | %s | %s |\n",
			m.Name, number(m.Ours, m.Unit), number(m.Peer, m.Unit), m.Versus, m.Ratio, m.Spread, m.Target, met)
	}
}

func number(v float64, unit string) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}
