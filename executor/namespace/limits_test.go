package namespace_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// needGroup skips a test of what only a cgroup gives.
func needGroup(t *testing.T, e *namespace.Executor, name string) {
	t.Helper()
	for _, p := range e.Protections() {
		if p.Name == name && p.Status != executor.Pass {
			t.Skipf("needs cgroup: %s: %s", p.Name, p.Detail)
		}
	}
}

// A fork bomb does not get beyond its limit, whoever counts.
func TestForkBomb(t *testing.T) {
	e := open(t)
	spec := probing(t, "threads")
	spec.Limits.Pids = 24
	if got := finish(t, e, spec); got.Code != 4 || !strings.Contains(got.stdout, "temporarily unavailable") || got.Usage.Pids > 24 {
		t.Errorf("%+v, want a fork refused", got)
	}
}

// Each limit meets a real program that goes beyond it.
func TestLimits(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		name, probe string
		args        []string
		set         func(*executor.Spec)
		cause       executor.Cause
		key, limit  string
	}{
		{"memory", "memory", nil, func(s *executor.Spec) { s.Limits.MemoryBytes = 48 << 20 }, executor.CauseOOM, "limits.memory", "48MiB"},
		{"pids", "threads", nil, func(s *executor.Spec) { s.Limits.Pids = 24 }, executor.CausePids, "limits.pids", "24"},
		{"cpu", "spin", nil, func(s *executor.Spec) { s.Limits.CPU = 200 * time.Millisecond }, executor.CauseCPU, "limits.cpu", "200ms"},
		{"wall", "sleep", nil, func(s *executor.Spec) { s.Limits.Wall = 200 * time.Millisecond }, executor.CauseWall, "limits.wall", "200ms"},
		{"volume", "fill", []string{"/data"}, func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountBind, Source: dir, Target: "/data", Writable: true, SizeBytes: 1 << 20})
		}, executor.CauseDisk, "volumes.size", "1MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "pids" {
				needGroup(t, e, "cgroup.pids")
			}
			spec := probing(t, tt.probe, tt.args...)
			tt.set(spec)
			got := finish(t, e, spec)
			if got.Cause != tt.cause || got.Key != tt.key || got.Limit != tt.limit || got.Code == 0 || got.Detail == "" {
				t.Errorf("%+v, want cause %q, key %q, limit %q", got.Exit, tt.cause, tt.key, tt.limit)
			}
		})
	}
}

// Memory that is not mapped counts, or cannot be had.
func TestUnmappedMemory(t *testing.T) {
	e := open(t)
	for _, way := range []string{"memfd", "shm", "anonymous", "zero"} {
		t.Run(way, func(t *testing.T) {
			spec := probing(t, "unmapped", way)
			spec.Limits.MemoryBytes = 48 << 20
			if got := finish(t, e, spec); got.Cause != executor.CauseOOM && (got.Code != 0 || got.stdout == "") {
				t.Errorf("%+v, want the limit of memory or a refusal", got)
			}
		})
	}
}

// What connections hold counts, or cannot be had. Version 1 of cgroups counts none of
// it as memory: it has a limit of its own there.
func TestConnectionsHoldLittle(t *testing.T) {
	e := open(t)
	spec := probing(t, "tcp")
	spec.Limits.MemoryBytes = 48 << 20
	got := finish(t, e, spec)
	var held, ends int
	fmt.Sscan(got.stdout, &held, &ends)
	t.Logf("%d MiB in %d ends", held, ends)
	if got.Cause != executor.CauseOOM && (got.Code != 0 || ends != 200 || held > 64) {
		t.Errorf("%+v, want at most 64 MiB in 100 connections", got)
	}
}

// Processor time counts, whoever waits for the process that spent it.
func TestOrphansTimeCounts(t *testing.T) {
	e := open(t)
	for _, how := range []string{"orphaned", "ignored"} {
		t.Run(how, func(t *testing.T) {
			spec := probing(t, "relay", how)
			spec.Limits.CPU, spec.Limits.Wall = 600*time.Millisecond, 10*time.Second
			if got := finish(t, e, spec); got.Cause != executor.CauseCPU {
				t.Errorf("%+v, want the limit of processor time", got)
			}
		})
	}
}

