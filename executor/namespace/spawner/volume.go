package spawner

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// volume is a writable bind, watched for its quota.
type volume struct {
	fd    int
	path  string
	limit int64 // in bytes
	files int64 // how many there may be
}

// ownFiles returns a detached read-only tmpfs with the files of the spec, named
// by their number, or -1 if there are none. They belong to the program's id, so
// that a mode like 0400 lets the program read them; nothing lets it write.
func (s *server) ownFiles(mounts []placed, id int) (_ int, err error) {
	root := -1
	defer func() {
		if err != nil && root >= 0 {
			unix.Close(root)
		}
	}()
	for n, m := range mounts {
		if m.Kind != executor.MountFile || m.inFiles {
			continue
		}
		if root < 0 {
			if root, err = tmpfs(filesOptions, 0); err != nil {
				return -1, err
			}
		}
		if err = programFile(root, strconv.Itoa(n), &m, id); err != nil {
			return -1, err
		}
	}
	if root >= 0 {
		err = seal(root)
	}
	return root, err
}

// filesOptions are those of a tmpfs with files of specs.
var filesOptions = map[string]string{"mode": "755", "size": "64m"}

// programFile makes the file name of m in dir.
func programFile(dir int, name string, m *placed, id int) error {
	mode := uint32(m.Mode.Perm()) &^ 0o222
	if m.Mode == 0 {
		mode = 0o444
	}
	err := makeFile(dir, name, m.Data, mode)
	if err == nil {
		err = unix.Fchownat(dir, name, id, id, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", m.Target, err)
	}
	return nil
}

// filesTree returns a detached read-only tmpfs for mount n of mounts, with the files that are
// there by now, links, and mount points for what is mounted in it.
func filesTree(mounts []placed, n, id int) (_ int, err error) {
	fs, err := tmpfs(filesOptions, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fs)
		}
	}()
	for k := range mounts {
		m := &mounts[k]
		if k <= n || m.outer != n {
			continue
		}
		name := strings.TrimPrefix(m.Target, mounts[n].Target+"/")
		switch {
		case m.Kind == executor.MountSymlink:
			err = makeLink(fs, name, m.Source)
		case m.inFiles:
			err = programFile(fs, name, m, id)
		default:
			err = makePoint(fs, name, m.isDir)
		}
		if err != nil {
			return -1, err
		}
	}
	return fs, seal(fs)
}

// ownTree makes the tree of a mount that is made at each start: a bind, a volume, a socket, or
// mount points. A writable one that is no image becomes the instance's own, and is
// watched.
func (i *instance) ownTree(mounts []placed, n int) (int, error) {
	m := &mounts[n]
	switch m.Kind {
	case executor.MountFiles:
		return filesTree(mounts, n, i.server.ids.program(i.blank.slot))
	case executor.MountPoints:
		return mountPoints()
	case executor.MountSocket:
		return cloneTree(m.source, attrGuest|unix.MOUNT_ATTR_NOEXEC) // who connects writes
	}
	attrs := uint64(attrReadOnly)
	if m.Writable {
		attrs = attrGuest
	}
	if m.image != nil {
		tree, err := cloneTree(m.source, attrs)
		if err == nil {
			if err = idmapped(tree, i.blank.child.Pid); err != nil {
				unix.Close(tree)
			}
		}
		return tree, err
	}
	if m.writes() {
		if err := i.watchVolume(m.source, m.Target, m.SizeBytes, m.Inodes); err != nil {
			return -1, err
		}
	}
	return cloneTree(m.source, attrs)
}

