package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/wire"
)

// instance is one environment of a service, with its place at the monitor.
type instance struct {
	s    *Supervisor
	svc  *manifest.Service
	name string
	proc executor.Process
	env  *monitor.Env
	wire *net.UnixListener
	path string // of the wire socket, on the host

	spare    atomic.Bool   // it is nobody's yet
	served   atomic.Bool   // it has become ready
	well     chan struct{} // closed once it is well, see watch
	wellOnce sync.Once
	watching sync.Once

	mountPoints bool // shares can be mounted in it; fixed
	copies      bool // its programs cannot pass memory on by reference; fixed

	begun reach   // what it could connect to when it began; fixed
	under *lineup // when it began; fixed

	reaching sync.Mutex
	reach    reach                      // guarded by reaching
	open     map[reachable]net.Listener // of reach, by what they lead to; nil until it is served; guarded by reaching

	mu        sync.Mutex
	principal string
	health    health
	retired   string // see retirement
}

// launch is what one instance gets beyond its service's declaration.
type launch struct {
	number         uint64 // of one that the supervisor keeps running: which it is of them; 0 for others
	principal      string
	bound          []byte
	args, env      []string
	files          []wire.File
	stdin          io.Reader
	stdout, stderr io.Writer // nil: to the log
	wall           time.Duration
	flow           *monitor.Flow      // nil: that of the service, for the principal
	admit          func(*monitor.Env) // is called before the program runs, nil for none
	spare          bool               // it is to be nobody's until it is claimed
}

// nameOf is what an instance is called, which programs get to see. One that was
// started on demand has no number in an order: it would tell one who makes them how
// many others do.
func nameOf(svc *manifest.Service, number uint64) string {
	if number == 0 {
		return fmt.Sprintf("%s-%08x", svc.Name, rand.Uint32())
	}
	return fmt.Sprintf("%s-%d", svc.Name, number)
}

// start prepares the socket, starts the environment and admits it.
func (s *Supervisor) start(ctx context.Context, svc *manifest.Service, l launch) (*instance, error) {
	in := &instance{s: s, svc: svc, name: nameOf(svc, l.number), well: make(chan struct{})}
	_, in.mountPoints = mountPoints(s.now().app, svc.Name)
	if svc.Health != nil {
		in.health = newHealth(svc.Health, time.Now())
	}
	in.spare.Store(l.spare)
	in.path = filepath.Join(s.socketsDir(), in.name)
	listener, err := listenWire(in.path)
	if err != nil {
		return nil, err
	}
	in.wire = listener
	under := s.now()
	paths := under.reachOf(svc.Name)
	if err := in.begin(ctx, l, paths); err != nil {
		s.record(audit.Record{Kind: audit.KindExit, Subject: svc.Name, Instance: in.name, Principal: l.principal, Op: "start", Detail: err.Error()})
		if in.env != nil {
			s.monitor.Remove(in.env)
		}
		in.release()
		return nil, fmt.Errorf("start %s: %w%s", in.name, err, missingLoader(svc, err))
	}
	s.tallyOf(svc.Name).started()
	in.begun, in.reach, in.under = paths, paths, under
	s.mu.Lock()
	s.runs[in.name] = in
	s.mu.Unlock()
	if !l.spare {
		in.attend(ctx)
	}
	return in, nil
}

// attend serves it from now on.
func (in *instance) attend(ctx context.Context) {
	in.env.Mounting(mounter{in.proc})
	go in.env.Attach(in.wire, in.proc.Owns)
	in.reaching.Lock()
	in.open = make(map[reachable]net.Listener)
	for i, l := range in.proc.Listeners() {
		in.carry(in.reach.ports[i], l)
	}
	in.reaching.Unlock()
	if in.s.now() != in.under {
		in.reachAnew(ctx)
	}
}

