package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const zoobarManifest = "examples/zoobar/cofferdam.yaml"

// benchMemory adds up the proportional set sizes of all processes that are
// ours while zoobar idles: up, the spawner, the inits and the gateway.
func benchMemory() ([]measurement, error) {
	dir, err := newDir()
	if err != nil {
		return nil, err
	}
	a := &app{dir: dir, manifest: zoobarManifest}
	if err := a.command("up", "-d").Run(); err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	defer a.stop()
	time.Sleep(2 * time.Second)
	out, err := a.command("ps", "--format", "json").Output()
	if err != nil {
		return nil, err
	}
	var services []struct {
		Service string `json:"service"`
		Pid     int    `json:"pid"`
	}
	if err := json.Unmarshal(out, &services); err != nil {
		return nil, err
	}
	if len(services) == 0 {
		return nil, fmt.Errorf("ps lists nothing")
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
	mib := float64(total) / 1024
	return []measurement{{
		Name: "idle memory of zoobar, ours", Ours: mib, Peer: 60, Unit: "MiB", Versus: "the bound",
		Ratio: mib / 60, Spread: "one run", Target: "< 60 MiB", Met: mib < 60 && total > 0,
	}}, nil
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