// watchVolume has the quota of what is shown writable of source watched. That
// of a single file is what the limit of file sizes is for.
func (i *instance) watchVolume(source int, target string, limit, files int64) error {
	if limit == 0 {
		limit = i.spec.Limits.VolumeBytes
	}
	if limit <= 0 {
		return nil
	}
	if files <= 0 || files > maxEntries {
		files = maxEntries
	}
	fd, err := openBeneath(source, "", unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	if i.volumesShut {
		unix.Close(fd)
		return executor.ErrStopped
	}
	i.volumes = append(i.volumes, volume{fd, target, limit, files})
	if !i.watching {
		i.watching = true
		go i.watchQuotas()
	}
	return nil
}

// forgetVolume ends the watch over what was shown on target.
func (i *instance) forgetVolume(target string) {
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	for n, v := range i.volumes {
		if v.path == target {
			unix.Close(v.fd)
			i.volumes = slices.Delete(i.volumes, n, n+1)
			return
		}
	}
}

func (i *instance) closeVolumes() {
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	for _, v := range i.volumes {
		unix.Close(v.fd)
	}
	i.volumes, i.volumesShut = nil, true
}

// maxDepth bounds how deep a tree is walked at a time: each level holds two
// descriptors. maxDeeper is how many directories at that depth can wait for their turn.
const (
	maxDepth  = 64
	maxDeeper = 256
)

// giveTree makes uid and gid the owners of the file or directory tree at fd, unless
// they are already. Links are not followed and no other file system is entered: what is
// in there was written by programs (CVE-2024-28189).
func giveTree(fd, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	// The top comes last: it is what tells that the rest is done.
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err := walkAll(fd, st.Dev, func(dir int, name string, _ *unix.Stat_t) error {
			return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		})
		if err != nil {
			return fmt.Errorf("hand over to id %d: %w", uid, err)
		}
	}
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("hand over to id %d: %w", uid, err)
	}
	return nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// visit is what walk calls for the file name in the directory dir.
type visit func(dir int, name string, st *unix.Stat_t) error

// walkAll is walk for a tree of any depth.
func walkAll(fd int, dev uint64, f visit) error {
	waiting := []int{}
	defer func() {
		for _, fd := range waiting {
			unix.Close(fd)
		}
	}()
	deeper := func(fd int) error {
		if len(waiting) == maxDeeper {
			return fmt.Errorf("more than %d directories nested deeper than %d", maxDeeper, maxDepth)
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			waiting = append(waiting, own)
		}
		return err
	}
	if err := walk(fd, dev, 0, deeper, f); err != nil {
		return err
	}
	for len(waiting) > 0 {
		next := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		err := walk(next, dev, 0, deeper, f)
		unix.Close(next)
		if err != nil {
			return err
		}
	}
	return nil
}

// tooDeep is for a walk that goes no deeper.
func tooDeep(int) error { return fmt.Errorf("directories nested deeper than %d", maxDepth) }

// walk calls f for everything below the directory fd, contents before their
// directory, without following links or entering other file systems, and deeper for
// directories at maxDepth, whose contents it leaves out.
func walk(fd int, dev uint64, depth int, deeper func(fd int) error, f visit) error {
	if depth > maxDepth {
		return deeper(fd)
	}
	// A description of its own: reading a directory moves its offset.
	own, err := openBeneath(fd, "", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(own), "directory")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(own, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue // gone meanwhile
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				if st.Dev != dev {
					continue
				}
				sub, err := openBeneath(own, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
				if err != nil {
					continue
				}
				err = walk(sub, dev, depth+1, deeper, f)
				unix.Close(sub)
				if err != nil {
					return err
				}
			}
			if err := f(own, name, &st); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		if err != nil {
			return nil // io.EOF, or a directory that went away
		}
	}
}

// maxEntries bounds a measurement. A volume with more is over any quota, for
// it cannot be watched.
const maxEntries = 200_000

// measure is the size in bytes of what is stored at fd: blocks, so that sparse
// files count what they occupy, and a little for each name.
func measure(fd int, limit, files int64) (bytes, entries int64) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0, 0
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return st.Blocks * 512, 1
	}
	var total int64
	err := walk(fd, st.Dev, 0, tooDeep, func(_ int, _ string, st *unix.Stat_t) error {
		entries++
		total += st.Blocks*512 + 256
		if total > limit || entries > files {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, unix.ENOENT) {
		return max(total, limit+1), entries // cannot be watched to its end
	}
	return total, entries
}
