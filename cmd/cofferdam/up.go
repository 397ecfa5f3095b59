package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/executor/canary"
	"cofferdam/executor/namespace"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

func upCommand(p *project) *cobra.Command {
	var detach, quiet, dryRun bool
	var within time.Duration
	var f format
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the application and keep it running",
		Long: `Up starts every service of the manifest, each in an environment of its own,
and keeps them running until it is interrupted. It is the daemon of its one
application; several can run side by side.

Before the first of them a canary tries in an environment like theirs what must
not work: to reach a listener of the host, to read a file of it, to make a system
call that is refused. If anything works nothing starts, and the exit code is 69.

While it comes up, a terminal shows how far it is and what is waited for; elsewhere it is said
each second. With --format json each change of a service is a line on standard output, and
so is the end: {"event":"up"} or {"event":"failed"}; then nothing that services print is shown.

Of an application that runs already, up makes the manifest hold as it is now, and returns. What it
grants is in force at once. Services that are another now, or whose files are, are
replaced one after the other (see cofferdam restart), new ones are started, and those that are
gone stopped; the others are not touched. A manifest with errors, or an instance that does not
become ready, leaves everything as it was. --dry-run says what it would take.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if running, err := p.reload(within, dryRun, f); running || err != nil || dryRun {
				return err
			}
			if detach {
				return p.upDetached(f)
			}
			return p.up(quiet || f.name != "table", f)
		},
	}
	f.flag(c)
	c.Flags().BoolVarP(&detach, "detach", "d", false, "return once everything is ready, and go on in the background")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "of a running application: say what would change, and do nothing")
	c.Flags().DurationVar(&within, "timeout", 30*time.Second, "of a running application: how long a new instance may take until it is ready")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "do not print what services print")
	return c
}

// up wires the rooms together. This is the only place that knows all of them.
func (p *project) up(quiet bool, f format) error {
	began := time.Now()
	parent, manager := readyPipe(), newNotifier()
	o, err := p.open()
	defer o.close()
	if err != nil {
		return err
	}
	if err := dropPrivileges(o.exec.MonitorID(), o.Dirs); err != nil {
		return err
	}
	report, err := o.prove()
	if err != nil {
		return err
	}

	told := parent
	if told == nil && f.name != "table" {
		told = newUpEvents(stdout)
	}
	shows := newAscent(o.App.Name, os.Stderr, told)
	o.Logger = slog.New(slog.NewTextHandler(shows, nil))
	go tellTrouble(o.Log, o.Logger)
	if !quiet {
		out := newPrinter(os.Stdout, serviceNames(o.App))
		o.Output = func(l supervisor.Line) { shows.around(func() { out.line(l) }) }
	}
	o.Progress, o.Version = shows.note, version
	// A reader of the monitor keeps its place among the goroutines that run while it waits.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	sup, err := supervisor.New(o.Options)
	if err != nil {
		return err
	}
	url, stopped := urlOf(o.Gateway), make(chan struct{})
	server := &admin.Server{
		Supervisor: sup,
		App:        admin.App{Name: o.App.Name, Manifest: o.manifest, Pid: os.Getpid(), URL: url},
		Owner:      o.owner,
		Stopped:    stopped,
	}
	go server.Serve(o.control)

	manager.say("STATUS=starting services")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		// With the spawner everything has ended, and nothing can be started again: a
		// daemon that goes on without one would only seem to be alive.
		<-o.exec.Gone()
		fail(errSpawnerGone)
	}()
	context.AfterFunc(ctx, func() { manager.say("STOPPING=1") })
	err = sup.Run(ctx, func() {
		announce(shows, o.App, o.Gateway, o.shown, report, o.degraded, time.Since(began))
		shows.end(url, nil)
		manager.say("READY=1\nSTATUS=" + plural(len(o.App.Services), "service") + " up")
	})
	if gone := context.Cause(ctx); errors.Is(gone, errSpawnerGone) {
		err = gone
	}
	if err == nil {
		shows.end(url, errStopped) // if it was not up yet
	} else {
		shows.end(url, err)
	}
	o.Log.Append(audit.Record{Kind: audit.KindApp, Op: "down", Object: o.App.Name})
	o.Log.Flush()
	close(stopped)
	server.Finish(time.Second)
	os.Remove(adminSocket(o.Dirs))
	os.Remove(metricsSocket(o.Dirs))
	if told != nil {
		told.finish(time.Second)
	}
	return err
}

// opened is an application for which everything is open that takes the rights of whoever started it:
// from there on the process goes on without them.
type opened struct {
	supervisor.Options
	manifest string
	exec     *namespace.Executor
	control  *net.UnixListener // for the operator's commands
	owner    int               // who started it
	proof    canary.Options
	degraded []string // protections that are missing, as the manifest lets them
	shown    string   // where metrics are
	open     []io.Closer
}

// close closes what is open, the last first.
func (o *opened) close() {
	for _, c := range slices.Backward(o.open) {
		c.Close()
	}
}

// open reads the manifest, takes the application's lock and its part of the host, and opens sockets, the spawner
// and the log. What was opened until an error is in what it returns.
func (p *project) open() (o *opened, err error) {
	o = &opened{manifest: absolute(p.file), owner: os.Getuid()}
	if o.App, err = p.load(); err != nil {
		return o, err
	}
	if o.Budget, err = budget(o.App); err != nil {
		return o, err
	}
	o.Dirs = dirsOf(o.App.Name)
	lock, err := prepare(o.App.Name, o.Dirs)
	if err != nil {
		return o, err
	}
	o.open = append(o.open, lock)
	if err := reserve(lock, o.App.Name, o.Dirs, o.Budget, host()); err != nil {
		return o, err
	}

	if o.Gateway, err = listenGateway(o.App); err != nil {
		return o, err
	}
	for _, l := range o.Gateway {
		o.open = append(o.open, l.Socket)
	}
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	program, err := doorProgramAt(self)
	if err != nil {
		return o, err
	}
	o.Doors, o.Prints = doorsOf(program), o.App.Prints()
	if o.Door, o.Egress, o.Resolvers, err = o.Doors(o.App); err != nil {
		return o, err
	}
	if o.Telemetry, err = telemetryOf(o.App, self); err != nil {
		return o, err
	}
	if o.Metrics, o.shown, err = listenMetrics(o.App, o.Dirs); err != nil {
		return o, err
	}
	if o.Metrics != nil {
		o.open = append(o.open, o.Metrics)
	}
	if o.proof, err = canaryOptions(self, o.Dirs.Runtime, o.App.AllowDegraded); err != nil {
		return o, err
	}
	volumes, err := prepareVolumes(o.App.Name, o.Dirs)
	if err != nil {
		return o, err
	}
	if err := knownVolumes(volumes, o.Dirs); err != nil {
		return o, err
	}
	o.exec, err = namespace.New(namespace.Options{
		Executable: []string{self, roleSpawner},
		App:        o.App.Name,
		Volumes:    volumes,
		Lock:       lock,
		Budget:     namespace.Budget(o.Budget),
	})
	if err != nil {
		return o, err
	}
	o.Executor = o.exec
	o.open = append(o.open, o.exec)
	o.degraded = executor.Lacking(o.exec.Protections(), o.App.AllowDegraded)
	if o.Log, err = audit.Open(auditLog(o.Dirs), auditOptions(o.App, o.degraded)); err != nil {
		return o, err
	}
	o.open = append(o.open, o.Log)
	if o.control, err = listenOwned(adminSocket(o.Dirs)); err != nil {
		return o, fmt.Errorf("admin socket: %w", err)
	}
	o.open = append(o.open, o.control)
	return o, nil
}

// prove has the canary try what must not work, and records what came of it.
func (o *opened) prove() (canary.Report, error) {
	if _, err := o.Log.Append(audit.Record{Kind: audit.KindApp, Op: "up", Object: o.App.Name, Detail: "manifest " + o.manifest}); err != nil {
		return canary.Report{}, err
	}
	report, err := prove(o.exec, o.proof)
	if _, logErr := o.Log.Append(canaryRecord(report, err)); logErr != nil {
		return report, errors.Join(err, logErr)
	}
	if err != nil {
		os.Remove(adminSocket(o.Dirs))
		return report, notKept(err, o.exec.Protections(), "allow_degraded: [NAME] in the manifest")
	}
	return report, nil
}

// auditOptions is how the manifest wants the log kept.
func auditOptions(app *manifest.App, degraded []string) audit.Options {
	return audit.Options{
		Rotate:   app.Audit.RotateBytes,
		Keep:     max(app.Audit.Keep, 0), // all if it is unlimited
		Every:    app.Audit.Checkpoint,
		Interval: app.Audit.Interval,
		Degraded: degraded,
	}
}

// doorsOf makes the doors of what the application comes to be, run by the executable self.
func doorsOf(self doorProgram) supervisor.DoorsOf {
	return func(app *manifest.App) (gateway, egress supervisor.Door, resolvers []netip.AddrPort, err error) {
		if gateway, err = doorOf(app, self); err != nil {
			return gateway, egress, nil, err
		}
		egress, resolvers, err = egressOf(app, self)
		return gateway, egress, resolvers, err
	}
}

// errSpawnerGone ends an application whose spawner was killed.
var errSpawnerGone = errors.New("the spawner was killed, and every environment with it; start the application again")

// errStopped is why an application did not come up that was to end before.
var errStopped = errors.New("it was stopped before it was up")

// listenGateway opens the gateway's sockets on the host.
func listenGateway(app *manifest.App) (all []supervisor.Listening, err error) {
	if app.Gateway == nil {
		return nil, nil
	}
	open := func(key, at, to string) {
		if at == "" || err != nil {
			return
		}
		var l supervisor.Listening
		if l, err = listenAt(key, at, to); err == nil {
			all = append(all, l)
		}
	}
	open("gateway.listen", app.Gateway.Listen, "")
	for i, d := range app.Gateway.TCP {
		open(fmt.Sprintf("gateway.tcp[%d].listen", i), d.Listen, d.To)
	}
	if err != nil {
		for _, l := range all {
			l.Socket.Close()
		}
		return nil, err
	}
	return all, nil
}

func listenAt(key, at, to string) (supervisor.Listening, error) {
	l, err := net.Listen("tcp", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		return supervisor.Listening{}, fmt.Errorf("%s %s: another program listens there; stop it or change the address", key, at)
	}
	if err != nil {
		return supervisor.Listening{}, fmt.Errorf("%s: %w", key, err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	return supervisor.Listening{Socket: f, At: l.Addr().String(), To: to}, err
}

// urlOf is where people find the application, "" if it has no HTTP for them.
func urlOf(gateway []supervisor.Listening) string {
	for _, l := range gateway {
		if l.To == "" {
			return l.String()
		}
	}
	return ""
}

// listenOwned opens a socket that only its owner can reach.
func listenOwned(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// dropPrivileges makes the trusted process an ordinary user if it was started
// as root: from here on only the spawner, which parses nothing of anybody's,
// can do more. The directories become that user's.
func dropPrivileges(id int, dirs supervisor.Dirs) error {
	if os.Getuid() != 0 || id <= 0 {
		return nil
	}
	for _, dir := range []string{dirs.Runtime, dirs.State} {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, id, id)
		})
		if err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop privileges: setgroups: %w", err)
	}
	if err := syscall.Setresgid(id, id, id); err != nil {
		return fmt.Errorf("drop privileges: setresgid: %w", err)
	}
	if err := syscall.Setresuid(id, id, id); err != nil {
		return fmt.Errorf("drop privileges: setresuid: %w", err)
	}
	return nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func serviceNames(app *manifest.App) []string {
	var names []string
	for _, s := range app.Services {
		names = append(names, s.Name)
	}
	return names
}

// announce says in a few lines what is up, and what it can reach.
func announce(w io.Writer, app *manifest.App, gateway []supervisor.Listening, metrics string, proven canary.Report, degraded []string, took time.Duration) {
	fmt.Fprintf(w, "%s is up (%s, %v)\n", app.Name, plural(len(app.Services), "service"), took.Round(time.Millisecond))
	for _, l := range gateway {
		word := "open"
		if l.To != "" {
			word = "tcp"
		}
		fmt.Fprintf(w, "  %-8s  %s\n", word, l)
	}
	if metrics != "" {
		fmt.Fprintf(w, "  metrics   %s\n", metrics)
	}
	var paths []string
	for _, s := range app.Services {
		for _, v := range s.Volumes {
			paths = append(paths, s.Name+":"+v.Name)
		}
	}
	fmt.Fprintf(w, "  messages  %s, nothing else: cofferdam check\n", plural(len(app.Grants()), "grant"))
	fmt.Fprintf(w, "  network   %s\n", networkOf(app))
	fmt.Fprintf(w, "  storage   %s\n", orNone(strings.Join(paths, " ")))
	fmt.Fprintf(w, "  proven    %s, by trying: cofferdam doctor --prove\n", plural(len(proven.Held), "protection"))
	if len(degraded) > 0 {
		fmt.Fprintf(w, "  degraded  %s\n", strings.Join(degraded, " "))
	}
	fmt.Fprintf(w, "  denials   cofferdam audit, then: cofferdam why ID\n")
}

// networkOf says which machines outside can be reached.
func networkOf(app *manifest.App) string {
	var ways []string
	for _, g := range app.Grants() {
		if g.Kind == "egress" {
			ways = append(ways, g.From+":"+g.Object())
		}
	}
	if app.Traces != nil {
		ways = append(ways, "telemetry:"+app.Traces.To.String())
	}
	if len(ways) == 0 {
		return "none but what is granted"
	}
	return strings.Join(ways, " ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
