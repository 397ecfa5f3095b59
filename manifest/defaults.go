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

// defaultMaxInstances is how many instances for a label or a principal run at a time.
const defaultMaxInstances = 16

// fillDefaults gives every field that nothing was written for its value.
func (a *App) fillDefaults() {
	if a.Name == "" {
		a.Name = appName(filepath.Base(a.Dir))
	}
	if a.Gateway != nil {
		a.Gateway.fillDefaults()
	}
	for i := range a.Shares {
		if a.Shares[i].Writable {
			orElse(&a.Shares[i].SizeBytes, 64<<20)
		}
	}
	for i := range a.Mailboxes {
		orElse(&a.Mailboxes[i].Messages, defaultMessages)
		orElse(&a.Mailboxes[i].SizeBytes, defaultMessageSize)
	}
	a.Audit.fillDefaults()
	for _, s := range a.Services {
		s.fillDefaults()
	}
}

// fillDefaults lets a request carry whoever sent it, and an answer go to nobody else.
func (g *Gateway) fillDefaults() {
	g.Limits.fillDefaults()
	for i := range g.TCP {
		g.TCP[i].fillDefaults()
	}
	if g.Authenticate == nil {
		g.person = Endpoint{}
	} else {
		orElse(&g.Authenticate.Cookie, defaultCookie)
	}
	for i := range g.Routes {
		route := &g.Routes[i]
		route.Lenient = g.Authenticate != nil && !route.Request.given && !route.Answer.given
		route.Endpoint.orElse(g.person)
	}
	g.numberRoutes()
}

func (l *GatewayLimits) fillDefaults() {
	orElse(&l.HeaderBytes, 16<<10)
	orElse(&l.BodyBytes, 1<<20)
	orElse(&l.Timeout, time.Minute)
	orElse(&l.Stream, time.Hour)
	orElse(&l.Idle, 10*time.Minute)
	orElse(&l.Connections, 512)
	orElse(&l.PerPeer, max(l.Connections/2, 1))
	orElse(&l.PerPrincipal, max(l.Connections/4, 1))
}

func (s *Service) fillDefaults() {
	orElse(&s.WorkingDir, "/")
	s.Label.orElse(Label{})
	s.Clearance.orElse(s.Label)
	s.Owns.given = false
	own := Endpoint{s.Label, s.Label}
	s.fillPorts(own)
	for i := range s.Volumes {
		v := &s.Volumes[i]
		orElse(&v.SizeBytes, 64<<20)
		if v.SizeBytes != Unlimited {
			orElse(&v.Inodes, inodesFor(v.SizeBytes))
		}
		v.Label.orElse(s.Label)
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
		s.Uses[i].Endpoint.orElse(Endpoint{})
		s.Uses[i].Out.given, s.Uses[i].In.given = false, false
	}
	for i := range s.Provides {
		p := &s.Provides[i]
		orElse(&p.Deadline, defaultDeadline)
		if p.Gate != nil {
			p.Gate.fillDefaults(s.Owns)
		}
		p.Endpoint.orElse(own)
	}
	switch {
	case s.Template:
		orElse(&s.Instances, perPrincipal)
	case s.Stdio != "":
		orElse(&s.Instances, perCall)
	default:
		orElse(&s.Instances, shared)
	}
	s.Limits.fillDefaults(s.ends())
	if s.ends() {
		orElse(&s.Restart.Policy, "no")
		return
	}
	if s.pooled() {
		orElse(&s.Idle, time.Minute)
		orElse(&s.MaxInstances, defaultMaxInstances)
	}
	if s.Health != nil {
		s.Health.fillDefaults()
	}
	orElse(&s.OnUnhealthy, Replace)
	orElse(&s.StopGracePeriod, 10*time.Second)
	orElse(&s.Restart.Policy, "always")
	orElse(&s.Restart.Intensity, 5)
	orElse(&s.Restart.Period, time.Minute)
	orElse(&s.Restart.Backoff, 100*time.Millisecond)
	orElse(&s.Restart.BackoffMax, 10*time.Second)
}

// onDemand tells whether no instance is started with the others.
func (s *Service) onDemand() bool { return s.ends() || s.pooled() }

// pooled tells whether there is an instance for each label or principal, which goes
// on.
func (s *Service) pooled() bool {
	return !s.ends() && (s.Instances == perLabel || s.Instances == perPrincipal)
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
