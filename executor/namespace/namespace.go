// Package namespace keeps programs apart with the kernel's own means: namespaces,
// cgroups, seccomp and Landlock.
//
// An [Executor] is a client. The work is done by a spawner, a small process of
// its own (package spawner), so that nothing is ever forked from the big process
// and the big process needs no privilege. A program that uses this package must
// run [spawner.Main] with the number 3 when it is started with the arguments
// that Options.Executable says:
//
//	if len(os.Args) > 1 && os.Args[1] == "spawner" {
//		if err := spawner.Main(3); err != nil { … }
//		return
//	}
//	e, err := namespace.New(namespace.Options{App: "zoobar", Executable: []string{"/proc/self/exe", "spawner"}})
//
// Started as root, the spawner stays root of the host, in a mount namespace of
// its own, and gives every environment two host ids that no other has. Started
// by an ordinary user it is root of a user namespace of its own; environments
// have two ids each of the user's subordinate range (/etc/subuid, newuidmap), or
// without one all have the user's. From there on everything is the same.
//
// Processes and what passes between them:
//
//	trusted process ── link ──► spawner ── script, descriptors ──► init of an environment
//	                                    ◄── started, exited ──         └─ program (uid 1000)
//
// Goroutines: one that takes what the spawner says, one for each stream that is
// neither a file nor nothing, and short ones that end a process or wait for an
// answer that its asker has given up. Locks: Executor.mu and Process.mu, never one
// inside the other, and not held while the spawner is asked.
//
// The spawner ends with its socket, an environment with the spawner. After a SIGKILL
// of the trusted process it takes everything down in order and nothing remains; after
// one of the spawner what remains is empty cgroups, which the next one removes.
//
// Trusted: yes, though this package only asks; what it asks for is what holds.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/executor/namespace/host"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"
)

// Options say how environments are made. Executable is required.
type Options struct {
	// Executable is the argument vector that runs spawner.Main(3).
	// "/proc/self/exe" means this very program.
	Executable []string
	// App names the application in cgroups: a DNS label, "app" by default.
	App string
	// RuntimeDir holds the locks on ranges of ids. The default is
	// /run/cofferdam for root, $XDG_RUNTIME_DIR/cofferdam for others, or
	// /tmp/cofferdam-UID.
	RuntimeDir string
	// UIDBase is where the host ids for environments begin, as root:
	// 0x70000000 by default. Each application claims a block of 65536.
	UIDBase uint32
	// Roots are the host directories that sources of mounts must lie below,
	// besides the runtime's. nil means any.
	Roots []string
	// Volumes is the host directory in which volumes are kept. As root it must be
	// root's, with nobody else to write there.
	Volumes string
	// Budget bounds all environments together, where the host has cgroups. The zero
	// value is no limit.
	Budget Budget
	// Warm is how many blank environments wait ahead, each some 200 KB: 4 by
	// default, -1 for none.
	Warm int
	// Lock, if there is one, is held by the spawner too: the lock of an open file
	// that must not be had by a successor before everything has been taken down.
	Lock *os.File
	// Stderr gets what a dying spawner says; os.Stderr by default.
	Stderr *os.File
}

// Budget bounds an application. A field that is not positive is no limit.
type Budget = link.Budget

// Executor is an [executor.Executor].
type Executor struct {
	conn        *link.Conn
	protections []executor.Protection
	spawner     *os.Process
	claim       *os.File
	monitorID   int           // see MonitorID
	gone        chan struct{} // closed when the spawner has ended
	closing     atomic.Bool

	mu      sync.Mutex
	nextID  uint64                 // guarded by mu
	nextEnv uint64                 // guarded by mu
	calls   map[uint64]chan answer // guarded by mu; nil once the spawner is gone
	procs   map[uint64]*Process    // guarded by mu
}

type answer struct {
	reply *link.Reply
	fds   []int
}

