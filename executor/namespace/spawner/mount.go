package spawner

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// mount shows m in a running environment. Only binds can appear there.
func (s *server) mount(i *instance, m executor.Mount) error {
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	if m.Kind != executor.MountBind {
		return fmt.Errorf("mount on %q: only binds can be mounted in a running environment", m.Target)
	}
	source, err := s.openSource(m.Source)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	attrs := uint64(attrReadOnly)
	if m.Writable {
		attrs = attrGuest
		if err := i.join(&placed{Mount: m, source: source}); err != nil {
			return err
		}
	}
	tree, err := cloneTree(source, attrs)
	if err != nil {
		return fmt.Errorf("mount %q: %w", m.Target, err)
	}
	defer unix.Close(tree)
	if err := i.visit(func() error { return attach(tree, unix.AT_FDCWD, m.Target) }); err != nil {
		return err
	}
	if m.Writable {
		return i.watchVolume(source, &m)
	}
	return nil
}

// join hands the host directory of m over to i for the rest of its life.
func (i *instance) join(m *placed) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.source, &st); err != nil {
		return err
	}
	m.key = fmt.Sprintf("%d.%d", st.Dev, st.Ino)
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	if i.volumesShut {
		return executor.ErrStopped
	}
	if err := i.server.holds.join(m, i.blank.slot); err != nil {
		return err
	}
	i.held = append(i.held, m.key)
	return nil
}

// unmount takes away what is mounted on target.
func (s *server) unmount(i *instance, target string) error {
	if err := checkTarget(target); err != nil {
		return err
	}
	return i.visit(func() error {
		parent, err := openBeneath(unix.AT_FDCWD, strings.TrimPrefix(path.Dir(target), "/"), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		defer unix.Close(parent)
		if err := unix.Fchdir(parent); err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		if err := unix.Unmount(path.Base(target), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		return nil
	})
}

// visit runs f on a thread in the mount namespace of i, at its root. The thread
// keeps the spawner's credentials and is not in the environment's pid
// namespace: nothing inside can see or touch it.
func (i *instance) visit(f func() error) error {
	init, err := i.dup(i.blank.child.PidFD)
	if err != nil {
		return err
	}
	defer unix.Close(init)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(init, unix.CLONE_NEWNS)
		}
		switch {
		case errors.Is(err, unix.ESRCH):
			err = executor.ErrStopped
		case err != nil:
			err = fmt.Errorf("enter the environment's mounts: %w", err)
		default:
			err = f()
		}
		done <- err
	}()
	return <-done
}
