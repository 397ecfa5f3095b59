package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readTraces adds up what `go tool pprof -traces` prints: after a line of dashes comes a stack, the innermost
// function first and behind its value, one function a line; above them may stand labels, "bytes: 64B" for one.
// A value is a number with or without a unit of bytes or time.
//
// Only stacks with a function whose name has below in it count, from that on.
func readTraces(r io.Reader, below string) (*frame, error) {
	root := &frame{name: "all"}
	var stack []string
	value := 0.0
	end := func() {
		slices.Reverse(stack)
		if from := slices.IndexFunc(stack, func(name string) bool { return strings.Contains(name, below) }); from >= 0 {
			root.add(int(value), stack[from:])
		}
		stack, value = stack[:0], 0
	}
	begun := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), " (inline)")
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "-----------+"):
			end()
			begun = true
		case !begun || len(words) == 0: // the head: file, type and time
		case len(stack) > 0:
			stack = append(stack, strings.Join(words, " "))
		case len(words) > 1 && !strings.HasSuffix(words[0], ":"):
			n, err := amount(words[0])
			if err != nil {
				return nil, err
			}
			value, stack = n, append(stack, strings.Join(words[1:], " "))
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if root.samples == 0 {
		return nil, errNothing("`go tool pprof -traces` prints")
	}
	return root, nil
}

var units = map[string]float64{"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}

func amount(s string) (float64, error) {
	end := strings.LastIndexAny(s, "0123456789") + 1
	var n float64
	unit, ok := units[s[end:]]
	if _, err := fmt.Sscan(s[:end], &n); err != nil || !ok {
		return 0, fmt.Errorf("%q is no value of a trace", s)
	}
	return n * unit, nil
}