// begin makes a subject of the instance, unless it is a spare, and starts its program.
func (in *instance) begin(ctx context.Context, l launch, paths reach) error {
	s, svc := in.s, in.svc
	flow, volumes, err := in.shows(l)
	if err != nil {
		return err
	}
	spec, err := s.specOf(svc, in, l, paths, volumes)
	if err != nil {
		return err
	}
	in.copies = !spec.Sendfile
	detail := describe(spec, l)
	if l.spare {
		// A start that cannot be recorded does not happen.
		err = s.record(audit.Record{Kind: audit.KindStart, Subject: svc.Name, Instance: in.name, Op: "start", Detail: detail + " spare"})
	} else {
		err = in.enter("start", detail, l, flow, volumes)
	}
	if err != nil {
		return err
	}
	if svc.Name == telemetryName {
		feed, err := s.feedOf(spec)
		if err != nil {
			return err
		}
		defer feed.Close()
	}
	in.proc, err = s.Executor.Start(ctx, spec)
	return err
}

// shows is at which labels the instance starts, and the volumes that it sees.
func (in *instance) shows(l launch) (flow monitor.Flow, volumes []volume, err error) {
	if l.spare && pooled(in.svc) {
		return flow, nil, nil // nobody's, and it sees no volumes yet
	}
	if l.flow != nil {
		flow = *l.flow
	} else if flow, err = flowOf(in.svc, l.principal); err != nil {
		return flow, nil, err
	}
	volumes, err = in.s.volumesOf(in.svc, l.principal, flow.State)
	return flow, volumes, err
}

// become is what begin does for one that runs already.
func (in *instance) become(ctx context.Context, l launch) error {
	flow, volumes, err := in.shows(l)
	if err != nil {
		return err
	}
	if err := in.enter("claim", of(l), l, flow, volumes); err != nil {
		return err
	}
	return in.mountLater(ctx, volumes)
}

// enter makes a subject of it, and records that.
func (in *instance) enter(op, detail string, l launch, flow monitor.Flow, volumes []volume) (err error) {
	id := wire.Identity{Service: in.svc.Name, Instance: in.name, Principal: l.principal, Bound: l.bound}
	if in.env, err = in.s.monitor.AdmitAt(id, flow); err != nil {
		return err
	}
	in.mu.Lock()
	in.principal = l.principal
	in.mu.Unlock()
	if in.copies {
		in.env.SendsCopies()
	}
	in.env.Hands(in.hand)
	for _, v := range volumes {
		if err := in.env.Shows(v.monitored); err != nil {
			return err
		}
	}
	if l.admit != nil {
		l.admit(in.env)
	}
	// A start that cannot be recorded does not happen.
	record := audit.Record{Kind: audit.KindStart, Subject: in.svc.Name, Instance: in.name, Principal: l.principal, Op: op, Detail: detail}
	if flow != (monitor.Flow{}) {
		record.Labels = &audit.Labels{Subject: flow.Label.String(), Clearance: flow.Clearance.String()}
		record.Detail = strings.TrimSpace(fmt.Sprintf("%s owns %s", detail, flow.Owns))
	}
	return in.s.record(record)
}

// missingLoader explains the oddest of the kernel's answers: a program that is
// there is "not found" if the loader or interpreter it names is not.
func missingLoader(svc *manifest.Service, err error) string {
	var start *executor.StartError
	if !errors.As(err, &start) || !errors.Is(start.Err, syscall.ENOENT) || svc.Runtime != "" {
		return ""
	}
	for _, f := range svc.Files {
		if f.To == start.Path || strings.HasPrefix(start.Path, f.To+"/") {
			return " (or the loader or interpreter that it names: link it statically, or write `runtime: host`)"
		}
	}
	return ""
}

// describe is what the audit log says of a start.
func describe(spec *executor.Spec, l launch) string {
	d := strings.TrimSpace(fmt.Sprintf("command %q %s", spec.Command.Args, of(l)))
	if spec.Fork != nil {
		d += " forked"
	}
	if len(spec.AllowDegraded) > 0 {
		d += fmt.Sprintf(" allow_degraded %q", spec.AllowDegraded)
	}
	return d
}

// of is whose the instance is.
func of(l launch) (d string) {
	if l.principal != "" {
		d = fmt.Sprintf("principal %q", l.principal)
	}
	if len(l.bound) > 0 {
		d += fmt.Sprintf(" bound %q", l.bound)
	}
	return d
}

