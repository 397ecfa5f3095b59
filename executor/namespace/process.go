package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// Process is an [executor.Process].
type Process struct {
	e         *Executor
	env       uint64
	pid       int
	listeners []net.Listener
	streams   *streams
	ports     lastPort      // of sockets that are handed
	ready     chan struct{} // closed once Start has filled in the rest
	done      chan struct{}
	exit      executor.Exit // valid once done is closed

	mu      sync.Mutex
	sockets map[bool][]int // guarded by mu: unconnected sockets inside, by whether IPv6
	diag    *diag          // guarded by mu: nil until it is asked
	ended   bool           // guarded by mu
	started bool           // guarded by mu
	early   *link.Kill     // guarded by mu: a kill that came before started
}

// hostName is what may stand in /etc/hosts.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// maxExtra bounds the descriptors that a spec hands over.
const maxExtra = 64

// maxListeners bounds those that are opened at a time.
const maxListeners = 64

// Start makes an environment.
func (e *Executor) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	start, err := checkSpec(spec)
	if err != nil {
		return nil, err
	}
	p := &Process{e: e, ready: make(chan struct{}), done: make(chan struct{}), sockets: map[bool][]int{}}
	e.mu.Lock()
	e.nextEnv++
	p.env = e.nextEnv
	e.mu.Unlock()
	start.Env = p.env
	p.streams, err = openStreams(&spec.Command, start.Limits.OutputBytes, func() {
		limit := start.Limits.OutputBytes
		p.kill(link.Kill{Cause: executor.CauseOutput, Limit: sizeText(limit), Key: "limits.output", Detail: "it wrote more than " + sizeText(limit) + " of output"})
	})
	if err != nil {
		return nil, err
	}
	fds := p.streams.fds()
	for _, f := range spec.Extra {
		fds = append(fds, int(f.Fd()))
	}
	e.mu.Lock()
	if e.procs != nil {
		e.procs[p.env] = p
	}
	e.mu.Unlock()
	call, err := e.send(&link.Request{Start: start}, fds)
	p.streams.handedOver()
	var got answer
	if err == nil {
		got, err = e.await(ctx, call, func(late answer) {
			if late.reply.Err == nil { // it came about after all
				p.kill(link.Kill{Cause: executor.CausePolicy, Detail: "the start was given up"})
			}
		})
	}
	if err != nil {
		e.mu.Lock()
		delete(e.procs, p.env)
		e.mu.Unlock()
		p.unstarted()
		return nil, err
	}
	reply, sockets := got.reply, got.fds
	p.pid = reply.Pid
	p.begun()
	p.listeners, err = listenersOf(sockets)
	close(p.ready)
	if err != nil {
		p.Kill(executor.CauseInternal, err.Error())
		<-p.done
		return nil, fmt.Errorf("take over a listener: %w", err)
	}
	return p, nil
}

// Prepare has environments like that of spec wait.
func (e *Executor) Prepare(ctx context.Context, spec *executor.Spec, n int) error {
	start, err := checkSpec(spec)
	if err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("environment %q: %d to be prepared", spec.Name, n)
	}
	_, _, err = e.call(ctx, &link.Request{Prepare: &link.Prepare{Spec: start, Count: n}}, nil)
	return err
}

// listenersOf takes over sockets that listen.
func listenersOf(sockets []int) (all []net.Listener, err error) {
	for _, fd := range sockets {
		f := os.NewFile(uintptr(fd), "listener")
		l, lerr := net.FileListener(f)
		f.Close()
		if lerr != nil {
			err = lerr
			continue
		}
		all = append(all, l)
	}
	return all, err
}

// begun says that there is something to kill, and kills it if that was asked for
// before.
func (p *Process) begun() {
	p.mu.Lock()
	p.started = true
	early := p.early
	p.mu.Unlock()
	if early != nil {
		p.kill(*early)
	}
}

// unstarted ends what Start began.
func (p *Process) unstarted() {
	p.mu.Lock()
	p.started = true // should it come about late, kill is to reach it
	p.mu.Unlock()
	close(p.ready)
	go p.streams.wait()
}

