package spawner

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// startTimeout bounds a start: nothing in it waits for anybody but the kernel.
const startTimeout = 30 * time.Second

// instance is one environment.
type instance struct {
	server   *server
	env      uint64
	spec     *link.Start
	blank    *blank
	from     *blanks      // where it is from, and goes
	group    cgroup.Group // nil on a host without
	nest     *nest        // where it was born
	ours     int          // processes in it that are not its program's
	program  int          // pidfd of the program
	began    time.Time
	waited   bool          // its program was executed ahead
	before   time.Duration // processor time that was used in it before
	writable []rule
	images   []*image // of its volumes; guarded by volumesMu while it runs
	timer    *time.Timer
	reported chan struct{} // closed once the trusted process knows of it
	done     chan struct{} // closed once nothing is left
	spent    spent         // the sampler's

	volumesMu   sync.Mutex // before mu
	volumes     []volume   // guarded by volumesMu
	watching    bool       // guarded by volumesMu: their quotas
	volumesShut bool       // guarded by volumesMu
	held        []string   // keys of holds; guarded by volumesMu while it runs

	reachMu sync.Mutex // held while its names change; before mu
	renamed bool       // guarded by reachMu: its /etc/hosts is one that reach has mounted

	mu    sync.Mutex
	cause *executor.Exit // guarded by mu: why we killed it
	ended bool           // guarded by mu: its descriptors are closed
	execs int            // guarded by mu: programs started by Exec
	over  bool           // guarded by mu: nothing more is started in it
	seen  executor.Usage // guarded by mu: largest figures of the sampler
	final executor.Usage // guarded by mu: valid once ended
}

// start makes an environment and returns once its program runs. It returns the
// pid of the init and the descriptors of the listeners.
func (s *server) start(spec *link.Start, fds []int) (_ int, listeners []int, err error) {
	if err := s.checkDegraded(spec.AllowDegraded); err != nil {
		return 0, nil, err
	}
	if len(fds) < 3 {
		return 0, nil, errors.New("a start without its three streams")
	}
	mounts, err := s.place(spec.Mounts, &spec.Limits, false)
	if err != nil {
		return 0, nil, err
	}
	defer s.closePlaced(mounts)
	if err := s.checkQuotas(mounts, spec); err != nil {
		return 0, nil, err
	}
	i := s.newInstance(spec, mounts)
	ready := s.stocks.take(spec, mounts)
	if ready != nil {
		if i.held, err = s.holds.join(mounts, ready.slot); err != nil { // its ids may not write there
			s.stocks.put(spec, ready)
			ready = nil
		}
	}
	if ready != nil {
		if listeners, err = i.enter(ready, mounts, fds); err == errGone {
			i, ready = s.newInstance(spec, mounts), nil
		}
	}
	if ready == nil {
		listeners, err = i.build(mounts, fds)
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if err != nil {
			linux.CloseFDs(listeners)
			listeners = nil
			i.undo()
		}
	}()
	s.mu.Lock()
	if s.closed {
		err = executor.ErrStopped
	} else if s.instances[spec.Env] != nil {
		err = fmt.Errorf("environment %d exists already", spec.Env)
	} else {
		s.instances[spec.Env] = i
	}
	s.mu.Unlock()
	if err != nil {
		return 0, nil, err
	}
	if l := spec.Limits.Wall; l > 0 {
		i.timer = time.AfterFunc(l, func() {
			i.kill(executor.Exit{Cause: executor.CauseWall, Limit: l.String(), Key: "limits.wall", Detail: "it ran longer than " + l.String()})
		})
	}
	s.work.Add(1)
	go i.watch()
	go i.sample()
	return i.blank.child.Pid, listeners, nil
}

func (s *server) newInstance(spec *link.Start, mounts []placed) *instance {
	return &instance{
		server: s, env: spec.Env, spec: spec, program: -1, writable: writable(mounts),
		reported: make(chan struct{}), done: make(chan struct{}),
	}
}

