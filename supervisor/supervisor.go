// Package supervisor says what should be running.
//
// A [Supervisor] starts the services of one application in order, keeps them
// alive by their restart policy, runs templates when the monitor has
// decided that somebody may spawn them, and starts the instances of services that
// have one for each principal or label when the first comes who is to have it. It turns a service of the manifest
// into a specification for the executor, and a started process into a subject
// of the monitor; it decides nothing itself.
//
// Goroutines: one per service (its loop of start, wait, back off) and one that
// keeps its standby, one per pool, and per running instance one that admits its
// wire connections, one for each port that it may connect to, and one that checks
// it, if it is checked. A template runs on the goroutine of who spawned it; an
// instance of a pool and a spare have two. One has the executor prepare environments. One answers the telemetry door. Timers
// end what nobody uses, and grants that were given for a time.
//
// Locks: Supervisor.changing before all others, and what is waited for under it
// ends with the application; instance.reaching before Supervisor.mu;
// Supervisor.mu, unit.mu and pool.mu, never one inside the other, and not held
// while something starts or ends; Supervisor.reclaiming before pool.mu, and that
// before admission.mu; that of a stream before that of the logs. instance.mu is
// taken last, and alone.
//
// Trusted: yes. It hands out sockets and mounts.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// Dirs are where an application keeps what it has on the host. All of them
// exist, belong to us, and are closed to others.
type Dirs struct {
	State   string // audit log and logs: survives
	Runtime string // sockets: gone with us
}

// Options are the parts that a supervisor works with. All are required.
type Options struct {
	App       *manifest.App
	Executor  executor.Executor
	Log       *audit.Log
	Dirs      Dirs
	Gateway   []Listening       // what the gateway listens on: HTTP if there is a listen, then the doors in their order
	Door      Door              // used if NeedsDoor
	Egress    Door              // used if NeedsEgress
	Telemetry Door              // used if NeedsTelemetry
	Metrics   *os.File          // the host's listening socket, nil without metrics
	Resolvers []netip.AddrPort  // whom the egress door may ask
	Prints    map[string]string // of the files of services when they were looked at
	Doors     DoorsOf           // for what is granted later; nil if that can need no other doors
	Budget    Budget            // see BudgetOf
	Logger    *slog.Logger
	Output    func(Line)     // gets every line that services print
	Progress  func(Progress) // is told of each change of the state of a service, and must not wait; nil for nobody
	Version   string         // of this program
}

// DoorsOf makes the doors that an application needs, and says whom the second may ask.
type DoorsOf func(*manifest.App) (gateway, egress Door, resolvers []netip.AddrPort, err error)

// Supervisor runs one application.
type Supervisor struct {
	Options
	monitor *monitor.Monitor
	logs    *logs
	labels  volumeLabels
	started time.Time

	admission *admission
	starting  chan struct{} // has an element for each service that starts
	jitter    jitter

	shares []*os.File // the roots of the manifest's, in its order

	lineup atomic.Pointer[lineup] // see now

	preparations preparations

	changing sync.Mutex // held while the lineup changes, before all others
	grants   grants     // guarded by changing

	reclaiming sync.Mutex // held while a pool is made to give back what nobody uses

	loops sync.WaitGroup // one for each unit and pool

	mu      sync.Mutex
	runs    map[string]*instance // what runs now, by instance; guarded by mu
	tallies map[string]*tally    // by service; guarded by mu
	ctx     context.Context      // of all that runs, nil before Run; guarded by mu
	stop    context.CancelFunc   // guarded by mu
}

// lineup is what should be running at a time, and who sees to it. It is immutable: a change
// makes another.
type lineup struct {
	written *manifest.App // the manifest
	app     *manifest.App // and with what was granted and revoked since

	gateway, egress, telemetry Door
	hasGateway                 bool // also when nothing needs it any more
	hasEgress                  bool
	resolvers                  []netip.AddrPort

	prints map[string]string // of the files of services, see [manifest.App.Prints]

	units map[string]*unit // by service
	pools map[string]*pool
}

// now is the lineup of the moment.
func (s *Supervisor) now() *lineup { return s.lineup.Load() }