// checkSpec checks what the client alone can, and fills in defaults.
func checkSpec(spec *executor.Spec) (*link.Start, error) {
	if !appName.MatchString(spec.Name) {
		return nil, fmt.Errorf("environment name %q is not a DNS label of at most 48 bytes", spec.Name)
	}
	if len(spec.Command.Args) == 0 {
		return nil, fmt.Errorf("environment %q: no program to run", spec.Name)
	}
	if len(spec.Extra) > maxExtra || len(spec.Mounts) > 64 {
		return nil, fmt.Errorf("environment %q: more than 64 descriptors or mounts", spec.Name)
	}
	if err := checkReach(spec.Hosts, spec.Listen); err != nil {
		return nil, fmt.Errorf("environment %q: %w", spec.Name, err)
	}
	if err := checkFork(spec); err != nil {
		return nil, fmt.Errorf("environment %q: %w", spec.Name, err)
	}
	if err := checkAhead(spec); err != nil {
		return nil, fmt.Errorf("environment %q: %w", spec.Name, err)
	}
	if n := spec.Limits.Inotify; n < 0 || n > executor.MaxInotify {
		return nil, fmt.Errorf("%d instances of inotify: 0 to %d", n, executor.MaxInotify)
	}
	s := &link.Start{
		Fork: spec.Fork, Ahead: spec.Ahead,
		Name: spec.Name, Command: command(&spec.Command), Sendfile: spec.Sendfile, Mounts: slices.Clone(spec.Mounts), Hosts: spec.Hosts,
		Listen: spec.Listen, Limits: complete(spec.Limits), AllowDegraded: spec.AllowDegraded,
	}
	for n := range s.Mounts {
		m := &s.Mounts[n]
		if m.Kind == executor.MountTmpfs {
			if m.SizeBytes == 0 {
				m.SizeBytes = s.Limits.TmpBytes
			}
			if m.SizeBytes < 0 {
				return nil, fmt.Errorf("environment %q: tmpfs %q without a limit", spec.Name, m.Target)
			}
		}
	}
	if s.Limits.TmpBytes < 0 {
		return nil, fmt.Errorf("environment %q: /tmp without a limit", spec.Name)
	}
	return s, nil
}

// checkReach checks names and listeners.
func checkReach(hosts []executor.Host, listen []netip.AddrPort) error {
	for _, h := range hosts {
		if !hostName.MatchString(h.Name) || !h.Addr.IsValid() {
			return fmt.Errorf("host %q with address %v", h.Name, h.Addr)
		}
	}
	if len(listen) > maxListeners {
		return fmt.Errorf("more than %d listeners", maxListeners)
	}
	for _, a := range listen {
		if !a.Addr().IsLoopback() && !a.Addr().IsUnspecified() {
			return fmt.Errorf("address %v is not of the loopback", a)
		}
	}
	return nil
}

func command(c *executor.Command) link.Command {
	return link.Command{Args: c.Args, Env: c.Env, Dir: c.Dir}
}

// complete replaces zero limits by the defaults.
func complete(l executor.Limits) executor.Limits {
	d := executor.DefaultLimits()
	fill(&l.MemoryBytes, d.MemoryBytes)
	fill(&l.Pids, d.Pids)
	fill(&l.CPUs, d.CPUs)
	fill(&l.CPU, d.CPU)
	fill(&l.Wall, d.Wall)
	fill(&l.OutputBytes, d.OutputBytes)
	fill(&l.OpenFiles, d.OpenFiles)
	fill(&l.FileBytes, d.FileBytes)
	fill(&l.VolumeBytes, d.VolumeBytes)
	fill(&l.TmpBytes, d.TmpBytes)
	return l
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// finish records how the environment ended.
func (p *Process) finish(exit executor.Exit) {
	<-p.ready
	p.streams.wait()
	p.mu.Lock()
	p.ended = true
	for _, l := range p.listeners {
		l.Close()
	}
	for _, fds := range p.sockets {
		linux.CloseFDs(fds)
	}
	p.sockets = nil
	if p.diag != nil {
		p.diag.close()
	}
	p.mu.Unlock()
	exit.Usage.OutputBytes = p.streams.bytes()
	p.exit = exit
	close(p.done)
}

// Pid is the host's number of the init.
func (p *Process) Pid() int { return p.pid }

// Listeners are the sockets of Spec.Listen.
func (p *Process) Listeners() []net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.listeners)
}