// build makes the environment of a blank, and starts its program.
func (i *instance) build(mounts []placed, fds []int) (listeners []int, err error) {
	s := i.server
	b, held, from, err := s.take(i.spec, mounts)
	if err != nil {
		return nil, err
	}
	defer from.refill()
	i.held = held
	i.use(b, from)
	return i.run(mounts, func() error { return i.prepare(mounts, fds) })
}

// enter makes it of one that was prepared. The error is errGone if that was killed, and nobody
// has noticed by now.
func (i *instance) enter(p *prepared, mounts []placed, fds []int) (listeners []int, err error) {
	i.use(p.blank, i.server.blanks)
	defer func() {
		if err != nil {
			p.closeViews()
			p.loaded.end()
		}
	}()
	return i.run(mounts, func() error { return i.claim(p, mounts, fds) })
}

// run has start start the program, with all that it takes besides.
func (i *instance) run(mounts []placed, start func() error) (listeners []int, err error) {
	defer func() {
		if err != nil {
			linux.CloseFDs(listeners)
			listeners = nil
			i.undo()
		}
	}()
	for _, m := range mounts {
		if m.image != nil {
			i.images = append(i.images, i.server.storage.again(m.image))
		}
	}
	if listeners, err = i.server.visitor.listen(i.blank.net, i.spec.Listen); err != nil {
		return nil, err
	}
	return listeners, start()
}

// undo takes back what has been begun.
func (i *instance) undo() {
	i.closeVolumes()
	if i.program >= 0 {
		unix.Close(i.program)
		i.program = -1
	}
	i.from.drop(i.blank)
	i.server.holds.done(i.held)
	i.held = nil
	i.leaveImages()
}

// use makes b what i lives in.
func (i *instance) use(b *blank, from *blanks) {
	i.blank, i.from, i.group, i.nest, i.ours = b, from, b.group(), b.nest, b.nest.ours()
}

// ahead are the rules of Landlock that can be set before the environment is anybody's: none if
// some are about what comes with that.
func (i *instance) ahead(mounts []placed) []rule {
	for _, m := range mounts {
		if m.late && m.Writable && m.Kind == executor.MountVolume {
			return nil
		}
	}
	return i.writable
}

// groupLimits are the limits for a cgroup that also holds so many processes of ours: the
// init, a cradle, and the helpers of execs.
func groupLimits(l *executor.Limits, ours int) (g cgroup.Limits) {
	g.MemoryBytes, g.CPUs = l.MemoryBytes, l.CPUs
	if l.Pids > 0 {
		g.Pids = l.Pids + ours
	}
	return g
}

// besides is what there is besides environments that somebody has started.
type besides struct{ zygotes, forks, prepared atomic.Int64 }

// limitAll bounds the group of all: with the inits and cradles of so many environments, of
// those that wait ahead or are taken down, zygotes, and the helpers of execs.
func (s *server) limitAll() error {
	if s.cgroups == nil {
		return nil
	}
	var g cgroup.Limits
	h := s.hello
	zygotes, ahead := s.besides.zygotes.Load(), int64(h.Warm)+s.besides.prepared.Load()
	if h.Budget.MemoryBytes > 0 {
		g.MemoryBytes = h.Budget.MemoryBytes + (ahead+1)<<20 + zygotes*zygoteMemory + s.besides.forks.Load()*forkMemory
	}
	if h.Budget.Pids > 0 && h.Budget.Instances > 0 {
		g.Pids = h.Budget.Pids + 3*h.Budget.Instances + 4*int(ahead) + int(zygotes)*zygotePids + 64
	}
	return s.cgroups.Limit(g)
}

// prepare writes the script of i, runs it, and waits until the program has been
// executed.
func (i *instance) prepare(mounts []placed, fds []int) error {
	sc := i.blank.script
	set, err := i.setUp(mounts, fds, nowhere)
	if err != nil {
		return err
	}
	defer set.close()
	if i.spec.Fork != nil {
		return i.adopt(set, fds)
	}
	if err := i.server.scripts.execute(sc, &i.spec.Command); err != nil {
		return err
	}
	if err := sc.Go(i.blank.ctl, set.fds); err != nil {
		return err
	}
	return i.begin()
}

