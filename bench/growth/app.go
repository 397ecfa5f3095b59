package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"cofferdam/bench/own"
)

// head is an application with a pair that calls, and with a template, to which more is added. What it runs
// beside them does nothing and needs next to nothing: it is what an environment costs, and not its program.
const head = `version: 1
name: %s
allow_degraded: [cgroup]
budget: {memory: unlimited, pids: unlimited, instances: unlimited}
services:
  a:
    runtime: host
    command: [PLAYER, wait]
    files: [FILES]
    uses: [{call: b.echo}, {spawn: snippet}]
    limits: {memory: 256M, cpus: unlimited}
  b:
    runtime: host
    command: [PLAYER, serve]
    files: [FILES]
    provides: [{call: echo, from: [a]}]
    tcp: [9000, 9001]
    limits: {memory: 256M, cpus: unlimited}
  snippet:
    template: true
    runtime: host
    command: [/bin/true]
    limits: {memory: 16M, pids: 1}
`

// idlers is a manifest with so many services that sleep.
func idlers(name string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, head, name)
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {runtime: host, command: [/bin/sleep, infinity], limits: {memory: 16M, pids: 4}}\n", i)
	}
	return b.String()
}

// took is how long a command takes, in seconds.
func took(a *own.App, args ...string) (float64, []byte, error) {
	var out, errs bytes.Buffer
	cmd := a.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, nil, fmt.Errorf("%v: %w: %s", args, err, bytes.TrimSpace(errs.Bytes()))
	}
	return time.Since(began).Seconds(), out.Bytes(), nil
}

// call is the median of a call from a to b, in µs, and start that of the start and end of an
// environment that a asks for, in ms.
func call(a *own.App) (float64, error) {
	r, err := a.Call(64, 2000)
	return r.Value, err
}

func start(a *own.App) (float64, error) {
	r, err := a.Play("a", "spawn", "1", "20", "0s", "")
	return r.Value, err
}

// free is the memory that the host can give, in KiB: what environments take of the kernel counts, too.
func free() float64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for _, l := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(l, "MemAvailable:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// pss is what the trusted process and the spawner of an application take, in KiB.
func pss(a *own.App) (float64, error) {
	_, out, err := took(a, "ps", "--format", "json")
	if err != nil {
		return 0, err
	}
	var all []struct{ Pid int }
	if err := json.Unmarshal(out, &all); err != nil || len(all) == 0 {
		return 0, fmt.Errorf("ps: %q: %v", out, err)
	}
	spawner := parent(all[0].Pid)
	return sizeOf(spawner) + sizeOf(parent(spawner)), nil
}

func parent(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "\nPPid:")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n
}

func sizeOf(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	n, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return n
}

// services is one manifest of so many: how long it takes to check, to bring up, to list and to end.
func services(p own.Program, most int) ([]*curve, error) {
	times := &curve{Name: "growth-services", Title: "Services of one manifest", X: "services", Y: "s", LogX: true, LogY: true}
	for _, n := range upTo(most, 1, 10, 30, 100, 300, 500, 1000) {
		began := time.Now()
		a, err := p.Up(idlers("grow", n), nil)
		if err != nil {
			return nil, err
		}
		at := float64(n)
		times.add("up -d", at, time.Since(began).Seconds())
		for _, command := range [][]string{{"check"}, {"ps"}, {"stats"}, {"down"}} {
			t, _, err := took(a, command...)
			if err != nil {
				a.Down()
				return nil, err
			}
			times.add(command[0], at, t)
		}
		a.Down()
	}
	return []*curve{times}, nil
}

// growFor is how long there are more and more of them: what a slow host does not come to, it does not measure.
const growFor = 4 * time.Minute

// perApp is how many services one manifest has; for more there are several applications.
const perApp = 1000

