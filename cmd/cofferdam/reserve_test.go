package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/supervisor"
)

// Running applications cannot reserve more than there is, who refuses says who has
// what, and what an ended one had is free.
func TestReserve(t *testing.T) {
	top := t.TempDir()
	there := supervisor.Budget{MemoryBytes: 4 << 30, Pids: 1000}
	take := func(name string, memory int64, pids int) (*os.File, error) {
		t.Helper()
		d := supervisor.Dirs{State: filepath.Join(top, "s", name), Runtime: filepath.Join(top, "r", "apps", name)}
		lock, err := prepare(name, d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { lock.Close() })
		return lock, reserve(lock, name, d, supervisor.Budget{MemoryBytes: memory, Pids: pids, Instances: 10}, there)
	}
	first, err := take("first", 3<<30, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take("free", -1, -1); err != nil {
		t.Errorf("no limit reserves nothing: %v", err)
	}
	second, err := take("second", 2<<30, 100)
	if err == nil || !strings.Contains(err.Error(), "budget.memory: 2G of memory are more than is left of the host's 4G") || !strings.Contains(err.Error(), "first (process ") || !strings.Contains(err.Error(), ") holds 3G and 100") {
		t.Errorf("5 of 4 GiB: %v", err)
	}
	second.Close()
	if _, err := take("third", 1<<20, 901); err == nil || !strings.Contains(err.Error(), "budget.pids: 901 processes are more than is left of the host's 1000") {
		t.Errorf("1001 of 1000 processes: %v", err)
	}
	first.Close()
	if _, err := take("fourth", 4<<30, 1000); err != nil {
		t.Errorf("all that is free: %v", err)
	}
}

func TestHost(t *testing.T) {
	if h := host(); h.MemoryBytes < 64<<20 || h.Pids < 1000 {
		t.Errorf("this host has %+v", h)
	}
}