// Reach changes which names resolve inside, and opens further listeners.
func (p *Process) Reach(ctx context.Context, hosts []executor.Host, listen []netip.AddrPort) ([]net.Listener, error) {
	if err := checkReach(hosts, listen); err != nil {
		return nil, err
	}
	_, fds, err := p.e.call(ctx, &link.Request{Env: p.env, Reach: &link.Reach{Hosts: hosts, Listen: listen}}, nil)
	if err != nil {
		return nil, err
	}
	more, err := listenersOf(fds)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended && err == nil {
		err = executor.ErrStopped
	}
	if err != nil {
		for _, l := range more {
			l.Close()
		}
		return nil, err
	}
	p.listeners = append(p.listeners, more...)
	return more, nil
}

// dialBatch is how many sockets are fetched at once: a round trip to the
// spawner costs more than a socket.
const dialBatch = 4

// Dial connects to an address inside. The socket was made inside by the spawner;
// it stays in its network wherever it is used.
func (p *Process) Dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	fd, err := p.socket(ctx, addr.Addr().Is6())
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "dial")
	defer f.Close()
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().Unmap().As4()}
	if addr.Addr().Is6() {
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	err = unix.Connect(fd, sa)
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(ctx, f)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %v inside: %w", addr, err)
	}
	return net.FileConn(f)
}

// connected waits until a connect is through.
func connected(ctx context.Context, f *os.File) error {
	if d, ok := ctx.Deadline(); ok {
		f.SetWriteDeadline(d)
	}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		// Looked at before the first wait too: what the poller reported before
		// that is forgotten.
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			failed = err
		case errno != 0:
			failed = syscall.Errno(errno)
		default:
			_, err := unix.Getpeername(int(fd))
			return err == nil // ENOTCONN: under way
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(failed, err)
}

// socket takes an unconnected socket, of those fetched or fetched now.
func (p *Process) socket(ctx context.Context, v6 bool) (int, error) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return -1, executor.ErrStopped
	}
	if have := p.sockets[v6]; len(have) > 0 {
		p.sockets[v6] = have[1:]
		p.mu.Unlock()
		return have[0], nil
	}
	p.mu.Unlock()
	_, fds, err := p.e.call(ctx, &link.Request{Env: p.env, Dial: &link.Dial{V6: v6, Count: dialBatch}}, nil)
	if err != nil {
		return -1, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := fds[1:]
	if !p.ended {
		// Others may have fetched some meanwhile, as many at a time as connect.
		keep := min(len(rest), max(dialBatch-len(p.sockets[v6]), 0))
		p.sockets[v6], rest = append(p.sockets[v6], rest[:keep]...), rest[keep:]
	}
	linux.CloseFDs(rest)
	return fds[0], nil
}

// Owns tells whether the process behind pidfd belongs to this environment.
func (p *Process) Owns(pidfd *os.File) (bool, error) {
	reply, _, err := p.e.callSoon(&link.Request{Env: p.env, Owns: true}, []int{int(pidfd.Fd())})
	if errors.Is(err, executor.ErrStopped) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return reply.Owns, nil
}

// outputGrace is how long the output of a program that has ended is waited for
// when others inside hold its pipes open.
const outputGrace = time.Second

