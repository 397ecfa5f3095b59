package spawner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/executor/namespace/link"
	"cofferdam/executor/namespace/seccomp"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// Main is the whole spawner. fd is its end of the socket to the trusted process.
// It returns once that has gone, with everything it made gone too.
func Main(fd int) error {
	s, err := greet(fd)
	if err != nil {
		return err
	}
	return s.run()
}

// greet answers the first message, which says what for the spawner is here.
func greet(fd int) (*server, error) {
	conn := link.NewConn(fd)
	var first link.Request
	fds, err := conn.Receive(&first)
	linux.CloseFDs(fds)
	if err != nil || first.Hello == nil {
		return nil, fmt.Errorf("the first message is no greeting: %v", err)
	}
	ready := overdue("it is not ready", greetTimeout)
	s, err := newServer(first.Hello, conn)
	ready()
	reply := link.Reply{ID: first.ID, Err: link.FromError(err)}
	if err == nil {
		reply.Protections = s.protections
	}
	sendErr := conn.Send(&reply, nil)
	if err == nil && sendErr != nil {
		s.close() // it was killed before it heard of us
	}
	if err := errors.Join(err, sendErr); err != nil {
		return nil, err
	}
	return s, nil
}

// run serves until the trusted process has gone, and cleans up.
func (s *server) run() error {
	err := s.serve()
	// The trusted process has gone, or wants us to go. What remains to be done waits for
	// the kernel alone; should that hang, everything ends with us at once.
	overdue("not everything was taken down", closeTimeout)
	s.close()
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// What bounds the beginning of a spawner, before who started it gives it up, and the end of one.
const (
	greetTimeout = 25 * time.Second
	closeTimeout = 15 * time.Second
)

// overdue ends the spawner, and says where it stood, unless what it returns is called in time.
func overdue(what string, after time.Duration) (done func()) {
	t := time.AfterFunc(after, func() {
		stacks := make([]byte, 256<<10)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(os.Stderr, "spawner: %s after %v\n%s", what, after, stacks)
		unix.Kill(os.Getpid(), unix.SIGKILL)
	})
	return func() { t.Stop() }
}

// server answers the requests of the trusted process.
type server struct {
	hello       *link.Hello
	conn        *link.Conn
	hostFD      int // the root of the host
	ids         *ids
	cgroups     cgroup.Parent // nil on a host without
	blanks      *blanks
	stocks      *stocks
	holds       *holds
	zygotes     *zygotes
	cloner      *cloner
	visitor     *visitor
	layouts     *layouts
	scripts     *scripts
	storage     *storage
	protections []executor.Protection

	besides     besides
	work        sync.WaitGroup // requests and watchers
	dismantling chan struct{}  // holds one for each environment whose end was told and that is not taken down yet

	mu        sync.Mutex
	instances map[uint64]*instance   // guarded by mu
	cancels   map[uint64]*withdrawal // guarded by mu: of Execs, by request
	closed    bool                   // guarded by mu
}

func newServer(hello *link.Hello, conn *link.Conn) (*server, error) {
	if err := becomeRoot(hello.User); err != nil {
		return nil, err
	}
	// Neither we nor the inits, which are copies of us, may be looked into.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("hide from debuggers: %w", err)
	}
	if err := enterHost(); err != nil {
		return nil, err
	}
	s := &server{
		hello: hello, conn: conn,
		ids:       &ids{base: hello.UIDBase, count: hello.UIDs, used: map[uint32]int{}},
		instances: map[uint64]*instance{}, cancels: map[uint64]*withdrawal{},
		dismantling: make(chan struct{}, maxDismantled),
	}
	var err error
	if s.hostFD, err = unix.Open(hostDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err = s.openStorage(hello.Volumes); err != nil {
		return nil, err
	}
	if s.cloner, err = newCloner(); err != nil {
		return nil, err
	}
	if s.visitor, err = newVisitor(); err != nil {
		return nil, err
	}
	self := os.Getpid()
	var groupErr error
	s.cgroups, groupErr = cgroup.Open(hostDir+"/sys/fs/cgroup", "/proc/self", cgroup.Name(hello.App, self, cgroup.StartTime(self)), []int{self, hello.Parent})
	if s.cgroups != nil {
		if err := s.limitAll(); err != nil {
			s.cgroups.Remove()
			return nil, err
		}
	}
	s.layouts = &layouts{hostFD: s.hostFD, trees: map[string]int{}}
	memoryGroup := s.cgroups != nil && !missing(s.cgroups, "memory")
	s.scripts = &scripts{
		ids: s.ids, landlock: linux.LandlockABI(), lastCap: lastCapability(),
		filters: map[seccomp.May][]unix.SockFilter{}, initFilter: seccomp.Init(), hardLimits: hardLimits(),
		memoryGroup: memoryGroup,
		pidsGroup:   s.cgroups != nil && !missing(s.cgroups, "pids"),
	}
	for n := range 4 {
		may := seccomp.May{Sendfile: n&1 != 0, Inotify: n&2 != 0}
		s.scripts.filters[may] = seccomp.Program(memoryGroup, may)
	}
	room, err := linux.NewRoom(s.visitor.home)
	if err != nil {
		return nil, err
	}
	networks, err := newNetworks(s.visitor, max(hello.Warm, 1), networkMaker(memoryGroup))
	if err != nil {
		return nil, err
	}
	s.blanks = &blanks{
		ids: s.ids, networks: networks, scripts: s.scripts,
		nests: &nests{origin: s.origin(room), room: room, parent: s.cgroups, made: new(atomic.Uint64), keep: maxDismantled},
		ahead: hello.Warm, wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	s.stocks = &stocks{server: s, wake: make(chan struct{}, 1), stopped: make(chan struct{}), by: map[string]*stock{}, loading: map[*prepared]bool{}}
	s.holds = &holds{ids: s.ids, at: map[string]*hold{}}
	s.zygotes = &zygotes{server: s, all: map[string]*zygote{}}
	s.protections = s.protect(groupErr)
	go s.blanks.keep()
	go s.stocks.keep()
	s.blanks.refill()
	return s, nil
}

// origin makes the first cradle, on a thread that stays.
func (s *server) origin(room *linux.Room) func() (*linux.Cradle, error) {
	return func() (c *linux.Cradle, err error) {
		s.cloner.do(func() { c, err = linux.NewCradle(room) })
		return c, err
	}
}

// lastCapability is the highest capability that the kernel knows.
func lastCapability() uintptr {
	b, _ := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n > 63 {
		n = unix.CAP_LAST_CAP
	}
	return uintptr(n)
}

// serve handles requests until the trusted process has gone: those that wait for
// nobody at once and in order, the others each in a goroutine of its own.
func (s *server) serve() error {
	for {
		var req link.Request
		fds, err := s.conn.Receive(&req)
		if err != nil {
			return err
		}
		if req.Kill != nil || req.Cancel != 0 {
			linux.CloseFDs(fds)
			s.end(&req)
			continue
		}
		var gone *withdrawal
		if req.Exec != nil {
			gone = s.cancelable(req.ID) // here, before what gives it up can be received
		}
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			reply, out := s.handle(&req, fds, gone)
			if gone != nil {
				s.forget(req.ID)
			}
			linux.CloseFDs(fds)
			reply.ID = req.ID
			s.conn.Send(reply, out) // should it fail, serve ends as well
			linux.CloseFDs(out)
			if req.Start != nil {
				s.stocks.refill()
			}
			if reply.Err == nil && req.Start != nil {
				s.begin(req.Start.Env)
			}
		}()
	}
}

// end kills an environment or a program in one. The first of several kills is
// the one that counts.
func (s *server) end(req *link.Request) {
	if k := req.Kill; k == nil {
		s.cancel(req.Cancel)
	} else if i := s.instance(req.Env); i != nil {
		i.kill(executor.Exit{Cause: k.Cause, Detail: k.Detail, Limit: k.Limit, Key: k.Key})
	}
	s.conn.Send(&link.Reply{ID: req.ID}, nil)
}

// handle does one request. fds stay the caller's.
func (s *server) handle(req *link.Request, fds []int, gone *withdrawal) (reply *link.Reply, out []int) {
	reply = &link.Reply{}
	var err error
	switch {
	case req.Start != nil:
		reply.Pid, out, err = s.startOrReplace(req.Start, fds)
	case req.Prepare != nil:
		err = s.stocks.prepare(req.Prepare.Spec, req.Prepare.Count)
	case req.Open != nil:
		out, err = s.openDir(req.Open.Dir)
	case req.Exec != nil && s.instance(req.Env) != nil:
		reply.Exit, err = s.exec(gone, s.instance(req.Env), req.Exec, fds)
	default:
		reply, out, err = s.handleRunning(req, fds)
	}
	reply.Err = link.FromError(err)
	return reply, out
}

// handleRunning does requests that need a running environment.
func (s *server) handleRunning(req *link.Request, fds []int) (*link.Reply, []int, error) {
	reply := &link.Reply{}
	i := s.instance(req.Env)
	if i == nil {
		return reply, nil, executor.ErrStopped
	}
	var err error
	var out []int
	switch {
	case req.Signal != nil:
		err = i.signal(req.Signal.Signal)
	case req.Usage:
		reply.Usage = i.usage()
	case req.Dial != nil:
		out, err = i.dial(req.Dial)
	case req.Reach != nil:
		out, err = i.reach(req.Reach)
	case req.Owns && len(fds) == 1:
		reply.Owns, err = i.owns(fds[0])
	case req.Mount != nil && req.Mount.Volume != "":
		err = i.mountVolume(req.Mount)
	case req.Lock && len(fds) == 1:
		err = lockSocket(fds[0])
	case req.Mount != nil && len(fds) == 1:
		err = i.mount(req.Mount, fds[0])
	case req.Unmount != nil:
		err = i.unmount(req.Unmount.Target)
	default:
		err = errors.New("a request that is empty, or without its descriptor")
	}
	return reply, out, err
}

func (s *server) instance(env uint64) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[env]
}

// begin lets the watcher of an environment report: its start has been.
func (s *server) begin(env uint64) {
	if i := s.instance(env); i != nil {
		close(i.reported)
	}
}

// close ends everything there is.
func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	var all []*instance
	for _, i := range s.instances {
		all = append(all, i)
	}
	s.mu.Unlock()
	for _, i := range all {
		i.kill(executor.Exit{Cause: executor.CausePolicy, Detail: "the executor was closed"})
	}
	s.stocks.stop()
	s.work.Wait()
	for _, i := range all {
		<-i.done
	}
	s.stocks.close()
	s.zygotes.close()
	s.blanks.close()
	s.blanks.nests.close()
	s.blanks.networks.close()
	if s.cgroups != nil {
		s.cgroups.Remove()
	}
}

// missing tells whether a controller is not there.
func missing(p cgroup.Parent, controller string) bool {
	for _, c := range p.Missing() {
		if c == controller {
			return true
		}
	}
	return false
}
