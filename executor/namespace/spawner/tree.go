package spawner

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// Attributes of mounts: mount_setattr(2).
const (
	attrGuest    = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrReadOnly = attrGuest | unix.MOUNT_ATTR_RDONLY
)

// openBeneath opens name, a relative path, below dir without following any link.
func openBeneath(dir int, name string, flags uint64) (int, error) {
	if name == "" {
		name = "."
	}
	return unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// openSource opens what a mount shows, a path of the host.
func (s *server) openSource(source string) (int, error) {
	if !path.IsAbs(source) || path.Clean(source) != source {
		return -1, fmt.Errorf("source %q is not an absolute clean path", source)
	}
	if s.hello.Roots != nil && !slices.ContainsFunc(s.hello.Roots, func(root string) bool { return within(source, root) }) {
		return -1, fmt.Errorf("source %q lies below none of the directories that may be mounted", source)
	}
	fd, err := openBeneath(s.hostFD, source[1:], unix.O_PATH)
	if errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("source %q passes a symbolic link", source)
	}
	if err != nil {
		return -1, fmt.Errorf("source %q: %w", source, err)
	}
	return fd, nil
}

// within tells whether name is dir or lies below it.
func within(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}

// checkTarget refuses places inside that are not for the spec to fill. A mount
// over /proc is CVE-2019-19921.
func checkTarget(target string) error {
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return fmt.Errorf("target %q is not an absolute clean path below the root", target)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if within(target, dir) {
			return fmt.Errorf("target %q lies below %s, which is not for mounts", target, dir)
		}
	}
	return nil
}

// cloneTree returns a detached copy of the mounts at fd with the attributes
// attrs, cut off from mounts and unmounts elsewhere.
func cloneTree(fd int, attrs uint64) (int, error) {
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("clone a mount: %w", err)
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: attrs, Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		unix.Close(tree)
		return -1, fmt.Errorf("set the attributes of a mount: %w", err)
	}
	return tree, nil
}

// attach moves a detached tree onto target, a path below dir.
func attach(tree, dir int, target string) error {
	at, err := openBeneath(dir, strings.TrimPrefix(target, "/"), unix.O_PATH)
	if err != nil {
		return fmt.Errorf("mount point %q: %w", target, err)
	}
	defer unix.Close(at)
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %q: %w", target, err)
	}
	return nil
}

// tmpfs returns a detached, empty tmpfs.
func tmpfs(options map[string]string, attrs int) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open a tmpfs: %w", err)
	}
	defer unix.Close(fs)
	for k, v := range options {
		if err := unix.FsconfigSetString(fs, k, v); err != nil {
			return -1, fmt.Errorf("set %s=%s of a tmpfs: %w", k, v, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create a tmpfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount a tmpfs: %w", err)
	}
	return fd, nil
}

// makeDirs makes the directories of name, a relative path, below dir, and
// returns the last one opened. Links are not followed.
func makeDirs(dir int, name string) (int, error) {
	at, err := unix.Dup(dir)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(at)
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." {
			continue
		}
		next, err := openBeneath(at, part, unix.O_PATH|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, part, 0o755); err == nil {
				next, err = openBeneath(at, part, unix.O_PATH|unix.O_DIRECTORY)
			}
		}
		unix.Close(at)
		if err != nil {
			return -1, fmt.Errorf("make directory %q of %q: %w", part, name, err)
		}
		at = next
	}
	return at, nil
}

// makeFile makes the file name, a relative path, below dir, with its directories.
func makeFile(dir int, name string, content []byte, mode uint32) error {
	parent, err := makeDirs(dir, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	fd, err := unix.Openat(parent, path.Base(name), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return fmt.Errorf("make file %q: %w", name, err)
	}
	defer unix.Close(fd)
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil {
			return fmt.Errorf("write file %q: %w", name, err)
		}
		content = content[n:]
	}
	return unix.Fchmod(fd, mode)
}

// makePoint makes the mount point name for a directory or a file. What exists
// stays.
func makePoint(dir int, name string, isDir bool) error {
	if isDir {
		fd, err := makeDirs(dir, name)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	err := makeFile(dir, name, nil, 0o444)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// makeLink makes the symbolic link name to target.
func makeLink(dir int, name, target string) error {
	parent, err := makeDirs(dir, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if err := unix.Symlinkat(target, parent, path.Base(name)); err != nil {
		return fmt.Errorf("make link %q: %w", name, err)
	}
	return nil
}

// enclosing returns the last of mounts, before number n, that target lies below.
func enclosing(mounts []executor.Mount, n int) int {
	for i := n - 1; i >= 0; i-- {
		if mounts[i].Kind != executor.MountRuntime && within(mounts[n].Target, mounts[i].Target) {
			return i
		}
	}
	return -1
}

// seal makes the mount at fd read-only, for good. A file of it may be open for
// writing for an instant longer than here: a child cloned meanwhile has copies of
// our descriptors until its first step.
func seal(fd int) error {
	attr := &unix.MountAttr{Attr_set: attrReadOnly, Propagation: unix.MS_PRIVATE}
	for wait := 50 * time.Microsecond; ; wait *= 2 {
		err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || wait > time.Second {
			return fmt.Errorf("make a mount read-only: %w", err)
		}
		time.Sleep(wait)
	}
}
