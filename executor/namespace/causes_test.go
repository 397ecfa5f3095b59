package namespace_test

import (
	"context"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// enforced tells whether this host enforces a protection.
func enforced(e *namespace.Executor, name string) bool {
	for _, p := range e.Protections() {
		if p.Name == name {
			return p.Status == executor.Pass
		}
	}
	return false
}

// TestCauses has a real program, or an act of the operator's, for every cause there
// is, and for what looks like a cause and is none: the table of docs/MANIFEST.md.
func TestCauses(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	memory, pids, images := enforced(e, "cgroup.memory"), enforced(e, "cgroup.pids"), enforced(e, "disk-quota")
	run := func(script string, set func(*executor.Spec)) *executor.Spec {
		spec := probing(t, "sleep")
		spec.Command.Args = []string{"sh", "-c", script}
		if set != nil {
			set(spec)
		}
		return spec
	}
	volume := func(size, inodes int64) func(*executor.Spec) {
		return func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountVolume, Source: "v", Target: "/data", Writable: true, SizeBytes: size, Inodes: inodes})
		}
	}
	limit := func(l executor.Limits) func(*executor.Spec) {
		return func(s *executor.Spec) {
			l.Wall = max(l.Wall, 0)
			if l.Wall == 0 {
				l.Wall = time.Minute
			}
			s.Limits = l
		}
	}
	kill := func(t *testing.T, p executor.Process) { p.Kill(executor.CausePolicy, "enough") }
	const any = -1
	for _, tt := range []struct {
		name string
		spec *executor.Spec
		act  func(*testing.T, executor.Process)
		want executor.Exit // a Code of any is any but 0
		skip string
	}{
		{"exit", run("exit 3", nil), nil, executor.Exit{Cause: executor.CauseExit, Code: 3}, ""},
		{"signal", run("kill -TERM $$", nil), nil, executor.Exit{Cause: executor.CauseSignal, Code: 143, Signal: 15}, ""},
		{"memory", run("exec /probe probe memory", limit(executor.Limits{MemoryBytes: 48 << 20})), nil, executor.Exit{Cause: executor.CauseOOM, Code: any, Limit: "48MiB", Key: "limits.memory"}, ""},
		{"a child's memory, and the program ends well", run("/probe probe memory; exit 0", limit(executor.Limits{MemoryBytes: 48 << 20})), nil, executor.Exit{Cause: executor.CauseOOM, Code: any, Limit: "48MiB", Key: "limits.memory"}, needs(memory, "cgroup: memory is watched here, and a child that was ended may have been the only one to notice")},
		{"processes", run("exec /probe probe threads", limit(executor.Limits{Pids: 24})), nil, executor.Exit{Cause: executor.CausePids, Code: any, Limit: "24", Key: "limits.pids"}, needs(pids, "cgroup: nobody counts the refusals")},
		{"processes refused, and the program copes", run("/probe probe threads; exit 0", limit(executor.Limits{Pids: 24})), nil, executor.Exit{Cause: executor.CauseExit}, ""},
		{"processor time", run("exec /probe probe spin", limit(executor.Limits{CPU: 200 * time.Millisecond})), nil, executor.Exit{Cause: executor.CauseCPU, Code: 137, Limit: "200ms", Key: "limits.cpu"}, ""},
		{"processor time of many short processes", run("while :; do sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done'; done", limit(executor.Limits{CPU: 300 * time.Millisecond})), nil, executor.Exit{Cause: executor.CauseCPU, Code: 137, Limit: "300ms", Key: "limits.cpu"}, ""},
		{"wall", run("sleep 60", limit(executor.Limits{Wall: 200 * time.Millisecond})), nil, executor.Exit{Cause: executor.CauseWall, Code: 137, Limit: "200ms", Key: "limits.wall"}, ""},
		{"output", run("exec yes", limit(executor.Limits{OutputBytes: 4096})), nil, executor.Exit{Cause: executor.CauseOutput, Code: 137, Limit: "4KiB", Key: "limits.output"}, ""},
		{"a volume", run("head -c 8M /dev/zero > /data/a; s=$?; [ $s = 0 ] && exec sleep 60; exit $s", volume(1<<20, 0)), nil, executor.Exit{Cause: executor.CauseDisk, Code: any, Limit: "1MiB", Key: "volumes.size"}, ""},
		{"a volume full, and the program copes", run("head -c 8M /dev/zero > /data/a; exit 0", volume(1<<20, 0)), nil, executor.Exit{Cause: executor.CauseExit}, needs(images, "image: what is too much is not refused but ends the program")},
		{"a file", run("exec head -c 2M /dev/zero > /tmp/a", limit(executor.Limits{FileBytes: 1 << 20})), nil, executor.Exit{Cause: executor.CauseDisk, Code: 153, Signal: 25, Limit: "1MiB", Key: "limits.file_size"}, ""},
		{"a file, to who ignores the signal", run("trap '' XFSZ; head -c 2M /dev/zero > /tmp/a", limit(executor.Limits{FileBytes: 1 << 20})), nil, executor.Exit{Cause: executor.CauseExit, Code: 1}, ""},
		{"/tmp", run("head -c 2M /dev/zero > /tmp/a", limit(executor.Limits{TmpBytes: 1 << 20})), nil, executor.Exit{Cause: executor.CauseExit, Code: 1}, ""},
		{"a system call of a foreign ABI", run("exec /probe probe x32", nil), nil, executor.Exit{Cause: executor.CauseSeccomp, Code: 159, Signal: 31}, ""},
		{"the operator", run("sleep 60", nil), kill, executor.Exit{Cause: executor.CausePolicy, Code: 137}, ""},
		{"us", run("sleep 60", nil), killSpawner, executor.Exit{Cause: executor.CauseInternal, Code: 137}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.skip != "" {
				t.Skip("needs " + tt.skip)
			}
			var got executor.Exit
			if tt.act == nil {
				got = finish(t, e, tt.spec).Exit
			} else {
				p, err := e.Start(context.Background(), tt.spec)
				if err != nil {
					t.Fatal(err)
				}
				tt.act(t, p)
				<-p.Done()
				got = p.Exit()
			}
			w := tt.want
			if got.Cause != w.Cause || got.Limit != w.Limit || got.Key != w.Key || w.Code == any && got.Code == 0 || w.Code != any && got.Code != w.Code || w.Signal != 0 && got.Signal != w.Signal {
				t.Errorf("%+v, want %+v", got, w)
			}
			if named := got.Cause != executor.CauseExit && got.Cause != executor.CauseInternal; named && (got.Detail == "" || got.Usage.Wall <= 0) {
				t.Errorf("%+v: a limit without words or figures", got)
			}
		})
	}
}

// needs is the reason to skip without ok.
func needs(ok bool, reason string) string {
	if ok {
		return ""
	}
	return reason
}