// begin waits until the program has been executed.
func (i *instance) begin() (err error) {
	i.began = time.Now()
	i.blank.ctl.SetReadDeadline(i.began.Add(startTimeout))
	if _, i.program, err = i.blank.script.ReadReport(i.blank.ctl); err != nil {
		return i.startError(err)
	}
	i.blank.ctl.SetReadDeadline(time.Time{})
	return nil
}

// setting is what the set-up of an environment is given, until it has it.
type setting struct {
	fds  []int // in the order that the script expects
	ours []int // of them those that we opened
}

func (s *setting) add(fd int) uintptr {
	s.fds, s.ours = append(s.fds, fd), append(s.ours, fd)
	return uintptr(len(s.fds) - 1)
}

func (s *setting) close() { linux.CloseFDs(s.ours) }

// stop is where an environment waits to be claimed.
type stop int

const (
	nowhere    stop = iota
	beforeExec      // complete, but for the program
	asked           // with a program that is executed, once that says that it waits
)

// setUp writes what turns the blank of i into the environment, up to where its program is
// executed. fds are those that stay open.
func (i *instance) setUp(mounts []placed, fds []int, waits stop) (_ *setting, err error) {
	s, b, spec := i.server, i.blank, i.spec
	if i.group != nil {
		if err := i.group.Limit(groupLimits(&spec.Limits, i.ours)); err != nil {
			return nil, err
		}
	}
	set := &setting{fds: slices.Clone(fds)}
	defer func() {
		if err != nil {
			set.close()
		}
	}()
	tree, err := s.layouts.tree(spec, mounts)
	if err != nil {
		return nil, err
	}
	treeFD := set.add(tree)
	own, err := s.ownFiles(mounts, s.ids.program(b.slot))
	if err != nil {
		return nil, err
	}
	ownFD := -1
	if own >= 0 {
		ownFD = int(set.add(own))
	}
	binds := map[int]uintptr{}
	for n, m := range mounts {
		if !m.own || m.inFiles || m.source < 0 && m.Kind != executor.MountPoints && m.Kind != executor.MountFiles {
			continue
		}
		bind, err := i.ownTree(mounts, n)
		if err != nil {
			return nil, fmt.Errorf("mount %q: %w", m.Target, err)
		}
		binds[n] = set.add(bind)
	}
	sc := b.script
	sc.Setup.Add("set the host name", unix.SYS_SETHOSTNAME, sc.String(spec.Name), uintptr(len(spec.Name)))
	s.scripts.files(sc, spec, mounts, treeFD, ownFD, binds)
	switch {
	case waits == asked:
		sc.Program.Listen()
		longer := *spec
		if longer.Limits.CPU > 0 {
			longer.Limits.CPU += aheadTime
		}
		return set, s.scripts.program(sc, &longer, i.writable, len(fds))
	case waits == beforeExec:
		// What is open in the program's process is what it will be given.
		return set, s.scripts.program(sc, spec, i.ahead(mounts), nothing)
	case spec.Fork != nil:
		return set, s.scripts.fork(sc, spec, i.writable, len(fds))
	default:
		return set, s.scripts.program(sc, spec, i.writable, len(fds))
	}
}

// startError tells a program that cannot be executed from a failure of ours.
func (i *instance) startError(err error) error {
	var step *linux.StepError
	if errors.As(err, &step) && step.Execute {
		return &executor.StartError{Path: i.spec.Command.Args[0], Err: step.Errno}
	}
	if errors.As(err, &step) && step.What == mountProc && step.Errno == unix.EPERM {
		// user_namespaces(7) wants a /proc of which nothing is hidden.
		return fmt.Errorf("protection \"pid-namespace\" is %w: %v, for parts of the /proc around us are covered, as container engines do; to provide it: %s", executor.ErrUnsupported, err, uncoveredProc)
	}
	if errors.Is(err, linux.ErrChildGone) && i.group != nil && i.group.Stat().OOMKills > 0 {
		return fmt.Errorf("memory limit of %d bytes is too small to start %q", i.spec.Limits.MemoryBytes, i.spec.Command.Args[0])
	}
	return fmt.Errorf("start %q: %w", i.spec.Name, err)
}