// New prepares everything and starts nothing.
func New(o Options) (*Supervisor, error) {
	s := &Supervisor{
		Options: o,
		runs:    make(map[string]*instance),
		tallies: make(map[string]*tally),
		started: time.Now(),
		jitter:  anyPart,

		starting: make(chan struct{}, startsAtATime()),
	}
	if b := o.Budget; b.MemoryBytes == 0 || b.Pids == 0 || b.Instances == 0 {
		return nil, fmt.Errorf("a budget of nothing: %+v", b)
	}
	s.preparations = newPreparations()
	first := &lineup{
		written: o.App, app: o.App, gateway: o.Door, egress: o.Egress, telemetry: o.Telemetry,
		hasGateway: NeedsDoor(o.App), hasEgress: NeedsEgress(o.App),
		resolvers: o.Resolvers, prints: o.Prints, units: make(map[string]*unit), pools: make(map[string]*pool),
	}
	s.lineup.Store(first)
	s.admission = newAdmission(o.Budget)
	s.admission.starving = s.reclaim
	s.labels.dir = labelsDir(o.Dirs)
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if err := s.checkLabels(); err != nil {
		return nil, err
	}
	if err := s.openShares(); err != nil {
		return nil, err
	}
	s.logs = newLogs(s.logsDir(), o.Output)
	policy, err := s.policy(first)
	if err != nil {
		s.closeShares()
		return nil, err
	}
	mon, err := monitor.New(o.Log, policy, s)
	if err != nil {
		s.closeShares()
		return nil, err
	}
	s.monitor = mon
	for _, svc := range first.services() {
		switch {
		case pooled(svc):
			first.pools[svc.Name] = newPool(s, svc)
		case !onDemand(svc):
			first.units[svc.Name] = newUnit(s, svc)
			s.admission.used = s.admission.used.plus(alwaysOf(svc))
		}
	}
	return s, nil
}

func (s *Supervisor) prepare() error {
	for _, d := range []string{s.logsDir(), s.socketsDir(), s.labels.dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return nil
}

// Monitor is the monitor of this application.
func (s *Supervisor) Monitor() *monitor.Monitor { return s.monitor }

func (s *Supervisor) logsDir() string    { return filepath.Join(s.Dirs.State, "logs") }
func (s *Supervisor) socketsDir() string { return filepath.Join(s.Dirs.Runtime, "wire") }

// services is the manifest's, and the doors as further ones.
func (l *lineup) services() []*manifest.Service {
	var doors []*manifest.Service
	if l.hasGateway {
		doors = append(doors, gatewayService(l.gateway))
	}
	if l.hasEgress {
		doors = append(doors, egressService(l.egress))
	}
	if NeedsTelemetry(l.app) {
		doors = append(doors, telemetryService(l.telemetry))
	}
	return append(doors, l.app.Services...)
}

// servicesOf is services of a lineup with the doors that app needs.
func servicesOf(app *manifest.App) []*manifest.Service {
	return (&lineup{app: app, hasGateway: NeedsDoor(app), hasEgress: NeedsEgress(app)}).services()
}

// policy is what the lineup lets its services do.
func (s *Supervisor) policy(l *lineup) (monitor.Policy, error) {
	p, err := policyWith(l.app, l.resolvers, l.hasGateway, l.hasEgress)
	if err != nil {
		return p, err
	}
	for i, root := range s.shares {
		p.Shares[i].Root = root
	}
	return p, nil
}

// Run starts every service after those it depends on, calls ready once all of
// them are, and returns when ctx ends and everything has been stopped.
func (s *Supervisor) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.ctx, s.stop = ctx, cancel
	s.mu.Unlock()

	s.changing.Lock()
	for _, u := range s.now().units {
		s.loops.Go(func() { u.run(ctx) })
	}
	for _, p := range s.now().pools {
		s.runPool(p)
	}
	s.changing.Unlock()
	s.loops.Go(func() { s.keepPrepared(ctx) })
	err := s.waitReady(ctx)
	if err == nil {
		ready()
		<-ctx.Done()
	}
	cancel()
	s.changing.Lock() // nothing is added any more
	s.grants.end()
	s.changing.Unlock()
	s.loops.Wait()
	s.stopRuns()
	s.closeShares()
	s.logs.close()
	return err
}

// runPool lets the pool end with all the rest, or when it is dissolved.
func (s *Supervisor) runPool(p *pool) {
	s.mu.Lock()
	ctx, dissolve := context.WithCancel(s.ctx)
	s.mu.Unlock()
	p.mu.Lock()
	p.dissolve = dissolve
	p.mu.Unlock()
	s.loops.Go(func() {
		defer dissolve()
		p.keepWarm(ctx)
		<-ctx.Done()
		p.close()
	})
}

// errStopping is why nothing is changed any more.
var errStopping = errors.New("the application is stopping")

// whileItRuns is ctx, but ends with the application, too: who holds changing keeps it
// from ending.
func (s *Supervisor) whileItRuns(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	run := s.ctx
	s.mu.Unlock()
	if run == nil {
		return ctx, func() { cancel(nil) }
	}
	stop := context.AfterFunc(run, func() { cancel(errStopping) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// Stop makes Run return.
func (s *Supervisor) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
}

// stopRuns ends the templates that still run.
func (s *Supervisor) stopRuns() {
	s.mu.Lock()
	runs := make([]*instance, 0, len(s.runs))
	for _, in := range s.runs {
		runs = append(runs, in)
	}
	s.mu.Unlock()
	for _, in := range runs {
		in.proc.Kill(executor.CausePolicy, "the application is stopping")
	}
	for _, in := range runs {
		<-in.proc.Done()
	}
}

// record writes a decision of ours, or what became of one, to the audit log.
func (s *Supervisor) record(r audit.Record) error {
	_, err := s.Log.Append(r)
	return err
}