// listenWire makes the socket that only this instance will see: its directory
// is closed to all others, and the executor shows the socket itself inside.
func listenWire(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("wire socket: %w", err)
	}
	err = wire.NoDescriptors(l)
	if err == nil {
		// Connecting takes write permission, and the program's user is not ours.
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("wire socket: %w", err)
	}
	return l, nil
}

// firstLook is after how long it is looked for the second time whether an instance is ready.
const firstLook = time.Millisecond / 4

// awaitReady returns once the instance answers what its service provides. From then on
// it is watched.
func (in *instance) awaitReady(ctx context.Context, timeout time.Duration) error {
	ports := in.svc.Ports()
	deadline := time.After(timeout)
	// What an instance does to become ready happens inside, out of our sight
	// but for its effects: so look, often at first.
	for pause := firstLook; ; pause = min(2*pause, 100*time.Millisecond) {
		if in.env.Serving() && in.listens(ctx, ports) {
			if err := in.watchable(ctx); err != nil {
				return err
			}
			in.env.Watching(in.proc.Reading)
			in.env.Listening(in.dial)
			in.served.Store(true)
			in.watching.Do(func() { go in.watch() })
			return nil
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			return fmt.Errorf("not ready after %v: it must serve the calls it provides and listen on its ports", timeout)
		case <-in.proc.Done():
			return executor.ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (in *instance) listens(ctx context.Context, ports []int) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, port := range ports {
		c, err := in.dial(ctx, port)
		if err != nil {
			return false
		}
		c.Close()
	}
	return true
}

// watchable is an error if connections to it have a deadline and this host cannot tell
// what is not read on them.
func (in *instance) watchable(ctx context.Context) error {
	if !in.s.now().app.Paced(in.svc) {
		return nil
	}
	c, err := in.dial(ctx, in.svc.TCP[0])
	if err != nil {
		return nil // it is about to end
	}
	defer c.Close()
	if _, _, err = in.proc.Reading(c); errors.Is(err, executor.ErrUnsupported) {
		return fmt.Errorf("deadline of connections: %w", err)
	}
	return nil
}

func (in *instance) dial(ctx context.Context, port int) (net.Conn, error) {
	return in.proc.Dial(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)))
}

// hand is dial for a program of another instance, which gets the socket.
func (in *instance) hand(ctx context.Context, port int) (net.Conn, error) {
	return in.proc.Hand(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)))
}

// stop asks politely, and then does not ask.
func (in *instance) stop(grace time.Duration) {
	in.proc.Signal(syscall.SIGTERM)
	select {
	case <-in.proc.Done():
	case <-time.After(grace):
		in.proc.Kill(executor.CausePolicy, fmt.Sprintf("still running %v after it was asked to stop", grace))
		<-in.proc.Done()
	}
}

// end forgets an instance that has ended, and records how it did.
func (in *instance) end() {
	<-in.proc.Done()
	if in.env != nil {
		in.s.monitor.Remove(in.env)
	}
	in.release()
	in.s.mu.Lock()
	delete(in.s.runs, in.name)
	in.s.mu.Unlock()
	exit := in.proc.Exit()
	in.s.tallyOf(in.svc.Name).ended(exit)
	in.record(audit.Record{
		Kind:   audit.KindExit,
		Op:     "exit",
		Object: string(exit.Cause),
		Detail: strings.TrimSpace(fmt.Sprintf("code %d %s", exit.Code, exit.Detail)),
		End:    EndOf(exit),
	})
}

// record writes to the audit log what became of the instance.
func (in *instance) record(r audit.Record) error {
	r.Subject, r.Instance, r.Principal = in.svc.Name, in.name, in.runsFor()
	return in.s.record(r)
}

// runsFor is the principal that it runs for, "" for nobody.
func (in *instance) runsFor() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.principal
}

// EndOf is what the audit log keeps of how an environment ended.
func EndOf(e executor.Exit) *audit.End {
	return &audit.End{
		Code: e.Code, Limit: e.Limit, Key: e.Key,
		WallNS: int64(e.Usage.Wall), CPUNS: int64(e.Usage.CPU),
		MemoryBytes: e.Usage.MemoryBytes, Pids: e.Usage.Pids, OutputBytes: e.Usage.OutputBytes,
	}
}

func (in *instance) release() {
	in.wire.Close()
	os.Remove(in.path)
}