// kill ends the environment because of why; the first reason stays.
func (i *instance) kill(why executor.Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	if i.cause == nil {
		i.cause = &why
	}
	unix.PidfdSendSignal(i.blank.child.PidFD, unix.SIGKILL, nil, 0)
}

// signal signals the program.
func (i *instance) signal(sig syscall.Signal) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return executor.ErrStopped
	}
	err := unix.PidfdSendSignal(i.program, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return executor.ErrStopped
	}
	return err
}

// network runs f in the environment's network, unless i has ended by then: another
// environment may have that network next. Whether nobody was in it is found out after the
// end, on the thread that f runs on, so that what f leaves open is noticed.
func (i *instance) network(f func() error) error {
	net, err := i.dup(i.blank.net)
	if err != nil {
		return err
	}
	defer unix.Close(net)
	return i.server.visitor.network(net, func() error {
		i.mu.Lock()
		ended := i.ended
		i.mu.Unlock()
		if ended {
			return executor.ErrStopped
		}
		return f()
	})
}

// dial makes sockets in the environment's network.
func (i *instance) dial(d *link.Dial) (fds []int, err error) {
	err = i.network(func() error {
		if d.Diag {
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
			if err != nil {
				return fmt.Errorf("make a socket of sock_diag inside: %w", err)
			}
			fds = append(fds, fd)
			return nil
		}
		for range min(max(d.Count, 1), 32) {
			fd, err := socket(d.V6)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		return nil
	})
	if err != nil {
		linux.CloseFDs(fds)
		return nil, err
	}
	return fds, nil
}

// dup duplicates a descriptor of the environment while it has not ended.
func (i *instance) dup(fd int) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return -1, executor.ErrStopped
	}
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}

// watch waits for the end, cleans up, and reports it.
//
// What others could meet is given back before the end is told: processes that live, volumes
// and what else of the host it could write to. What only we see goes afterwards, off the way of
// whoever waits; so much of that at a time that nothing piles up.
func (i *instance) watch() {
	s := i.server
	defer s.work.Done()
	report, _, err := i.blank.script.ReadReport(i.blank.ctl)
	ended := time.Now()
	early := err == nil && report.Alone() && i.seeOff()
	if early {
		select {
		case s.dismantling <- struct{}{}:
			defer func() { <-s.dismantling }()
		default:
			early = false
		}
	}
	i.mu.Lock()
	cause := i.cause // a kill that comes later did not end it
	i.mu.Unlock()
	if !early {
		reap(i.blank.child.PidFD, i.blank.uses)
	}
	if i.timer != nil {
		i.timer.Stop()
	}
	exit := i.judge(cause, report, err, i.stat())
	exit.Usage.Wall = ended.Sub(i.began)
	i.mu.Lock()
	i.ended, i.final = true, exit.Usage
	unix.Close(i.program)
	i.mu.Unlock()
	i.closeVolumes()
	if early {
		i.tell(exit)
		i.from.drop(i.blank)
		return
	}
	s.holds.done(i.held)
	i.from.drop(i.blank)
	i.leaveImages()
	i.tell(exit)
}

// seeOff tells whether nothing that others could meet has still to be given back, with the tree
// of the program dead; from then on nothing more is started in it, and no volume is mounted.
func (i *instance) seeOff() bool {
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.execs > 0 || len(i.held) > 0 || len(i.images) > 0 {
		return false
	}
	i.over, i.volumesShut = true, true
	return true
}

// tell reports the end.
func (i *instance) tell(exit executor.Exit) {
	s := i.server
	<-i.reported
	s.mu.Lock()
	delete(s.instances, i.env)
	s.mu.Unlock()
	close(i.done)
	s.conn.Send(&link.Reply{Exited: &link.Exited{Env: i.env, Exit: exit}}, nil)
}

// maxDismantled is how many environments are taken down at a time after their end was told.
const maxDismantled = 32
