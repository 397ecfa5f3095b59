package canary

import (
	"context"
	"strconv"
	"syscall"
	"time"

	"cofferdam/executor"
)

// What is tried with limits that take their time: so much, with a limit far below
// it and, as the control, with one far above.
const (
	exceedBytes = 48 << 20
	exceedFor   = time.Second
	exceedCPUs  = 0.2
	exceedDisk  = 8 << 20
)

// limits proves those limits, each in an environment of its own. One whose control
// does not work, on a host that is too busy for it, is not tried.
func limits(ctx context.Context, e executor.Executor, o *Options) []Proof {
	memory := func(limit int64) string {
		exit, err := exceeding(ctx, e, o, "memory", strconv.Itoa(exceedBytes), func(s *executor.Spec) { s.Limits.MemoryBytes = limit })
		switch {
		case err != nil:
			return "failed"
		case exit.Cause == executor.CauseExit && exit.Code == 0:
			return works
		}
		return string(exit.Cause)
	}
	cpu := func(cores float64) string {
		exit, err := exceeding(ctx, e, o, "cpu", "0", func(s *executor.Spec) { s.Limits.CPUs = cores })
		switch {
		case err != nil || exit.Cause != executor.CauseExit:
			return "failed"
		case exit.Usage.CPU > exit.Usage.Wall*2/5: // twice what it may: a slow start is as slow for both
			return works
		}
		return "slowed"
	}
	disk := func(name string, size int64) string {
		exit, err := exceeding(ctx, e, o, "disk", strconv.Itoa(exceedDisk), func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountVolume, Source: name, Target: filled, Writable: true, SizeBytes: size})
		})
		switch {
		case err != nil:
			return "failed"
		case exit.Cause == executor.CauseDisk || exit.Code == int(syscall.ENOSPC):
			return "full" // whichever of the two was first
		case exit.Cause == executor.CauseExit && exit.Code == 0:
			return works
		}
		return "failed"
	}
	var proofs []Proof
	for _, p := range []struct {
		protection, probe, want string
		far, near               func() string
	}{
		{"cgroup.memory", "use 48 MiB of 32", string(executor.CauseOOM),
			func() string { return memory(256 << 20) }, func() string { return memory(32 << 20) }},
		{"cgroup.cpu", "use a whole core of a fifth", "slowed",
			func() string { return cpu(executor.Unlimited) }, func() string { return cpu(exceedCPUs) }},
		{"disk-quota", "write 8 MiB to a volume of 2", "full",
			func() string { return disk("canary-far", 4*exceedDisk) }, func() string { return disk("canary-near", exceedDisk/4) }},
	} {
		if !passes(e.Protections(), p.protection) || p.protection == "disk-quota" && !o.Volumes {
			continue
		}
		outside := p.far()
		for again := 3; outside != works && again > 0; again-- {
			outside = p.far() // others may have kept the processors busy
		}
		if outside == works {
			proofs = append(proofs, Proof{Protection: p.protection, Probe: p.probe, Want: p.want, Outside: outside, Got: p.near()})
		}
	}
	return proofs
}

// exceeding runs one environment that uses up amount of something.
func exceeding(ctx context.Context, e executor.Executor, o *Options, what, amount string, change func(*executor.Spec)) (executor.Exit, error) {
	spec := o.spec(what, amount)
	change(spec)
	p, err := e.Start(ctx, spec)
	if err != nil {
		return executor.Exit{}, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill(executor.CauseInternal, "it takes too long")
		<-p.Done()
	}
	return p.Exit(), nil
}
