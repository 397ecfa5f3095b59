package spawner

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor/namespace/cgroup"
	"cofferdam/internal/linux"
)

// nest is where inits are born: a cgroup, and a cradle that makes processes in it.
//
// In version 1 of cgroups the cradle itself is in the group, for good: what it makes is in it
// without being attached, which is the dear part there. Such a nest is used again, for one
// environment after the other, if the group has nothing left of the last one. In version
// 2 a process can be born in any group, so that one cradle does for all.
type nest struct {
	group  cgroup.Group // nil on a host without
	cradle *linux.Cradle
	own    bool // the cradle is in the group, and nobody else's
}

// ours is how many processes in the group of an environment are not its program's: the init,
// and the cradle if that is in it.
func (n *nest) ours() int {
	if n.own {
		return 2
	}
	return 1
}

// nests makes them, and keeps those that can be used again for a while.
type nests struct {
	origin func() (*linux.Cradle, error) // makes the one that all come from
	room   *linux.Room
	parent cgroup.Parent  // nil on a host without
	made   *atomic.Uint64 // names groups
	keep   int            // how many are kept for others

	mu    sync.Mutex
	first *linux.Cradle // guarded by mu: in no group; nil until made
	free  []*nest       // guarded by mu
	trim  *time.Timer   // guarded by mu
}

// nestIdle is after how long without an end of an environment nests are given up.
const nestIdle = 500 * time.Millisecond

// root is the cradle in no group.
func (n *nests) root() (*linux.Cradle, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.first != nil && !n.first.Gone() {
		return n.first, nil
	}
	if n.first != nil {
		n.first.Close() // the host's OOM killer, perhaps
	}
	var err error
	n.first, err = n.origin()
	return n.first, err
}

// take returns a nest that nobody else is in.
func (n *nests) take() (*nest, error) {
	n.mu.Lock()
	for len(n.free) > 0 {
		last := len(n.free) - 1
		k := n.free[last]
		n.free = n.free[:last]
		if !k.cradle.Gone() {
			n.mu.Unlock()
			return k, nil
		}
		n.mu.Unlock()
		k.remove()
		n.mu.Lock()
	}
	n.mu.Unlock()
	return n.make()
}

// bare makes one without a cradle of its own.
func (n *nests) bare() (*nest, error) {
	root, err := n.root()
	if err != nil {
		return nil, err
	}
	k := &nest{cradle: root}
	if n.parent == nil {
		return k, nil
	}
	k.group, err = n.parent.Make(strconv.FormatUint(n.made.Add(1), 10))
	return k, err
}

// make makes one with a cradle of its own, where that is needed.
func (n *nests) make() (*nest, error) {
	k, err := n.bare()
	if err != nil || k.group == nil || k.group.FD() >= 0 {
		return k, err
	}
	own, err := k.cradle.Another()
	if err == nil {
		k.cradle, k.own = own, true
		err = k.group.Attach(own.Pid())
	}
	if err != nil {
		k.remove()
		return nil, err
	}
	return k, nil
}

// clone makes a child in the nest.
func (n *nests) clone(k *nest, s *linux.Script, flags uint64, net int) (linux.Child, error) {
	fd := -1
	if k.group != nil {
		fd = k.group.FD()
	}
	if k.cradle != nil && (k.own || fd >= 0 || k.group == nil) {
		child, err := k.cradle.Clone(s, flags, net, fd)
		if !errors.Is(err, linux.ErrChildGone) {
			return child, err
		}
	}
	// There is none, or it was killed, which the kernel can do for want of memory, or is in no group.
	time.AfterFunc(strayDelay, reapStrays)
	root, err := n.root()
	if err != nil {
		return linux.Child{PidFD: -1}, err
	}
	child, err := root.Clone(s, flags, net, fd)
	if err != nil || fd >= 0 || k.group == nil {
		return child, err
	}
	if err := k.group.Attach(child.Pid); err != nil {
		end(child, nil)
		return child, fmt.Errorf("attach to a cgroup: %w", err)
	}
	return child, nil
}

// give takes a nest back whose environment has ended: for another one, if nothing is
// left of this one.
func (n *nests) give(k *nest) {
	if k.own && !k.cradle.Gone() && n.wanted() && k.group.Renew(1) {
		n.mu.Lock()
		if len(n.free) < n.keep {
			n.free = append(n.free, k)
			n.later()
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
	}
	k.remove()
}

// wanted tells whether one more would be kept.
func (n *nests) wanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.free) < n.keep
}

// later has those that nobody takes removed. The caller holds mu.
func (n *nests) later() {
	if n.trim == nil {
		n.trim = time.AfterFunc(nestIdle, n.clear)
	} else {
		n.trim.Reset(nestIdle)
	}
}

// clear removes those that are kept.
func (n *nests) clear() {
	n.mu.Lock()
	free := n.free
	n.free = nil
	n.mu.Unlock()
	for _, k := range free {
		k.remove()
	}
}

// remove ends it. Nothing lives in it any more but the cradle.
func (k *nest) remove() {
	if k.own {
		k.cradle.Close()
	}
	if k.group != nil {
		k.group.Remove()
	}
}

// close gives up all of them, for good.
func (n *nests) close() {
	n.mu.Lock()
	n.keep = 0
	if n.trim != nil {
		n.trim.Stop()
	}
	n.mu.Unlock()
	n.clear()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.first != nil {
		n.first.Close()
		n.first = nil
	}
}