// environments is a host with more and more of them, by several applications: what the next one
// takes, and whether a call notices.
func environments(p own.Program, most int) (out []*curve, err error) {
	memory := &curve{Name: "growth-memory", Title: "Memory of an environment that sleeps, all told", X: "environments", Y: "KiB each", LogX: true}
	call1 := &curve{Name: "growth-call", Title: "A call between two, beside others that sleep", X: "environments", Y: "µs", LogX: true}
	start1 := &curve{Name: "growth-start", Title: "Start and end of one more, beside others that sleep", X: "environments", Y: "ms", LogX: true}
	took := &curve{Name: "growth-teardown", Title: "All of them at once, for each", X: "environments", Y: "ms each", LogX: true}
	out = []*curve{memory, call1, start1, took}
	first, err := p.Up(idlers("first", 0), nil)
	if err != nil {
		return nil, err
	}
	apps := []*own.App{first}
	defer func() {
		for _, a := range apps {
			a.Down()
		}
	}()
	measure := func(n int) error {
		at := float64(max(n, 1))
		c, err := call(first)
		if err != nil {
			return err
		}
		s, err := start(first)
		if err != nil {
			return err
		}
		call1.add("a call, 64 bytes, there and back", at, c)
		start1.add("/bin/true, asked for by a service", at, s)
		return nil
	}
	if err := measure(0); err != nil {
		return out, err
	}
	before, n, begun := free(), 0, time.Now()
	for _, more := range []int{10, 90, 400, 500, perApp, perApp, perApp, perApp} {
		if n+more > most {
			break
		}
		if time.Since(begun) > growFor {
			fmt.Fprintf(os.Stderr, "growth-environments: no more than %d, for they have taken %v already\n", n, time.Since(begun).Round(time.Second))
			break
		}
		began := time.Now()
		a, err := p.Up(idlers(fmt.Sprintf("more%d", len(apps)), more-2), nil)
		if err != nil {
			return out, fmt.Errorf("%d environments more than %d: %w", more, n, err)
		}
		apps, n = append(apps, a), n+more
		took.add("up, of those that came last", float64(n), time.Since(began).Seconds()*1000/float64(more))
		if err := measure(n); err != nil {
			return out, err
		}
		memory.add("of the host", float64(n), (before-free())/float64(n))
		var ours float64
		for _, a := range apps[1:] {
			kib, err := pss(a)
			if err != nil {
				return out, err
			}
			ours += kib
		}
		memory.add("of that, of the trusted process and the spawner", float64(n), ours/float64(n))
	}
	end := time.Now()
	for len(apps) > 1 {
		a := apps[len(apps)-1]
		apps = apps[:len(apps)-1]
		a.Down()
	}
	took.add("down", float64(n), time.Since(end).Seconds()*1000/float64(n))
	return out, nil
}

// grants is an application of two with so many grants to others, which are not started.
func grants(p own.Program, most int) ([]*curve, error) {
	times := &curve{Name: "growth-grants", Title: "Grants of one manifest", X: "grants", Y: "s", LogX: true, LogY: true}
	calls := &curve{Name: "growth-grants-call", Title: "A call, by how many grants there are", X: "grants", Y: "µs", LogX: true}
	for _, n := range upTo(most, 10, 100, 1000, 10_000, 100_000) {
		began := time.Now()
		a, err := p.Up(granted(n), nil)
		if err != nil {
			return nil, err
		}
		at := float64(n)
		times.add("up -d", at, time.Since(began).Seconds())
		c, err := call(a)
		if err == nil {
			calls.add("64 bytes, there and back", at, c)
			for _, command := range [][]string{{"check"}, {"grants"}, {"ps"}, {"down"}} {
				var t float64
				if t, _, err = took(a, command...); err != nil {
					break
				}
				times.add(command[0], at, t)
			}
		}
		a.Down()
		if err != nil {
			return nil, err
		}
	}
	return []*curve{times, calls}, nil
}

// granted is a manifest with n grants: templates, of which none runs, may call the methods of another.
func granted(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, head, "granted")
	callers := min(n, 250)
	var names []string
	for i := range callers {
		names = append(names, fmt.Sprintf("t%d", i))
		fmt.Fprintf(&b, "  t%d: {template: true, runtime: host, command: [/bin/true]}\n", i)
	}
	b.WriteString("  m:\n    stdio: lines\n    runtime: host\n    command: [/bin/cat]\n    provides:\n")
	for i := range n / callers {
		fmt.Fprintf(&b, "      - {call: m%d, from: [%s]}\n", i, strings.Join(names, ","))
	}
	return b.String()
}
