package spawner

import (
	"errors"
	"fmt"
	"slices"
	"sync"
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
	program  int          // pidfd of the program
	began    time.Time
	writable []rule
	images   []*image // of its volumes
	timer    *time.Timer
	reported chan struct{} // closed once the trusted process knows of it
	done     chan struct{} // closed once nothing is left
	spent    spent         // the sampler's

	volumesMu   sync.Mutex // before mu
	volumes     []volume   // guarded by volumesMu
	watching    bool       // guarded by volumesMu: their quotas
	volumesShut bool       // guarded by volumesMu
	held        []string   // keys of holds

	reachMu sync.Mutex // held while its names change; before mu
	renamed bool       // guarded by reachMu: its /etc/hosts is one that reach has mounted

	mu    sync.Mutex
	cause *executor.Exit // guarded by mu: why we killed it
	ended bool           // guarded by mu: its descriptors are closed
	execs int            // guarded by mu: programs started by Exec
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
	mounts, err := s.place(spec.Mounts, &spec.Limits)
	if err != nil {
		return 0, nil, err
	}
	defer s.closePlaced(mounts)
	if err := s.checkQuotas(mounts, spec); err != nil {
		return 0, nil, err
	}
	tree, err := s.layouts.tree(spec, mounts)
	if err != nil {
		return 0, nil, err
	}
	defer unix.Close(tree)
	b, held, from, err := s.take(spec, mounts)
	if err != nil {
		return 0, nil, err
	}
	defer from.refill()
	i := &instance{
		server: s, env: spec.Env, spec: spec, blank: b, from: from, group: b.group, program: -1, writable: writable(mounts), held: held,
		reported: make(chan struct{}), done: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			linux.CloseFDs(listeners)
			listeners = nil
			i.closeVolumes()
			if i.program >= 0 {
				unix.Close(i.program)
			}
			from.drop(b)
			s.holds.done(i.held)
			i.leaveImages()
		}
	}()
	for _, m := range mounts {
		if m.image != nil {
			i.images = append(i.images, s.storage.again(m.image))
		}
	}
	if b.group != nil {
		l := spec.Limits
		if err := b.group.Limit(groupLimits(&l, 0)); err != nil {
			return 0, nil, err
		}
	}
	if listeners, err = listenInside(b.net, spec.Listen); err != nil {
		return 0, nil, err
	}
	if err = i.prepare(mounts, tree, fds); err != nil {
		return 0, listeners, err
	}
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
		return 0, listeners, err
	}
	if l := spec.Limits.Wall; l > 0 {
		i.timer = time.AfterFunc(l, func() {
			i.kill(executor.Exit{Cause: executor.CauseWall, Limit: l.String(), Key: "limits.wall", Detail: "it ran longer than " + l.String()})
		})
	}
	s.work.Add(1)
	go i.watch()
	go i.sample()
	return b.child.Pid, listeners, nil
}

// groupLimits are the limits for a cgroup that also holds the init, and the
// helpers of execs.
func groupLimits(l *executor.Limits, execs int) (g cgroup.Limits) {
	g.MemoryBytes, g.CPUs = l.MemoryBytes, l.CPUs
	if l.Pids > 0 {
		g.Pids = l.Pids + 1 + execs
	}
	return g
}

// budgetLimits are the limits for the group of all: with the inits of so many
// environments, of those that wait ahead, and the helpers of execs.
func budgetLimits(h *link.Hello) (g cgroup.Limits) {
	if h.Budget.MemoryBytes > 0 {
		g.MemoryBytes = h.Budget.MemoryBytes + int64(h.Warm+1)<<20
	}
	if h.Budget.Pids > 0 && h.Budget.Instances > 0 {
		g.Pids = h.Budget.Pids + 2*h.Budget.Instances + h.Warm + 64
	}
	return g
}

// prepare writes the script of i, runs it, and waits until the program has been
// executed.
func (i *instance) prepare(mounts []placed, tree int, fds []int) error {
	s, b, spec := i.server, i.blank, i.spec
	list := &fdList{fds: slices.Clone(fds)}
	treeFD := list.add(tree)
	own, err := s.ownFiles(mounts, s.ids.program(b.slot))
	if err != nil {
		return err
	}
	ownFD := -1
	if own >= 0 {
		defer unix.Close(own)
		ownFD = int(list.add(own))
	}
	binds := map[int]uintptr{}
	for n, m := range mounts {
		if m.Kind != executor.MountPoints && (!m.own || m.source < 0) {
			continue
		}
		bind, err := i.ownTree(&m)
		if err != nil {
			return fmt.Errorf("mount %q: %w", m.Target, err)
		}
		defer unix.Close(bind)
		binds[n] = list.add(bind)
	}
	sc := b.script
	s.scripts.become(sc, s.ids.init())
	sc.Setup.Add("make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	sc.Setup.Add("set the host name", unix.SYS_SETHOSTNAME, sc.String(spec.Name), uintptr(len(spec.Name)))
	s.scripts.files(sc, spec, mounts, treeFD, ownFD, binds)
	s.scripts.capabilities(sc)
	if spec.Fork != nil {
		err = s.scripts.fork(sc, spec, i.writable, len(fds))
	} else {
		err = s.scripts.program(sc, &spec.Command, &spec.Limits, i.writable, len(fds))
	}
	if err != nil {
		return err
	}
	s.scripts.seal(sc)
	if spec.Fork != nil {
		err = sc.GoPacked(b.ctl, list.fds, spec.Command.Args[len(spec.Fork.Interpreter):], spec.Command.Env, len(fds))
	} else {
		err = sc.Go(b.ctl, list.fds)
	}
	if err != nil {
		return err
	}
	i.began = time.Now()
	b.ctl.SetReadDeadline(i.began.Add(startTimeout))
	_, i.program, err = sc.ReadReport(b.ctl)
	if err != nil {
		return i.startError(err)
	}
	b.ctl.SetReadDeadline(time.Time{})
	sc.Release()
	return nil
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

// dial makes sockets in the environment's network.
func (i *instance) dial(d *link.Dial) (fds []int, err error) {
	net, err := i.dup(i.blank.net)
	if err != nil {
		return nil, err
	}
	defer unix.Close(net)
	err = inside(net, func() error {
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
func (i *instance) watch() {
	defer i.server.work.Done()
	report, _, err := i.blank.script.ReadReport(i.blank.ctl)
	ended := time.Now()
	i.mu.Lock()
	cause := i.cause // a kill that comes later did not end it
	i.mu.Unlock()
	reap(i.blank.child.PidFD)
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

	s := i.server
	s.holds.done(i.held)
	i.from.drop(i.blank)
	i.leaveImages()
	<-i.reported
	s.mu.Lock()
	delete(s.instances, i.env)
	s.mu.Unlock()
	close(i.done)
	s.conn.Send(&link.Reply{Exited: &link.Exited{Env: i.env, Exit: exit}}, nil)
}
