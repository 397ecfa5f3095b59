package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"cofferdam/bench/own"
)

// inside is what the rooms say of themselves: benchmarks of tables with more in them than
// one manifest may have, BenchmarkGrowthNAME/WHAT=SIZE.
func inside(own.Program, int) ([]*curve, error) {
	cmd := exec.Command("go", "test", "./monitor", "./supervisor", "./label", "-run", "^$", "-bench", "Growth", "-benchtime", "100ms", "-cpu", "1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	c := &curve{Name: "growth-monitor", Title: "One step, by how much there is", X: "size", Y: "µs", LogX: true, LogY: true}
	change := &curve{Name: "growth-revoke", Title: "A grant revoked and given again, by how much there is", X: "size", Y: "µs", LogX: true, LogY: true}
	few := &curve{Name: "growth-labels", Title: "One step with labels, within their bounds", X: "size", Y: "µs", LogX: true, LogY: true}
	for _, m := range regexp.MustCompile(`(?m)^BenchmarkGrowth(\w+)/(\w+)=(\d+)\s+\d+\s+([\d.]+) ns/op`).FindAllStringSubmatch(string(out), -1) {
		size, _ := strconv.ParseFloat(m[3], 64)
		ns, _ := strconv.ParseFloat(m[4], 64)
		of := c
		switch {
		case m[1] == "Revoke":
			of = change
		case m[2] == "clauses" || m[2] == "passed":
			of = few
		}
		of.add(strings.ToLower(m[1])+", by "+m[2], size, ns/1000)
	}
	if len(c.Lines) == 0 {
		return nil, fmt.Errorf("no benchmark has said anything: %s", out)
	}
	return []*curve{c, change, few}, nil
}