// A file counts as long as it lives, not as long as it has a name.
func TestDeletedFilesCount(t *testing.T) {
	e := open(t)
	for _, how := range []string{"open", "mapped"} {
		t.Run(how, func(t *testing.T) {
			if how == "mapped" && os.Geteuid() != 0 {
				t.Skip("needs root: only root sees what a process has mapped and closed")
			}
			spec := probing(t, "deleted", "/data", how)
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: t.TempDir(), Target: "/data", Writable: true, SizeBytes: 1 << 20})
			if got := finish(t, e, spec); got.Cause != executor.CauseDisk || got.Key != "volumes.size" || got.Limit != "1MiB" {
				t.Errorf("%+v, want the quota of the volume", got)
			}
		})
	}
}

func TestOutputLimit(t *testing.T) {
	e := open(t)
	spec := host("sh", "-c", "yes; exit 0")
	spec.Limits.OutputBytes = 64 << 10
	got := finish(t, e, spec)
	if got.Cause != executor.CauseOutput || got.Key != "limits.output" || len(got.stdout) != 64<<10 {
		t.Errorf("%+v with %d bytes, want cause output with 65536", got.Exit, len(got.stdout))
	}
}

func TestFileSizeLimit(t *testing.T) {
	e := open(t)
	spec := host("sh", "-c", "exec dd if=/dev/zero of=/tmp/big bs=1M count=8")
	spec.Limits.FileBytes = 1 << 20
	got := finish(t, e, spec)
	if got.Cause != executor.CauseDisk || got.Key != "limits.file_size" || got.Limit != "1MiB" {
		t.Errorf("%+v, want cause disk", got)
	}
}

func TestTmpIsBounded(t *testing.T) {
	e := open(t)
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		spec := probing(t, "big", dir+"/file")
		spec.Limits.TmpBytes = 1 << 20
		if got := finish(t, e, spec); got.Code != 1 || !strings.Contains(got.stdout, "no space left") {
			t.Errorf("filling %s: %+v", dir, got)
		}
	}
}

func TestOpenFilesLimit(t *testing.T) {
	e := open(t)
	spec := probing(t, "files")
	spec.Limits.OpenFiles = 32
	if got := finish(t, e, spec); !strings.Contains(got.stdout, "too many open files") {
		t.Errorf("%+v, want too many open files", got)
	}
}

// A process that loses a child to the limit of memory goes with it.
func TestOOMTakesTheTree(t *testing.T) {
	e := open(t)
	needGroup(t, e, "cgroup.memory")
	spec := probing(t, "sleep")
	spec.Command.Args = []string{"sh", "-c", "/probe probe memory; sleep 3600"}
	spec.Limits.MemoryBytes = 48 << 20
	began := time.Now()
	got := finish(t, e, spec)
	if got.Cause != executor.CauseOOM || time.Since(began) > 15*time.Second {
		t.Errorf("%+v after %v, want oom", got, time.Since(began))
	}
}

func TestOnePid(t *testing.T) {
	e := open(t)
	spec := host("sh", "-c", "echo alone; /bin/true; echo $?")
	spec.Limits.Pids = 1
	if got := finish(t, e, spec); !strings.HasPrefix(got.stdout, "alone") || strings.Contains(got.stdout, "\n0\n") {
		t.Errorf("with one process: %+v", got)
	}
}

// Where there is no room for one more process nothing can be executed, which is the
// asker's affair: the spawner and everybody else go on.
func TestExecWithoutRoom(t *testing.T) {
	e := open(t)
	needGroup(t, e, "cgroup.pids")
	spec := host("sleep", "3600")
	spec.Limits.Pids = 1
	p, err := e.Start(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill(executor.CausePolicy, "")
	exit, err := p.Exec(context.Background(), &executor.Command{Args: []string{"true"}, Env: []string{"PATH=/usr/bin:/bin"}})
	if err == nil || !strings.Contains(err.Error(), "make a process for the program: resource temporarily unavailable") {
		t.Errorf("exec beside the one process allowed: %+v, %v", exit, err)
	}
	if got := sh(t, e, "exit 3"); got.Code != 3 {
		t.Errorf("the next environment: %+v", got)
	}
}

func TestUsage(t *testing.T) {
	e := open(t)
	p, err := e.Start(context.Background(), host("sleep", "3600"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	u := p.Usage()
	if u.Wall < 100*time.Millisecond || u.MemoryBytes == 0 || u.Pids != 1 {
		t.Errorf("usage %+v of a sleeping program", u)
	}
	p.Kill(executor.CausePolicy, "enough")
	p.Kill(executor.CauseWall, "too late")
	<-p.Done()
	if x := p.Exit(); x.Cause != executor.CausePolicy || x.Detail != "enough" || x.Code != 137 {
		t.Errorf("%+v, want the first cause", x)
	}
}
