package spawner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
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
	nest   *nest
	net    int
	fork   *forked // what is to be its program, nil for what it will execute
	uses   *zygote // that counts it as a use, nil for none
	pidns  string  // identity of its pid namespace, as in /proc/PID/ns/pid
}

// group is the cgroup of the environment, nil on a host without.
func (k *blank) group() cgroup.Group {
	if k.nest == nil {
		return nil
	}
	return k.nest.group
}

const blankNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// blanks makes them, a few ahead.
type blanks struct {
	ids      *ids
	networks *networks
	nests    *nests
	scripts  *scripts
	zygote   *zygote // what forks their programs, nil for none

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
	return b.makeFor(slot)
}

// twin makes a blank with the ids of another environment, which is living.
func (b *blanks) twin(slot uint32) (*blank, error) {
	b.ids.share(slot)
	return b.makeFor(slot)
}

// makeFor makes a blank for an environment in slot, which it has then.
func (b *blanks) makeFor(slot uint32) (*blank, error) {
	k, err := b.makeIn(slot, b.ids.pair(slot))
	if b.zygote != nil && (errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ESRCH) || errors.Is(err, linux.ErrChildGone)) {
		err = fmt.Errorf("%w: %v", errZygoteGone, err) // clone(2): nobody is born where the init is dying
	}
	if err != nil {
		return nil, err
	}
	b.scripts.begin(k.script)
	if err := k.script.Prepare(k.ctl, nil); err != nil {
		b.drop(k)
		return nil, err
	}
	return k, nil
}

// makeIn makes a blank in slot, which it has then, with ids mapped: those of slot, if there is a zygote.
func (b *blanks) makeIn(slot uint32, mapped string) (_ *blank, err error) {
	k := &blank{slot: slot, net: -1, child: linux.Child{PidFD: -1}}
	defer func() {
		if err != nil {
			b.drop(k)
		}
	}()
	if k.net, err = b.networks.take(); err != nil {
		return nil, err
	}
	if k.nest, err = b.nests.take(); err != nil {
		return nil, err
	}
	if k.script, err = b.nests.room.NewScript(); err != nil {
		return nil, err
	}
	if k.child, err = b.nests.clone(k.nest, k.script, blankNamespaces, k.net); err != nil {
		k.child.PidFD = -1
		return nil, err
	}
	k.ctl = k.script.Control()
	if b.zygote != nil {
		if err = b.zygote.mapIDs(k); err == nil {
			err = b.zygote.fork(k)
		}
	} else {
		err = b.ids.write(k.child.Pid, mapped)
	}
	if err != nil {
		return nil, err
	}
	if k.pidns, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", k.child.Pid)); err != nil {
		return nil, fmt.Errorf("look at the pid namespace of an environment: %w", err)
	}
	return k, nil
}

// end kills a child and waits for its end. t is as for reap.
func end(c linux.Child, t *zygote) {
	unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0)
	reap(c.PidFD, t)
	unix.Close(c.PidFD)
}

// discard ends what there is of a blank, and waits for the end.
func (b *blanks) discard(k *blank) {
	if k.child.PidFD >= 0 {
		end(k.child, b.zygote)
		k.child.PidFD = -1
	}
	if k.ctl != nil {
		k.ctl.Close()
	}
	if k.fork != nil {
		k.fork.close()
	}
	if k.script != nil {
		k.script.Close()
	}
	if k.net >= 0 {
		b.networks.give(k.net)
		k.net = -1
	}
	if k.nest != nil {
		b.nests.give(k.nest)
		k.nest = nil
	}
}

// reap waits until the child is dead and, if it was an init, its whole pid
// namespace is empty. Somebody whom a module has left in its zygote t, nil for none, can hold that
// up for ever, by tracing what is in there: then t ends.
func reap(pidfd int, t *zygote) {
	for began := time.Now(); !dies(pidfd, strayDelay); {
		reapStrays()
		if t != nil && time.Since(began) > forkTimeout {
			t.kill()
			t = nil
		}
	}
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WALL, nil)
		if err == unix.EAGAIN {
			time.Sleep(time.Millisecond) // dead, and not for us to take yet: dies has made waiting for it non-blocking (pidfd_open(2))
		} else if err != unix.EINTR {
			return
		}
	}
}

// dies tells whether the process is dead, within some time. No thread waits for it meanwhile: it
// would keep others of ours from running until the runtime of Go notices.
func dies(pidfd int, within time.Duration) bool {
	if readable(pidfd) {
		return true
	}
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true) // or the runtime would not poll it
	}
	if err == nil {
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		err = f.SetReadDeadline(time.Now().Add(within))
		var raw syscall.RawConn
		if err == nil {
			raw, err = f.SyscallConn()
		}
		if err == nil {
			return raw.Read(func(uintptr) bool { return readable(pidfd) }) == nil
		}
	}
	// There is no descriptor to be had, or the kernel polls no more for us (epoll(7), max_user_watches).
	time.Sleep(within / 20)
	return readable(pidfd)
}

// strayDelay is after how long there may be somebody that nobody waits for.
const strayDelay = 20 * time.Millisecond

// reapStrays waits for children of ours that are dead and that nobody knows: what a cradle made
// that was killed before it could say so. In the pid namespace of a zygote, whose end waits until
// all in it are reaped, it would be the end of nobody. Those that somebody knows are as dead afterwards.
func reapStrays() {
	self := os.Getpid()
	for _, pid := range children(self) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.HasPrefix(string(b), fmt.Sprintf("%d (%s) Z ", pid, linux.CradleName)) {
			unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		}
	}
}

// readable tells whether a pidfd refers to a dead process.
func readable(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// drop discards a blank with its ids.
func (b *blanks) drop(k *blank) {
	b.discard(k)
	b.ids.give(k.slot)
	if k.uses != nil {
		k.uses.server.zygotes.leave(k.uses)
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
