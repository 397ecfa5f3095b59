package spawner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

const (
	maxZygotes  = 16
	zygoteTries = 3 // to have a fork of one that lives
)

// zygotes are those that there are.
type zygotes struct {
	server *server

	mu     sync.Mutex
	all    map[string]*zygote // guarded by mu
	order  []*zygote          // guarded by mu: least recently used first
	count  int                // guarded by mu: those that live, retired ones too
	closed bool               // guarded by mu
}

// take returns a blank for spec, of those that the spawner makes or a zygote's, and where
// it goes back to. A zygote that turns out to be dead is replaced, while the caller waits.
func (s *server) take(spec *link.Start, mounts []placed) (b *blank, held []string, from *blanks, err error) {
	if spec.Fork == nil {
		b, held, err = s.holds.take(s.blanks, mounts)
		return b, held, s.blanks, err
	}
	for range zygoteTries {
		var t *zygote
		if t, err = s.zygotes.of(spec, mounts); err != nil {
			return nil, nil, nil, err
		}
		if b, held, err = s.holds.take(t.forks, mounts); err == nil {
			b.uses = t
			return b, held, t.forks, nil
		}
		s.zygotes.leave(t)
		if !errors.Is(err, errZygoteGone) {
			break
		}
		s.zygotes.retire(t)
	}
	return nil, nil, nil, err
}

// startOrReplace is start, once more if a fork has died with its zygote on the way.
func (s *server) startOrReplace(spec *link.Start, fds []int) (pid int, listeners []int, err error) {
	for range zygoteTries {
		pid, listeners, err = s.start(spec, fds)
		if spec.Fork == nil || !errors.Is(err, linux.ErrChildGone) {
			break
		}
		linux.CloseFDs(listeners)
	}
	return pid, listeners, err
}

// errZygoteGone says that a zygote has ended or does not answer.
var errZygoteGone = errors.New("the zygote does not answer")

// of returns the zygote of spec, once it waits, and counts one use more.
func (ts *zygotes) of(spec *link.Start, mounts []placed) (*zygote, error) {
	key, fixed, err := ts.server.shape(spec, mounts)
	if err != nil {
		return nil, err
	}
	ts.mu.Lock()
	if ts.closed {
		ts.mu.Unlock()
		return nil, executor.ErrStopped
	}
	t := ts.all[key]
	fresh := t == nil
	var old *zygote
	if fresh {
		if len(ts.order) == maxZygotes {
			old = ts.order[0]
		}
		t = &zygote{server: ts.server, key: key, ready: make(chan struct{})}
		ts.all[key] = t
		ts.count++
	} else {
		ts.order = slices.DeleteFunc(ts.order, func(o *zygote) bool { return o == t })
	}
	ts.order = append(ts.order, t)
	t.uses++
	count := ts.count
	ts.mu.Unlock()
	if old != nil {
		ts.retire(old)
	}
	if fresh {
		ts.budget(count)
		t.err = t.start(spec, fixed)
		close(t.ready)
	}
	<-t.ready
	if t.err != nil {
		ts.leave(t)
		ts.retire(t)
		return nil, t.err
	}
	return t, nil
}

// prepare has the zygote of spec wait, and its forks with it; zero retires it.
func (ts *zygotes) prepare(spec *link.Start, n int) error {
	s := ts.server
	if err := s.checkDegraded(spec.AllowDegraded); err != nil {
		return err
	}
	mounts, err := s.place(spec.Mounts, &spec.Limits, true)
	if err != nil {
		return err
	}
	defer s.closePlaced(mounts)
	if n > 0 {
		t, err := ts.of(spec, mounts)
		if err == nil {
			ts.leave(t)
		}
		return err
	}
	key, _, err := s.shape(spec, mounts)
	if err != nil {
		return err
	}
	ts.mu.Lock()
	t := ts.all[key]
	ts.mu.Unlock()
	if t != nil {
		ts.retire(t)
	}
	return nil
}

// retire has nobody more use t, which ends with the last who does.
func (ts *zygotes) retire(t *zygote) {
	ts.mu.Lock()
	if t.retired { // by somebody else who has found it dead
		ts.mu.Unlock()
		return
	}
	t.uses++ // ours
	if ts.all[t.key] == t {
		delete(ts.all, t.key)
	}
	ts.order = slices.DeleteFunc(ts.order, func(o *zygote) bool { return o == t })
	t.retired = true
	ts.mu.Unlock()
	ts.leave(t)
}

// leave counts one use less.
func (ts *zygotes) leave(t *zygote) {
	ts.mu.Lock()
	t.uses--
	over := t.retired && t.uses == 0
	if over {
		ts.count--
	}
	count := ts.count
	ts.mu.Unlock()
	if over {
		<-t.ready
		t.end()
		ts.budget(count)
	}
}

// close ends them all. Nobody uses one any more.
func (ts *zygotes) close() {
	ts.mu.Lock()
	ts.closed = true
	all := slices.Clone(ts.order)
	ts.mu.Unlock()
	for _, t := range all {
		ts.retire(t)
	}
}

// budget lets all environments together use what n zygotes do, beyond the budget.
func (ts *zygotes) budget(n int) {
	ts.server.besides.zygotes.Store(int64(n))
	ts.server.limitAll() // should it fail, less than that holds
}

// shape is what tells zygotes apart: all that one knows, and which files those
// are that it may have read. fixed are the mounts that every instance has.
func (s *server) shape(spec *link.Start, mounts []placed) (key string, fixed []placed, err error) {
	f := spec.Fork
	key, fixed, err = s.sight(f.Interpreter[0], mounts)
	return fmt.Sprintf("%q %q %q %d\n%s", f.Interpreter, f.Modules, f.Env, f.Spares, key), fixed, err
}

// sight is which files those are that an interpreter may have read by now, of mounts that every instance has,
// which are fixed.
func (s *server) sight(interpreter string, mounts []placed) (text string, fixed []placed, err error) {
	var b strings.Builder
	stat := func(fd int, name string) error {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_EMPTY_PATH)
		fmt.Fprintf(&b, " %d.%d %d.%09d %d.%09d %d\n", st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Size)
		return err
	}
	for _, m := range mounts {
		switch {
		case m.Kind == executor.MountRuntime:
			b.WriteString("runtime")
			stat(s.hostFD, strings.TrimPrefix(interpreter, "/")) // an upgrade
			b.WriteString("\n")
		case m.Kind == executor.MountBind && !m.own:
			fmt.Fprintf(&b, "%q %q", m.Source, m.Target)
			if err := stat(m.source, ""); err != nil {
				return "", nil, fmt.Errorf("source %q: %w", m.Source, err)
			}
		case m.Kind == executor.MountSymlink && !m.own:
			fmt.Fprintf(&b, "%q -> %q\n", m.Target, m.Source)
		default:
			continue
		}
		fixed = append(fixed, m)
	}
	return b.String(), fixed, nil
}
