package spawner

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strconv"
	"strings"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

// openDir opens a directory of the host for the trusted process. It walks on
// from there itself, with its own rights: no path of a program comes here.
func (s *server) openDir(dir string) ([]int, error) {
	fd, err := s.openSource(dir)
	if err != nil {
		return nil, err
	}
	if err := isDir(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %q: %w", dir, err)
	}
	return []int{fd}, nil
}

func isDir(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// mount shows the directory dir in a running environment. What is cloned is what
// the descriptor refers to: whatever happens to its path meanwhile, there is no
// second walk.
func (i *instance) mount(m *link.Mount, dir int) error {
	points, name, err := i.pointOf(m.Target)
	if err != nil {
		return err
	}
	if err := isDir(dir); err != nil {
		return fmt.Errorf("mount on %q: %w", m.Target, err)
	}
	attrs := uint64(attrReadOnly)
	if m.Writable {
		attrs = attrGuest
		if err := i.server.checkQuota(&executor.Mount{Target: m.Target, SizeBytes: m.SizeBytes}, i.spec); err != nil {
			return err
		}
	}
	tree, err := cloneTree(dir, attrs)
	if err != nil {
		return fmt.Errorf("mount on %q: %w", m.Target, err)
	}
	defer unix.Close(tree)
	if err = i.put(tree, points, name); err != nil || !m.Writable {
		return err
	}
	if err := i.watchVolume(dir, m.Target, m.SizeBytes, 0); err != nil {
		i.unmount(m.Target)
		return err
	}
	return nil
}

// mountVolume shows a volume in a running environment, as it would have been shown from the start:
// counted and held by it until it ends, at its size, and as its own.
func (i *instance) mountVolume(m *link.Mount) error {
	points, name, err := i.pointOf(m.Target)
	if err != nil {
		return err
	}
	s := i.server
	all, err := s.place([]executor.Mount{{
		Kind: executor.MountVolume, Source: m.Volume, Target: m.Target, Writable: m.Writable, SizeBytes: m.SizeBytes, Inodes: m.Inodes,
	}}, &i.spec.Limits, false)
	if err != nil {
		return err
	}
	defer s.closePlaced(all)
	if err := s.checkQuotas(all, i.spec); err != nil {
		return err
	}
	if err := i.keep(&all[0]); err != nil {
		return err
	}
	tree, err := i.ownTree(all, 0)
	if err != nil {
		return fmt.Errorf("mount on %q: %w", m.Target, err)
	}
	defer unix.Close(tree)
	return i.put(tree, points, name)
}

// keep makes a volume one of those that i uses until it ends.
func (i *instance) keep(m *placed) error {
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	if i.volumesShut {
		return executor.ErrStopped
	}
	if m.image != nil {
		i.images = append(i.images, i.server.storage.again(m.image))
		return nil
	}
	keys, err := i.server.holds.join([]placed{*m}, i.blank.slot)
	i.held = append(i.held, keys...)
	return err
}

// put attaches a detached tree to a new mount point in the environment.
func (i *instance) put(tree int, points, name string) error {
	target := path.Join(points, name)
	return i.visit(func() error {
		view, err := writableView(points)
		if err != nil {
			return err
		}
		defer unix.Close(view)
		if err := unix.Mkdirat(view, name, 0o555); err != nil {
			return fmt.Errorf("make mount point %q: %w", target, err)
		}
		if err := attach(tree, unix.AT_FDCWD, target); err != nil {
			unix.Unlinkat(view, name, unix.AT_REMOVEDIR)
			return err
		}
		return nil
	})
}

// unmount takes away what mount has put on target, and the mount point.
func (i *instance) unmount(target string) error {
	points, name, err := i.pointOf(target)
	if err != nil {
		return err
	}
	err = i.visit(func() error {
		view, err := writableView(points) // before we go there
		if err != nil {
			return err
		}
		defer unix.Close(view)
		parent, err := openBeneath(unix.AT_FDCWD, strings.TrimPrefix(points, "/"), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		defer unix.Close(parent)
		if err := unix.Fchdir(parent); err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		if err := unix.Unmount(name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %q: %w", target, err)
		}
		if err := unix.Unlinkat(view, name, unix.AT_REMOVEDIR); err != nil {
			return fmt.Errorf("remove mount point %q: %w", target, err)
		}
		return nil
	})
	if err == nil {
		i.forgetVolume(target)
	}
	return err
}

// pointOf parts a target into the MountPoints of the spec that it lies directly
// in, and its name there.
func (i *instance) pointOf(target string) (points, name string, err error) {
	if err := checkTarget(target); err != nil {
		return "", "", err
	}
	points, name = path.Split(target)
	points = path.Clean(points)
	for _, m := range i.spec.Mounts {
		if m.Kind == executor.MountPoints && m.Target == points {
			return points, name, nil
		}
	}
	return "", "", fmt.Errorf("mount on %q: the environment has no mount points in %q", target, points)
}

// writableView returns a detached clone of the mount at points, a directory of
// mount points, to which we can write. What programs see stays read-only.
func writableView(points string) (int, error) {
	at, err := openBeneath(unix.AT_FDCWD, strings.TrimPrefix(points, "/"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, fmt.Errorf("mount points %q: %w", points, err)
	}
	defer unix.Close(at)
	view, err := unix.OpenTree(at, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("clone mount points %q: %w", points, err)
	}
	if err := unix.MountSetattr(view, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(view)
		return -1, fmt.Errorf("write to mount points %q: %w", points, err)
	}
	return view, nil
}

// mountPoints returns a detached tmpfs for mount points, to which nobody can write.
func mountPoints() (int, error) {
	options := map[string]string{"mode": "555", "size": "64k", "nr_inodes": strconv.Itoa(executor.MaxShares + 1)}
	fs, err := tmpfs(options, 0)
	if err != nil {
		return -1, err
	}
	if err := seal(fs); err != nil {
		unix.Close(fs)
		return -1, err
	}
	return fs, nil
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