// Exec runs a further program inside.
func (p *Process) Exec(ctx context.Context, cmd *executor.Command) (executor.Exit, error) {
	if len(cmd.Args) == 0 {
		return executor.Exit{}, errors.New("no program to run")
	}
	limit := p.streams.limit
	req := &link.Request{Env: p.env, Exec: &link.Exec{Command: command(cmd)}}
	over := make(chan struct{}, 1)
	s, err := openStreams(cmd, limit, func() { over <- struct{}{} })
	if err != nil {
		return executor.Exit{}, err
	}
	call, err := p.e.send(req, s.fds())
	s.handedOver()
	if err != nil {
		s.wait()
		return executor.Exit{}, err
	}
	cause := executor.Exit{}
	stopped := ctx.Done()
	for {
		select {
		case a, ok := <-call:
			if !ok {
				s.wait()
				return executor.Exit{}, errGone
			}
			s.waitFor(outputGrace)
			linux.CloseFDs(a.fds)
			if err := a.reply.Err.Err(); err != nil {
				return executor.Exit{}, err
			}
			exit := a.reply.Exit
			if cause.Cause != "" {
				cause.Code, cause.Signal, cause.Usage = exit.Code, exit.Signal, exit.Usage
				exit = cause
			}
			exit.Usage.OutputBytes = s.bytes()
			return exit, ctx.Err()
		case <-stopped:
			stopped = nil
			cause = executor.Exit{Cause: executor.CausePolicy, Detail: "it was given up"}
		case <-over:
			cause = executor.Exit{Cause: executor.CauseOutput, Limit: sizeText(limit), Key: "limits.output", Detail: "it wrote more than " + sizeText(limit) + " of output"}
		}
		if c, err := p.e.send(&link.Request{Cancel: req.ID}, nil); err == nil {
			go abandon(c)
		}
	}
}

// Mount shows a directory of the host, or a volume, inside.
func (p *Process) Mount(ctx context.Context, s executor.Share) error {
	req := &link.Request{Env: p.env, Mount: &link.Mount{Volume: s.Volume, Target: s.Target, Writable: s.Writable, SizeBytes: s.SizeBytes, Inodes: s.Inodes}}
	if s.Volume != "" {
		_, _, err := p.e.call(ctx, req, nil)
		return err
	}
	_, _, err := p.e.call(ctx, req, []int{int(s.Dir.Fd())})
	runtime.KeepAlive(s.Dir)
	return err
}

// Unmount takes away what is mounted on target.
func (p *Process) Unmount(ctx context.Context, target string) error {
	_, _, err := p.e.call(ctx, &link.Request{Env: p.env, Unmount: &link.Unmount{Target: target}}, nil)
	return err
}

// Signal delivers sig to the program.
func (p *Process) Signal(sig syscall.Signal) error {
	_, _, err := p.e.callSoon(&link.Request{Env: p.env, Signal: &link.Signal{Signal: sig}}, nil)
	return err
}

// Kill ends the whole tree now.
func (p *Process) Kill(cause executor.Cause, detail string) {
	p.kill(link.Kill{Cause: cause, Detail: detail})
}

// kill kills, or notes that it is to be done as soon as the start is through:
// output can be too much before we know that there is any.
func (p *Process) kill(k link.Kill) {
	p.mu.Lock()
	if !p.started {
		if p.early == nil {
			p.early = &k
		}
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if c, err := p.e.send(&link.Request{Env: p.env, Kill: &k}, nil); err == nil {
		go abandon(c)
	}
}

// Done is closed when nothing is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how it ended; valid once Done is closed.
func (p *Process) Exit() executor.Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return executor.Exit{}
	}
}

// Usage is what the tree has used up to now.
func (p *Process) Usage() executor.Usage {
	select {
	case <-p.done:
		return p.exit.Usage
	default:
	}
	reply, _, err := p.e.callSoon(&link.Request{Env: p.env, Usage: true}, nil)
	if err != nil {
		return executor.Usage{}
	}
	reply.Usage.OutputBytes = p.streams.bytes()
	return reply.Usage
}

// sizeText writes a number of bytes with the largest unit that keeps it whole.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	u := 0
	for n >= 1024 && n%1024 == 0 && u < len(units)-1 {
		n, u = n/1024, u+1
	}
	return fmt.Sprintf("%d%s", n, units[u])
}
