package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cofferdam/bench/own"
	"cofferdam/executor/namespace"
)

const zoobarManifest = "examples/zoobar/cofferdam.yaml"

// waiting is what an environment costs that waits complete for its program, all told:
// its processes, and what the kernel has for it.
func waiting() scenario {
	const bound = 400 // KiB
	return scenario{
		name: "memory-waiting", what: "an environment that waits for its program", unit: "KiB", rounds: 5, count: 200,
		contestants: []contestant{
			{name: "cofferdam", how: "memory of the machine that is neither free nor a cache, with and without them", open: func() (runner, error) {
				x, err := namespace.New(namespace.Options{Executable: []string{binary, "spawner"}, App: "bench"})
				if err != nil {
					return runner{}, err
				}
				spec := own.Spec([]string{"cgroup"}, nothing.args...)
				return runner{close: func() { x.Close() }, run: func(count int) (own.Reading, error) {
					before := usedKiB()
					if err := x.Prepare(context.Background(), spec, count); err != nil {
						return own.Reading{}, err
					}
					with := usedKiB()
					err := x.Prepare(context.Background(), spec, 0)
					time.Sleep(200 * time.Millisecond) // the kernel takes networks down later
					return own.Reading{Value: float64(with-before) / float64(count)}, err
				}}, nil
			}},
			bounded(bound),
		},
		ratios: []pair{{of: "cofferdam", to: "the bound", most: 1}},
	}
}

// bounded stands for a number that was promised.
func bounded(bound float64) contestant {
	return contestant{name: "the bound", open: func() (runner, error) {
		return runner{run: func(int) (own.Reading, error) { return own.Reading{Value: bound}, nil }}, nil
	}}
}

// usedKiB is what the machine uses for anything but caches: proc_meminfo(5). What
// others take or give back meanwhile is in it.
func usedKiB() int {
	kib := make(map[string]int)
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.SplitSeq(string(b), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			kib[name], _ = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
	}
	return kib["MemTotal"] - kib["MemFree"] - kib["Buffers"] - kib["Cached"]
}

// memory adds up the proportional set sizes of all processes that are ours while
// zoobar idles: up, the spawner, the inits and the gateway.
func memory() scenario {
	const bound = 60
	return scenario{
		name: "memory", what: "idle memory of zoobar, ours: up, the spawner, the inits and the gateway", unit: "MiB", rounds: 1, count: 1,
		contestants: []contestant{
			{name: "cofferdam", how: "proportional set sizes, two seconds after up -d", open: func() (runner, error) {
				return runner{run: func(int) (own.Reading, error) {
					mib, err := idleMemory()
					return own.Reading{Value: mib}, err
				}}, nil
			}},
			bounded(bound),
		},
		ratios: []pair{{of: "cofferdam", to: "the bound", most: 1}},
	}
}

// idleMemory is in MiB.
func idleMemory() (float64, error) {
	p, err := ours()
	if err != nil {
		return 0, err
	}
	a, err := p.UpFile(zoobarManifest)
	if err != nil {
		return 0, err
	}
	defer a.Down()
	time.Sleep(2 * time.Second)
	out, err := a.Command("ps", "--format", "json").Output()
	if err != nil {
		return 0, err
	}
	var services []struct {
		Service string `json:"service"`
		Pid     int    `json:"pid"`
	}
	if err := json.Unmarshal(out, &services); err != nil {
		return 0, err
	}
	if len(services) == 0 {
		return 0, fmt.Errorf("ps lists nothing")
	}
	total := 0
	inits := make(map[int]bool)
	spawner := 0
	for _, s := range services {
		inits[s.Pid] = true
		spawner = parent(s.Pid)
		if s.Service == "gateway" {
			for _, child := range children(s.Pid) {
				total += pss(child)
			}
		}
	}
	for pid := range inits {
		total += pss(pid)
	}
	total += pss(spawner) + pss(parent(spawner))
	return float64(total) / 1024, nil
}

func parent(pid int) int { return statusNumber(pid, "PPid:") }

func statusNumber(pid int, key string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}

func children(pid int) []int {
	var out []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		n, _ := strconv.Atoi(filepath.Base(dir))
		if parent(n) == pid {
			out = append(out, n)
		}
	}
	return out
}

// pss is in KiB: the private pages, and a share of those that others map too.
func pss(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}
