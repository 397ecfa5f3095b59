package spawner

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor/namespace/cgroup"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// blank is an init that waits for instructions. It belongs to whoever took it.
type blank struct {
	slot   uint32
	script *linux.Script
	child  linux.Child
	ctl    *os.File
	group  cgroup.Group // nil on a host without
	net    int
	uses   *template // that counts it as a use, nil for none
	pidns  string    // identity of its pid namespace, as in /proc/PID/ns/pid
}

const blankNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// blanks makes them, a few ahead.
type blanks struct {
	ids      *ids
	networks *networks
	cloner   *cloner
	parent   cgroup.Parent // nil on a host without
	template *template     // what makes them, nil for the cloner

	made    atomic.Uint64 // names cgroups
	ahead   int
	wake    chan struct{}
	stopped chan struct{} // closed when keep has returned

	mu    sync.Mutex
	ready []*blank // guarded by mu
	shut  bool     // guarded by mu: no more are made
}

// refillDelay is how long after a start the next blank is made: a short program
// has ended by then, and does not share the processor with us. When none is left
// nobody waits.
const refillDelay = 3 * time.Millisecond

// keep keeps b.ahead blanks ready until close.
func (b *blanks) keep() {
	defer close(b.stopped)
	for range b.wake {
		if b.waiting() > 0 {
			time.Sleep(refillDelay)
		}
		for {
			if b.waiting() >= b.ahead {
				break
			}
			fresh, err := b.make()
			if err != nil {
				break // take makes one itself then, and reports the error
			}
			b.mu.Lock()
			b.ready = append(b.ready, fresh)
			b.mu.Unlock()
		}
	}
}

// waiting is how many are ready.
func (b *blanks) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ready)
}

// refill has more made.
func (b *blanks) refill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns a blank, ready or made now.
func (b *blanks) take() (*blank, error) {
	b.mu.Lock()
	for len(b.ready) > 0 {
		k := b.ready[0]
		b.ready = b.ready[1:]
		b.mu.Unlock()
		if !readable(k.child.PidFD) {
			return k, nil
		}
		b.drop(k) // killed while it waited, by the host's OOM killer perhaps
		b.mu.Lock()
	}
	b.mu.Unlock()
	return b.make()
}

// make makes a blank with ids of its own.
func (b *blanks) make() (*blank, error) {
	slot, err := b.ids.take()
	if err != nil {
		return nil, err
	}
	return b.makeIn(slot, b.ids.pair(slot))
}

// twin makes a blank with the ids of another environment, which is living.
func (b *blanks) twin(slot uint32) (*blank, error) {
	b.ids.share(slot)
	return b.makeIn(slot, b.ids.pair(slot))
}

// makeIn makes a blank in slot, which it has then, with ids mapped.
func (b *blanks) makeIn(slot uint32, mapped string) (_ *blank, err error) {
	if b.template != nil {
		return b.template.makeIn(slot)
	}
	k := &blank{slot: slot, net: -1, child: linux.Child{PidFD: -1}}
	defer func() {
		if err != nil {
			k.discard()
			b.ids.give(k.slot)
		}
	}()
	if k.net, err = b.networks.take(); err != nil {
		return nil, err
	}
	if b.parent != nil {
		if k.group, err = b.parent.Make(strconv.FormatUint(b.made.Add(1), 10)); err != nil {
			return nil, err
		}
	}
	if k.script, err = linux.NewScript(); err != nil {
		return nil, err
	}
	b.cloner.do(func() {
		if err = unix.Setns(k.net, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter a network namespace: %w", err)
			return
		}
		k.child, err = k.script.Clone(blankNamespaces, groupFD(k.group))
	})
	if err != nil {
		k.child.PidFD = -1
		return nil, err
	}
	k.ctl = k.script.Control()
	if err = b.ids.write(k.child.Pid, mapped); err != nil {
		return nil, err
	}
	if k.pidns, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", k.child.Pid)); err != nil {
		return nil, fmt.Errorf("look at the pid namespace of an environment: %w", err)
	}
	if k.group != nil && k.group.FD() < 0 {
		if err = k.group.Attach(k.child.Pid); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func groupFD(g cgroup.Group) int {
	if g == nil {
		return -1
	}
	return g.FD()
}

// discard ends what there is of a blank, and waits for the end.
func (k *blank) discard() {
	if k.child.PidFD >= 0 {
		unix.PidfdSendSignal(k.child.PidFD, unix.SIGKILL, nil, 0)
		reap(k.child.PidFD)
		unix.Close(k.child.PidFD)
		k.child.PidFD = -1
	}
	if k.ctl != nil {
		k.ctl.Close()
	}
	if k.script != nil {
		k.script.Close()
	}
	if k.net >= 0 {
		unix.Close(k.net)
		k.net = -1
	}
	if k.group != nil {
		k.group.Remove()
		k.group = nil
	}
}

// reap waits until the child is dead and, if it was an init, its whole pid
// namespace is empty.
func reap(pidfd int) {
	// It may be a template's child, which only shows that it is dead.
	for fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}; ; {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			break
		}
	}
	for unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WALL, nil) == unix.EINTR {
		time.Sleep(0)
	}
}

// readable tells whether a pidfd refers to a dead process.
func readable(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// drop discards a blank that was complete.
func (b *blanks) drop(k *blank) {
	k.discard()
	b.ids.give(k.slot)
	if k.uses != nil {
		k.uses.server.templates.leave(k.uses)
	}
}

// close ends the blanks that nobody took. No more are made.
func (b *blanks) close() {
	b.mu.Lock()
	b.shut = true
	close(b.wake)
	b.mu.Unlock()
	<-b.stopped
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.ready {
		b.drop(k)
	}
	b.ready = nil
}
