package spawner

import (
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

// devices are all that there are, in /dev.
var devices = [...]string{"null", "zero", "full", "random", "urandom"}

// maxLayouts bounds how many file trees are kept; the oldest goes.
const maxLayouts = 64

// placed is a mount of a spec with what a start needs to know of it.
type placed struct {
	executor.Mount
	source  int  // O_PATH of Source, or -1
	isDir   bool // what is mounted is a directory
	own     bool // made at each start: not part of the layout
	late    bool // one instance's alone: not part of what is prepared ahead
	inFiles bool // made with the MountFiles that it lies in
	outer   int  // number of the mount that it lies in, -1 if in none
	point   bool // its mount point is made by the script, in a fresh tmpfs
	pointAt string
	key     string // identity of the source
	image   *image // what a volume is, if it is one; counted until released
}

// place checks the mounts of a spec and opens their sources; ahead of time those only that
// are not one instance's alone.
func (s *server) place(mounts []executor.Mount, limits *executor.Limits, ahead bool) (_ []placed, err error) {
	var all []placed
	defer func() {
		if err != nil {
			s.closePlaced(all)
		}
	}()
	for n, m := range mounts {
		p := placed{Mount: m, source: -1, outer: -1}
		if m.Kind != executor.MountRuntime {
			if err := checkTarget(m.Target); err != nil {
				return nil, err
			}
		}
		p.late = late(&m)
		switch kind := m.Kind; {
		case p.late && ahead:
			p.isDir, p.own = kind == executor.MountVolume, true
		case kind == executor.MountBind, kind == executor.MountSocket:
			if p.source, err = s.openSource(m.Source); err != nil {
				return nil, err
			}
			var st unix.Stat_t
			if err = unix.Fstat(p.source, &st); err != nil {
				unix.Close(p.source)
				return nil, fmt.Errorf("source %q: %w", m.Source, err)
			}
			mode := st.Mode & unix.S_IFMT
			p.isDir = mode == unix.S_IFDIR
			p.key = fmt.Sprintf("%d.%d", st.Dev, st.Ino)
			// A socket is one instance's, in a tree that many have.
			p.own = m.Kind == executor.MountSocket || m.Writable
			if (kind == executor.MountSocket) != (mode == unix.S_IFSOCK) || mode == unix.S_IFBLK || mode == unix.S_IFCHR {
				unix.Close(p.source)
				return nil, fmt.Errorf("source %q is not of the kind that the mount says", m.Source)
			}
		case kind == executor.MountVolume:
			if err = s.placeVolume(&p, limits); err != nil {
				s.closePlaced([]placed{p})
				return nil, err
			}
			var st unix.Stat_t
			if err = unix.Fstat(p.source, &st); err == nil {
				p.key = fmt.Sprintf("%d.%d", st.Dev, st.Ino)
			}
		case kind == executor.MountTmpfs, kind == executor.MountPoints, kind == executor.MountFiles:
			p.isDir, p.own = true, true
		case kind == executor.MountFile:
			p.own = true
		case kind == executor.MountSymlink, kind == executor.MountRuntime:
		default:
			return nil, fmt.Errorf("mount of unknown kind %d", m.Kind)
		}
		if m.Kind != executor.MountRuntime {
			outer := enclosing(mounts, n)
			p.outer, p.inFiles = outer, inFiles(mounts, n)
			switch {
			case outer >= 0 && all[outer].own, outer < 0 && within(m.Target, "/tmp"):
				p.own = true
				p.point = outer < 0 || mounts[outer].Kind == executor.MountTmpfs
				p.pointAt = "/tmp"
				if outer >= 0 {
					p.pointAt = mounts[outer].Target
				}
				if m.Target == p.pointAt && m.Target != "/tmp" {
					err = fmt.Errorf("two mounts on %q", m.Target)
				}
			case outer >= 0 && mounts[outer].Target == m.Target:
				err = fmt.Errorf("two mounts on %q", m.Target)
			}
			if m.Target == "/tmp" {
				p.point = false
			}
		}
		all = append(all, p)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *server) closePlaced(all []placed) {
	for _, p := range all {
		if p.source >= 0 {
			unix.Close(p.source)
		}
		if p.image != nil {
			s.storage.leave(p.image)
		}
	}
}

// late tells whether a mount is one instance's alone.
func late(m *executor.Mount) bool {
	return m.Kind == executor.MountSocket || m.Kind == executor.MountVolume
}

// inFiles tells whether mount n is made with the MountFiles that it lies in: a file directly in
// it, or a link.
func inFiles(mounts []executor.Mount, n int) bool {
	outer := enclosing(mounts, n)
	if outer < 0 || mounts[outer].Kind != executor.MountFiles {
		return false
	}
	m := &mounts[n]
	return m.Kind == executor.MountSymlink || m.Kind == executor.MountFile && path.Dir(m.Target) == mounts[outer].Target
}

// layouts keeps the file trees that starts clone.
type layouts struct {
	hostFD int

	mu    sync.Mutex
	trees map[string]int // guarded by mu: O_PATH of the tree, attached below layoutDir
	order []string       // guarded by mu: keys, oldest first
	made  int            // guarded by mu
}

// tree returns a detached copy of the file tree for spec.
func (l *layouts) tree(spec *link.Start, mounts []placed) (int, error) {
	var key strings.Builder
	fmt.Fprintf(&key, "%q %t", spec.Hosts, aheadOfNode(spec))
	for _, m := range mounts {
		if m.elsewhere(mounts) {
			continue
		}
		if m.own {
			fmt.Fprintf(&key, "\npoint %t %q %t", m.isDir, m.Target, m.point)
		} else {
			fmt.Fprintf(&key, "\n%d %q %q %s", m.Kind, m.Source, m.Target, m.key)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fd, ok := l.trees[key.String()]
	if !ok {
		var err error
		if fd, err = l.build(spec, mounts); err != nil {
			return -1, err
		}
		if len(l.order) == maxLayouts {
			l.forget(l.order[0])
		}
		l.trees[key.String()] = fd
		l.order = append(l.order, key.String())
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("clone a layout: %w", err)
	}
	return tree, nil
}

// forget takes a layout away; environments made from it have copies.
func (l *layouts) forget(key string) {
	unix.Close(l.trees[key])
	delete(l.trees, key)
	l.order = l.order[1:]
	// Layouts are numbered in the order they were made.
	dir := path.Join(layoutDir, strconv.Itoa(l.made-len(l.order)-1))
	unix.Unmount(dir, unix.MNT_DETACH)
	os.Remove(dir)
}

// build makes a file tree and leaves it attached, because only mounts of our
// namespace can be cloned before Linux 6.15.
func (l *layouts) build(spec *link.Start, mounts []placed) (_ int, err error) {
	dir := path.Join(layoutDir, strconv.Itoa(l.made))
	l.made++
	if err := os.Mkdir(dir, 0o755); err != nil {
		return -1, err
	}
	fs, err := tmpfs(map[string]string{"mode": "755", "size": "32m", "nr_inodes": "4096"}, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.MoveMount(fs, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("attach a layout: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Unmount(dir, unix.MNT_DETACH)
			os.Remove(dir)
			l.made-- // the numbers of layouts have no gaps
		}
	}()
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(root)
		}
	}()
	if err := l.base(root, spec); err != nil {
		return -1, err
	}
	for _, m := range mounts {
		if err := l.add(root, mounts, m); err != nil {
			return -1, err
		}
	}
	// Only the tree's own file system: the binds have their attributes, and the
	// devices must stay devices.
	if err := seal(root); err != nil {
		return -1, err
	}
	return root, nil
}

// base makes what every environment has.
func (l *layouts) base(root int, spec *link.Start) error {
	for _, name := range []string{"proc", "tmp", "dev/shm"} {
		if err := makePoint(root, name, true); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"etc/hosts":         hostsFile(spec.Hosts),
		"etc/resolv.conf":   "",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
		"etc/passwd":        "root:x:0:0:root:/:/sbin/nologin\napp:x:1000:1000:app:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
		"etc/group":         "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n",
	} {
		if err := makeFile(root, name, []byte(content), 0o444); err != nil {
			return err
		}
	}
	if aheadOfNode(spec) {
		if err := makeFile(root, nodeFile[1:], []byte(nodeText), 0o444); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1", "dev/stderr": "/proc/self/fd/2",
	} {
		if err := makeLink(root, name, target); err != nil {
			return err
		}
	}
	// It says what the host name of its reader is: so a tree fits any name.
	if err := l.bind(root, "proc/sys/kernel/hostname", "etc/hostname", false, attrReadOnly|unix.MOUNT_ATTR_NOEXEC); err != nil {
		return err
	}
	for _, name := range devices {
		// Not nodev: these five are what it is for to have devices.
		if err := l.bind(root, "dev/"+name, "dev/"+name, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	return nil
}

// bind shows the host's file or directory source at target.
func (l *layouts) bind(root int, source, target string, isDir bool, attrs uint64) error {
	fd, err := unix.Openat2(l.hostFD, source, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return fmt.Errorf("open %q of the host: %w", source, err)
	}
	defer unix.Close(fd)
	return bindFD(root, fd, target, isDir, attrs)
}

func bindFD(root, source int, target string, isDir bool, attrs uint64) error {
	if err := makePoint(root, target, isDir); err != nil {
		return err
	}
	tree, err := cloneTree(source, attrs)
	if err != nil {
		return fmt.Errorf("%q: %w", target, err)
	}
	defer unix.Close(tree)
	return attach(tree, root, target)
}

// elsewhere tells whether nothing of m is in a layout, not even a mount point: it lies in
// what is made at each start.
func (m *placed) elsewhere(mounts []placed) bool {
	return m.own && (m.point || m.outer >= 0 && mounts[m.outer].Kind == executor.MountFiles)
}

// add makes one mount of a spec, or its mount point if the rest is for the start.
func (l *layouts) add(root int, mounts []placed, m placed) error {
	target := strings.TrimPrefix(m.Target, "/")
	switch {
	case m.elsewhere(mounts):
		return nil
	case m.own:
		return makePoint(root, target, m.isDir)
	case m.Kind == executor.MountRuntime:
		return l.runtime(root)
	case m.Kind == executor.MountSymlink:
		return makeLink(root, target, m.Source)
	default:
		return bindFD(root, m.source, target, m.isDir, attrReadOnly)
	}
}

// What a dynamic linker and interpreters read of /etc. Single files are copied,
// which costs a start nothing; directories are bound.
var (
	runtimeFiles = []string{"ld.so.cache", "localtime", "mime.types", "services", "protocols"}
	runtimeDirs  = []string{"alternatives", "python3", "python3.*", "perl", "java-*-openjdk"}
)

// runtime shows the host's programs and libraries.
func (l *layouts) runtime(root int) error {
	if err := l.bind(root, "usr", "usr", true, attrReadOnly); err != nil {
		return err
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		fi, err := os.Lstat(path.Join(hostDir, name))
		switch {
		case err != nil:
			continue
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path.Join(hostDir, name))
			if err != nil {
				return err
			}
			if err := makeLink(root, name, target); err != nil {
				return err
			}
		case fi.IsDir():
			if err := l.bind(root, name, name, true, attrReadOnly); err != nil {
				return err
			}
		}
	}
	for _, name := range runtimeFiles {
		content, err := l.readHost("etc/" + name)
		if err != nil {
			continue // the host lacks it too
		}
		if err := makeFile(root, "etc/"+name, content, 0o444); err != nil {
			return err
		}
	}
	for _, pattern := range runtimeDirs {
		dirs, _ := os.ReadDir(path.Join(hostDir, "etc"))
		for _, d := range dirs {
			if ok, _ := path.Match(pattern, d.Name()); !ok || !d.IsDir() {
				continue
			}
			if err := l.bind(root, "etc/"+d.Name(), "etc/"+d.Name(), true, attrReadOnly); err != nil {
				return err
			}
		}
	}
	return nil
}

// readHost reads a small file of the host, following its links within the host.
func (l *layouts) readHost(name string) ([]byte, error) {
	fd, err := unix.Openat2(l.hostFD, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4<<20))
}