var appName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$`)

// answerTimeout bounds the start of a spawner, and what it answers at once when it runs.
const answerTimeout = 30 * time.Second

// New starts a spawner. Errors that wrap [executor.ErrUnsupported] say what the
// host lacks and what would provide it.
func New(opts Options) (*Executor, error) {
	if opts.App == "" {
		opts.App = "app"
	}
	if !appName.MatchString(opts.App) {
		return nil, fmt.Errorf("application name %q is not a DNS label of at most 48 bytes", opts.App)
	}
	if len(opts.Executable) == 0 {
		return nil, errors.New("namespace: no executable for the spawner")
	}
	for _, root := range opts.Roots {
		if !filepath.IsAbs(root) || filepath.Clean(root) != root {
			return nil, fmt.Errorf("root %q is not an absolute clean path", root)
		}
	}
	if v := opts.Volumes; v != "" && (!filepath.IsAbs(v) || filepath.Clean(v) != v) {
		return nil, fmt.Errorf("directory of volumes %q is not an absolute clean path", v)
	}
	if opts.Warm == 0 {
		opts.Warm = 4
	}
	e := &Executor{
		gone:  make(chan struct{}),
		calls: map[uint64]chan answer{}, procs: map[uint64]*Process{},
	}
	hello := &link.Hello{App: opts.App, Roots: opts.Roots, Volumes: opts.Volumes, Budget: opts.Budget, Warm: max(opts.Warm, 0), Parent: os.Getpid()}
	if err := enterScope(opts.App); err != nil {
		hello.ScopeNote = err.Error()
	}
	identity, err := newIdentity(&opts, hello)
	if err != nil {
		return nil, err
	}
	e.claim = identity.claim
	if !hello.User {
		e.monitorID = int(hello.UIDBase)
	}
	if err := e.launch(&opts, identity); err != nil {
		e.claimClose()
		return nil, err
	}
	go e.receive()
	reply, fds, err := e.callSoon(&link.Request{Hello: hello}, nil)
	linux.CloseFDs(fds)
	if err != nil {
		e.Close()
		return nil, identity.explain(fmt.Errorf("start the spawner: %w", err))
	}
	e.protections = reply.Protections
	return e, nil
}

// MonitorID is a user and group id that this application alone has and that no
// environment gets, for the trusted process to become; 0 if it was not started
// as root and so has nothing to give up.
func (e *Executor) MonitorID() int { return e.monitorID }

// Gone is closed when the spawner has ended, which nobody does without being asked:
// after that, nothing runs and nothing can be started.
func (e *Executor) Gone() <-chan struct{} { return e.gone }

// launch starts the spawner's process.
func (e *Executor) launch(opts *Options, id *identity) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the spawner's socket: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "spawner")
	defer theirs.Close()
	e.conn = link.NewConn(pair[0])
	stderr := opts.Stderr
	if stderr == nil {
		stderr = os.Stderr
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		e.conn.Close()
		return err
	}
	defer null.Close()
	files := []*os.File{null, null, stderr, theirs}
	for _, lock := range []*os.File{id.claim, opts.Lock} {
		if lock != nil {
			files = append(files, lock) // held as long as the spawner lives
		}
	}
	// Half of the processors are for what it starts: on one of two it wakes fewer threads in vain.
	procs := max(min(runtime.NumCPU()/2, 4), 1)
	attr := &os.ProcAttr{
		Env: []string{"PATH=/usr/bin:/bin", "GOTRACEBACK=single", "GOMAXPROCS=" + fmt.Sprint(procs)}, Files: files, Sys: id.attr,
	}
	// A Ctrl-C is for us: the spawner goes when we let it, after cleaning up.
	attr.Sys.Setsid = true
	e.spawner, err = os.StartProcess(opts.Executable[0], opts.Executable, attr)
	if err != nil {
		e.conn.Close()
		return id.explain(fmt.Errorf("start the spawner %q: %w", opts.Executable, err))
	}
	if err := id.mapIDs(e.spawner.Pid); err != nil {
		e.conn.Close()
		e.spawner.Kill()
		e.spawner.Wait()
		return id.explainMap(err)
	}
	return nil
}

// receive takes what the spawner says, until it has gone.
func (e *Executor) receive() {
	for {
		reply := &link.Reply{}
		fds, err := e.conn.Receive(reply)
		if err != nil {
			break
		}
		if reply.Exited != nil {
			linux.CloseFDs(fds)
			e.mu.Lock()
			p := e.procs[reply.Exited.Env]
			delete(e.procs, reply.Exited.Env)
			e.mu.Unlock()
			if p != nil {
				go p.finish(reply.Exited.Exit)
			}
			continue
		}
		e.mu.Lock()
		call := e.calls[reply.ID]
		delete(e.calls, reply.ID)
		e.mu.Unlock()
		if call == nil {
			linux.CloseFDs(fds) // the caller has given up
			continue
		}
		call <- answer{reply, fds}
	}
	e.conn.Close()
	e.spawner.Wait()
	e.mu.Lock()
	calls, procs := e.calls, e.procs
	e.calls, e.procs = nil, nil
	e.mu.Unlock()
	for _, call := range calls {
		close(call)
	}
	exit := executor.Exit{Cause: executor.CauseInternal, Code: 137, Signal: 9, Detail: errGone.Error()}
	if e.closing.Load() {
		exit.Cause, exit.Detail = executor.CausePolicy, "the executor was closed"
	}
	for _, p := range procs {
		go p.finish(exit)
	}
	e.claimClose()
	close(e.gone)
}

func (e *Executor) claimClose() {
	if e.claim != nil {
		e.claim.Close()
	}
}

// errGone says that the spawner has ended, by Close or by accident.
var errGone = errors.New("the spawner has ended")

// send sends a request and returns where its answer will come.
func (e *Executor) send(req *link.Request, fds []int) (chan answer, error) {
	call := make(chan answer, 1)
	e.mu.Lock()
	if e.calls == nil {
		e.mu.Unlock()
		return nil, errGone
	}
	e.nextID++
	req.ID = e.nextID
	e.calls[req.ID] = call
	e.mu.Unlock()
	if err := e.conn.Send(req, fds); err != nil {
		e.mu.Lock()
		delete(e.calls, req.ID)
		e.mu.Unlock()
		return nil, err
	}
	return call, nil
}

// call does a request. The descriptors of the answer are the caller's.
func (e *Executor) call(ctx context.Context, req *link.Request, fds []int) (*link.Reply, []int, error) {
	call, err := e.send(req, fds)
	if err != nil {
		return nil, nil, err
	}
	a, err := e.await(ctx, call, nil)
	return a.reply, a.fds, err
}

// await waits for the answer to a request. An answer that comes after ctx has
// ended is given to late, and its descriptors are closed.
func (e *Executor) await(ctx context.Context, call chan answer, late func(answer)) (answer, error) {
	select {
	case a, ok := <-call:
		if !ok {
			return answer{}, errGone
		}
		if err := a.reply.Err.Err(); err != nil {
			linux.CloseFDs(a.fds)
			return answer{}, err
		}
		return a, nil
	case <-ctx.Done():
		go func() {
			if a, ok := <-call; ok {
				linux.CloseFDs(a.fds)
				if late != nil {
					late(a)
				}
			}
		}()
		return answer{}, ctx.Err()
	}
}

// abandon takes care of an answer that nobody waits for.
func abandon(call chan answer) {
	if a, ok := <-call; ok {
		linux.CloseFDs(a.fds)
	}
}

// callSoon is call for who has no context: it waits for at most answerTimeout.
func (e *Executor) callSoon(req *link.Request, fds []int) (*link.Reply, []int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	return e.call(ctx, req, fds)
}

// Open opens a directory of the host.
func (e *Executor) Open(ctx context.Context, dir string) (*os.File, error) {
	_, fds, err := e.call(ctx, &link.Request{Open: &link.Open{Dir: dir}}, nil)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		linux.CloseFDs(fds)
		return nil, fmt.Errorf("open %q: the spawner sent %d descriptors", dir, len(fds))
	}
	return os.NewFile(uintptr(fds[0]), dir), nil
}

// Without is what this host gives where [New] has failed with err: a full list,
// as far as it can be told without a spawner; nil if err is about something else.
func Without(err error) []executor.Protection {
	var cause *executor.MissingError
	if !errors.As(err, &cause) {
		return nil
	}
	var all []executor.Protection
	for _, name := range executor.ProtectionNames {
		p := executor.Protection{Status: executor.Fail, Detail: "takes the " + cause.Name + ", which is missing"}
		_, controller, group := strings.Cut(name, "cgroup.")
		_, _, note := subordinate()
		switch {
		case name == cause.Name:
			p = cause.Protection
		case name == "seccomp":
			p = host.Seccomp()
		case name == "landlock":
			p = host.Landlock(linux.LandlockABI())
		case name == "uid-range" && note != "":
			p.Detail, p.Fix = note, host.SubordinateFix(os.Geteuid())
		case group:
			if why := cgroup.Why("/sys/fs/cgroup", "/proc/self", controller); why.What != "" {
				p.Detail, p.Fix = why.What, why.Fix
			}
		}
		p.Name = name
		all = append(all, p)
	}
	return all
}

// Protections tells what this host gives.
func (e *Executor) Protections() []executor.Protection {
	return append([]executor.Protection(nil), e.protections...)
}

// Close kills every environment, waits for their end, and ends the spawner.
func (e *Executor) Close() error {
	e.closing.Store(true)
	e.conn.Close()
	select {
	case <-e.gone:
	case <-time.After(30 * time.Second):
		e.spawner.Kill()
		<-e.gone
	}
	return nil
}
