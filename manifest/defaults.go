package manifest

import (
	"path/filepath"
	"time"
)

// The deadline of a call: what it has without one written, and the most that
// the monitor allows.
const (
	defaultDeadline = 30 * time.Second
	maxDeadline     = 10 * time.Minute
)

// fillDefaults gives every field that nothing was written for its value.
func (a *App) fillDefaults() {
	if a.Name == "" {
		a.Name = appName(filepath.Base(a.Dir))
	}
	if a.Gateway != nil {
		a.Gateway.Limits.fillDefaults()
	}
	for i := range a.Shares {
		if a.Shares[i].Writable {
			orElse(&a.Shares[i].SizeBytes, 64<<20)
		}
	}
	for _, s := range a.Services {
		s.fillDefaults()
	}
}

func (l *GatewayLimits) fillDefaults() {
	orElse(&l.HeaderBytes, 16<<10)
	orElse(&l.BodyBytes, 1<<20)
	orElse(&l.Timeout, time.Minute)
	orElse(&l.Connections, 512)
}

func (s *Service) fillDefaults() {
	orElse(&s.WorkingDir, "/")
	for i := range s.Volumes {
		v := &s.Volumes[i]
		orElse(&v.SizeBytes, 64<<20)
		if v.SizeBytes != Unlimited {
			orElse(&v.Inodes, inodesFor(v.SizeBytes))
		}
	}
	for i := range s.Tmpfs {
		t := &s.Tmpfs[i]
		orElse(&t.SizeBytes, 16<<20)
		orElse(&t.Inodes, inodesFor(t.SizeBytes))
	}
	for i := range s.Uses {
		if s.Uses[i].Egress != "" {
			s.Uses[i].Rate.fillDefaults()
		}
	}
	for i := range s.Provides {
		orElse(&s.Provides[i].Deadline, defaultDeadline)
	}
	switch {
	case s.Template:
		orElse(&s.Instances, "per-principal")
	case s.Stdio != "":
		orElse(&s.Instances, "per-call")
	default:
		orElse(&s.Instances, "shared")
	}
	s.Limits.fillDefaults(s.ends())
	if s.ends() {
		orElse(&s.Restart.Policy, "no")
		return
	}
	orElse(&s.StopGracePeriod, 10*time.Second)
	orElse(&s.Restart.Policy, "always")
	orElse(&s.Restart.Intensity, 5)
	orElse(&s.Restart.Period, time.Minute)
	orElse(&s.Restart.Backoff, 100*time.Millisecond)
	orElse(&s.Restart.BackoffMax, 10*time.Second)
}

// ends tells whether an instance is meant to do one thing and end.
func (s *Service) ends() bool { return s.Template || s.Stdio != "" }

// fillDefaults repeats the executor's defaults, which manifest does not import;
// a test holds the two together.
func (l *Limits) fillDefaults(ends bool) {
	orElse(&l.Memory, 256<<20)
	orElse(&l.Pids, 64)
	orElse(&l.CPUs, 1)
	if ends {
		orElse(&l.CPU, time.Minute)
		orElse(&l.Wall, time.Minute)
	}
	orElse(&l.CPU, Unlimited)
	orElse(&l.Wall, Unlimited)
	orElse(&l.Output, 1<<20)
	orElse(&l.Files, 1024)
	orElse(&l.FileSize, 64<<20)
	orElse(&l.Tmp, 16<<20)
}

// inodesFor is how many files fit where so many bytes do, if nothing else is said.
// The executor has the same rule.
func inodesFor(size int64) int64 { return min(max(size/4096, 256), 1<<22) }

// orElse gives a field that is still zero its default.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
