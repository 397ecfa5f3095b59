package spawner

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// zygote is an interpreter that waits to be forked. It is the program of an
// environment like any other, but for its user namespace: there it has every
// capability and the ids of all environments, of which its forks take two. Outside it has none. It gets
// nothing from anybody but us, and of an instance nothing: what is to run goes to the fork, past it.
//
// Its forks become programs of environments that are nested in its own: their inits are born
// in its user and pid namespaces, and end with it.
type zygote struct {
	server *server
	key    string
	blank  *blank // its environment
	forks  *blanks

	guestMu sync.Mutex
	guest   *linux.Cradle // guarded by guestMu: in its user namespace, and nobody there; nil until made

	living  atomic.Int64 // forks that there are
	allowMu sync.Mutex
	allowed int64 // guarded by allowMu: forks that its group has memory for

	mu   sync.Mutex // held while it is asked
	link *os.File
	gone bool // guarded by mu

	uses    int           // guarded by zygotes.mu: starts and environments that have one of its forks
	retired bool          // guarded by zygotes.mu: there is another one in its place
	ready   chan struct{} // closed when it waits, or err says why not
	err     error         // fixed before ready is closed
}

//go:embed zygote.py
var zygoteText string

const (
	defaultForks = 2
	forkTimeout  = 10 * time.Second
	loadTimeout  = startTimeout

	// What a zygote may use; its forks count for their environments. But what it writes to while one
	// lives it has a copy of from then on, and both copies count as its own.
	zygoteMemory = 256 << 20
	forkMemory   = 2 << 20
	zygotePids   = 256

	allowAtOnce = 64 // so many forks more
)

