package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cofferdam/executor"
)

func TestHowARunEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		exit executor.Exit
		code int
		line string
	}{
		{"well", executor.Exit{Cause: executor.CauseExit}, 0, ""},
		{"badly", executor.Exit{Cause: executor.CauseExit, Code: 9}, 9, ""},
		{"by a signal", executor.Exit{Cause: executor.CauseSignal, Code: 139, Signal: 11}, 139, ""},
		{
			"wall", executor.Exit{Cause: executor.CauseWall, Code: 137, Limit: "5s", Key: "limits.wall", Usage: executor.Usage{Wall: 5002 * time.Millisecond}},
			124, "wall limit 5s reached after 5.0s; raise it with --wall",
		},
		{
			"memory", executor.Exit{Cause: executor.CauseOOM, Code: 137, Limit: "64MiB", Key: "limits.memory", Usage: executor.Usage{MemoryBytes: 64 << 20}},
			137, "memory limit 64MiB reached with 64.0MiB in use; raise it with --memory",
		},
		{
			"processor time", executor.Exit{Cause: executor.CauseCPU, Code: 137, Limit: "1s", Key: "limits.cpu", Usage: executor.Usage{CPU: time.Second}},
			137, "cpu limit 1s reached after 1.0s of processor time; raise it with --cpu",
		},
		{
			"file size", executor.Exit{Cause: executor.CauseDisk, Code: 153, Signal: 25, Limit: "1MiB", Key: "limits.file_size"},
			153, "file size limit 1MiB reached; raise it with --file-size",
		},
		{
			"a directory", executor.Exit{Cause: executor.CauseDisk, Code: 137, Limit: "1MiB", Key: "volumes.size"},
			137, "size limit 1MiB reached; raise it with --rw HOST:INSIDE:SIZE",
		},
		{
			"a forbidden system call", executor.Exit{Cause: executor.CauseSeccomp, Code: 159, Detail: "system call \x1b[2J"},
			159, `ended: seccomp system call \u001b[2J`,
		},
		{
			"our own fault", executor.Exit{Cause: executor.CauseInternal, Detail: "the spawner has ended"},
			125, "ended: internal the spawner has ended",
		},
		{"killed by a limit, without a code", executor.Exit{Cause: executor.CausePids}, 137, "ended: pids"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := runCode(tt.exit); got != tt.code {
				t.Errorf("runCode(%+v) = %d, want %d", tt.exit, got, tt.code)
			}
			if got := limitLine(tt.exit); got != tt.line {
				t.Errorf("limitLine(%+v) = %q, want %q", tt.exit, got, tt.line)
			}
		})
	}
}

func TestWhereHostFilesAppear(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := filepath.EvalSymlinks(".")
	if err == nil {
		here, err = filepath.Abs(here)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", "link"); err != nil {
		t.Fatal(err)
	}
	const unlimited = executor.Unlimited
	for _, tt := range []struct {
		text     string
		writable bool
		target   string // "" if it is refused
		size     int64
	}{
		{"file", false, "/home/file", 0},
		{"link", false, "/home/link", 0},
		{"./file:/data/x", false, "/data/x", 0},
		{"file:/data/", false, "/data/file", 0},
		{"file:sub/../x", false, "/home/x", 0},
		{"file:/data:1M", true, "/data", 1 << 20},
		{"file:/data:unlimited", true, "/data", unlimited},
		{"file:/data", true, "/data", 0},
		{"file:/data:1M", false, "", 0},
		{"file:/data:1MB", true, "", 0},
		{"file:/data:1M:2M", true, "", 0},
		{"file:/", false, "", 0},
		{"file:/x/..", false, "", 0},
		{"file:/tmp", false, "", 0},
		{"missing:/data", false, "", 0},
		{"/dev/null:/data", false, "", 0},
		{"/:/data", false, "", 0},
	} {
		o := runOptions{workdir: "/home"}
		m, err := o.mount(tt.text, tt.writable)
		if tt.target == "" {
			if err == nil {
				t.Errorf("mount(%q, %t) = %+v, want an error", tt.text, tt.writable, m)
			}
			continue
		}
		if err != nil || m.Target != tt.target || m.SizeBytes != tt.size || m.Writable != tt.writable || m.Source != filepath.Join(here, "file") {
			t.Errorf("mount(%q, %t) = %+v, %v, want target %q, size %d", tt.text, tt.writable, m, err, tt.target, tt.size)
		}
	}
}

func TestDoctorsVerdict(t *testing.T) {
	for _, tt := range []struct {
		found []executor.Status
		want  int
	}{
		{nil, 0},
		{[]executor.Status{executor.Pass, executor.Pass}, 0},
		{[]executor.Status{executor.Pass, executor.Degraded}, 1},
		{[]executor.Status{executor.Fail, executor.Degraded, executor.Pass}, 2},
		{[]executor.Status{"UNHEARD-OF"}, 2},
	} {
		var found []protection
		for _, s := range tt.found {
			found = append(found, protection{Status: s})
		}
		if got := verdict(found); got != tt.want {
			t.Errorf("verdict(%v) = %d, want %d", tt.found, got, tt.want)
		}
	}
}