// start makes the environment of t and waits until its modules are loaded.
func (t *zygote) start(spec *link.Start, fixed []placed) (err error) {
	s := t.server
	env := &link.Start{
		Name:    "zygote",
		Command: link.Command{Args: slices.Concat(spec.Fork.Interpreter, []string{"-c", zygoteText, numbers()}, spec.Fork.Modules), Env: spec.Fork.Env},
	}
	tree, err := s.layouts.tree(env, fixed)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	slot, err := s.ids.take()
	if err != nil {
		return err
	}
	if t.blank, err = s.blanks.makeIn(slot, s.ids.all(slot)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.end()
		}
	}()
	if g := t.blank.group(); g != nil {
		if err := t.limit(g, 0); err != nil {
			return err
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a zygote's socket: %w", err)
	}
	defer func() {
		if pair[1] >= 0 {
			unix.Close(pair[1])
		}
	}()
	unix.SetNonblock(pair[0], true)
	t.link = os.NewFile(uintptr(pair[0]), "zygote")
	const null = 0 // as which we were given it
	list := &setting{fds: []int{null, null, null, pair[1]}}
	keep := len(list.fds)
	sc := t.blank.script
	if err := s.scripts.zygote(sc, &env.Command, list.add(tree), keep); err != nil {
		return err
	}
	if err := sc.Go(t.blank.ctl, list.fds); err != nil {
		return err
	}
	t.blank.ctl.SetReadDeadline(time.Now().Add(startTimeout))
	_, program, err := sc.ReadReport(t.blank.ctl)
	var step *linux.StepError
	if errors.As(err, &step) && step.Execute {
		return &executor.StartError{Path: spec.Fork.Interpreter[0], Err: step.Errno}
	}
	if err != nil {
		return fmt.Errorf("start the zygote of %q: %w", spec.Fork.Interpreter, err)
	}
	unix.Close(program)
	unix.Close(pair[1]) // so that its end is seen
	pair[1] = -1
	answer := make([]byte, 4096)
	t.link.SetDeadline(time.Now().Add(loadTimeout))
	size, err := t.link.Read(answer)
	if err == nil && string(answer[:size]) != "ready" {
		err = errors.New(string(answer[:size]))
	}
	if err != nil {
		return fmt.Errorf("zygote of %q: load the modules %q: %w", spec.Fork.Interpreter, spec.Fork.Modules, err)
	}
	ahead := spec.Fork.Spares
	if ahead == 0 {
		ahead = defaultForks
	}
	networks, err := newNetworks(s.visitor, 1, t.network)
	if err != nil {
		return err
	}
	all := s.blanks.nests
	t.forks = &blanks{
		ids: s.ids, scripts: s.scripts, zygote: t, networks: networks,
		nests: &nests{origin: t.origin, room: all.room, parent: all.parent, made: all.made, keep: ahead},
		ahead: ahead, wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	go t.forks.keep()
	t.forks.refill()
	return nil
}

// limit bounds what the zygote itself uses, with so many forks.
func (t *zygote) limit(g cgroup.Group, forks int64) error {
	return g.Limit(groupLimits(&executor.Limits{MemoryBytes: zygoteMemory + forks*forkMemory, Pids: zygotePids}, t.blank.nest.ours()))
}

// allow sees to it that there may be one fork more.
func (t *zygote) allow() error {
	g := t.blank.group()
	t.allowMu.Lock()
	defer t.allowMu.Unlock()
	if g == nil || t.living.Load() < t.allowed {
		return nil
	}
	if err := t.limit(g, t.allowed+allowAtOnce); err != nil {
		return err
	}
	t.allowed += allowAtOnce
	t.server.besides.forks.Add(allowAtOnce)
	return t.server.limitAll()
}

// origin makes the cradle that those of the zygote's inits come from. clone(2) wants whoever makes
// a pid namespace to be in the one that encloses it, which setns(2) takes only children to.
func (t *zygote) origin() (*linux.Cradle, error) {
	guest, err := t.sendGuest()
	if err != nil {
		return nil, err
	}
	return guest.Another()
}

// sendGuest returns the cradle that is in the zygote's user namespace and that nobody there can reach.
func (t *zygote) sendGuest() (*linux.Cradle, error) {
	t.guestMu.Lock()
	defer t.guestMu.Unlock()
	if t.guest != nil && !t.guest.Gone() {
		return t.guest, nil
	}
	root, err := t.server.blanks.nests.root()
	if err != nil {
		return nil, err
	}
	if t.guest != nil {
		t.guest.Close()
	}
	t.guest, err = root.Inside(t.blank.child.PidFD)
	return t.guest, err
}

// mapIDs gives the blank k its ids. The zygote could do so only if it could look at the init, and write to
// the memory that we share with that.
func (t *zygote) mapIDs(k *blank) error {
	guest, err := t.sendGuest()
	if err != nil {
		return err
	}
	return guest.Map(k.child.Pid, t.server.ids.inner(k.slot))
}

// kill kills everybody in it.
func (t *zygote) kill() { unix.PidfdSendSignal(t.blank.child.PidFD, unix.SIGKILL, nil, 0) }

// end ends the zygote and the forks that wait.
func (t *zygote) end() {
	if t.blank != nil { // first, so that nobody in it waits for it
		t.kill()
	}
	if t.forks != nil {
		t.forks.close()
		t.forks.networks.close()
		t.forks.nests.close()
	}
	t.guestMu.Lock()
	if t.guest != nil {
		t.guest.Close()
		t.guest = nil
	}
	t.guestMu.Unlock()
	if t.link != nil {
		t.link.Close()
	}
	if t.blank != nil {
		t.server.blanks.drop(t.blank)
		t.blank = nil
	}
	t.server.besides.forks.Add(-t.allowed)
	t.allowed = 0
}

// numbers are those that zygote.py needs of this machine.
func numbers() string {
	var all []string
	for _, n := range []struct {
		name  string
		value int
	}{
		{"setns", unix.SYS_SETNS}, {"close_range", unix.SYS_CLOSE_RANGE}, {"unshare", unix.SYS_UNSHARE}, {"rseq", unix.SYS_RSEQ},
		{"NEWPID", unix.CLONE_NEWPID}, {"NEWNET", unix.CLONE_NEWNET},
	} {
		all = append(all, n.name+"="+strconv.Itoa(n.value))
	}
	return strings.Join(all, ",")
}

// zygote writes the script of a zygote's environment. Where other programs give up
// their capabilities, this one stays what it is: root of its own user namespace.
func (w *scripts) zygote(s *linux.Script, c *link.Command, tree uintptr, keep int) error {
	const root = 0
	w.become(s, root)
	setup := &s.Setup
	setup.Add("make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	setup.Add("set the host name", unix.SYS_SETHOSTNAME, s.String("zygote"), 8)
	w.enter(s, tree)
	w.leave(s)

	g := &s.Program
	g.Add("begin a session", unix.SYS_SETSID)
	g.Add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	g.Add("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(keep), uintptr(^uint32(0)), 0)
	if err := w.execute(s, c); err != nil {
		return err
	}
	w.seal(s)
	return nil
}

// network makes a network that belongs to the zygote's user namespace, as all do that its
// forks can enter.
func (t *zygote) network() (int, error) {
	fds, err := t.ask()
	if err != nil {
		return -1, err
	}
	accounted := t.server.scripts.memoryGroup
	if err := t.server.visitor.network(fds[0], func() error { return readyNetwork(accounted) }); err != nil {
		unix.Close(fds[0])
		return -1, err
	}
	return fds[0], nil
}

// ask asks the zygote for a network, or for a fork if it is given descriptors.
func (t *zygote) ask(fds ...int) (got []int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil, errZygoteGone
	}
	wanted := 0
	if len(fds) == 0 {
		wanted = 1
	}
	var answer [4]byte
	t.link.SetDeadline(time.Now().Add(forkTimeout))
	if err = linux.SendFDs(t.link, []byte{0}, fds); err == nil {
		got, err = linux.RecvFDs(t.link, answer[:])
	}
	errno := unix.Errno(binary.NativeEndian.Uint32(answer[:]))
	switch {
	case err != nil:
		t.gone = true
		return nil, fmt.Errorf("%w: %v", errZygoteGone, err)
	case errno != 0:
		linux.CloseFDs(got)
		return nil, fmt.Errorf("ask the zygote: %w", errno)
	case len(got) != wanted:
		linux.CloseFDs(got)
		return nil, fmt.Errorf("ask the zygote: %d descriptors, and not %d", len(got), wanted)
	}
	return got, nil
}
