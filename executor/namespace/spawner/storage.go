package spawner

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

// storage is where volumes are kept, by name, in one directory of the host. As
// root a volume with a size is an image, a file that holds a file system of that
// size: what does not fit in, the kernel refuses. Any other volume is a directory,
// and watched.
//
// An image is parsed by the kernel. So its bytes are the kernel's and those of
// mkfs alone: the directory belongs to root and is closed to all others, to the
// trusted process too, and it was named before that had met a program.
type storage struct {
	dir    int    // -1 without
	why    string // what an image takes and the host lacks; "" if images can be made
	tools  tools
	mu     sync.Mutex
	images map[string]*image // guarded by mu: those in use
}

// openStorage opens the directory dir of the host, which may be "" for none.
func (s *server) openStorage(dir string) error {
	s.storage = &storage{dir: -1, why: s.imageless(), tools: findTools(), images: map[string]*image{}}
	if dir == "" {
		return nil
	}
	fd, err := openBeneath(s.hostFD, strings.TrimPrefix(dir, "/"), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open the directory of volumes %q: %w", dir, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if !s.hello.User && (st.Uid != 0 || st.Mode&0o022 != 0) {
		unix.Close(fd)
		return fmt.Errorf("the directory of volumes %q belongs to user %d with mode %o; it must be root's, and no one else may write there", dir, st.Uid, st.Mode&0o7777)
	}
	s.storage.dir = fd
	return nil
}

// imageless says why there can be no images, "" if there can.
func (s *server) imageless() string {
	if s.hello.User {
		return "to mount a file system of a file takes root"
	}
	if _, err := os.Stat(hostDir + "/dev/loop-control"); err != nil {
		return "no /dev/loop-control (modprobe loop)"
	}
	known, _ := os.ReadFile("/proc/filesystems")
	if !strings.Contains(string(known), "\text4\n") {
		return "the kernel has no ext4 (modprobe ext4)"
	}
	return findTools().missing()
}

// volumeName refuses what would not be a name in the directory of volumes. What
// the manifest allows has no "~", which is for us.
func volumeName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 200 || strings.ContainsAny(name, "/~\x00") {
		return fmt.Errorf("%.64q is not the name of a volume", name)
	}
	return nil
}

// placeVolume opens the volume that p names, and makes it the first time.
func (s *server) placeVolume(p *placed, limits *executor.Limits) error {
	v := s.storage
	if err := volumeName(p.Source); err != nil {
		return err
	}
	if v.dir < 0 {
		return fmt.Errorf("volume %q: there is no directory for volumes", p.Source)
	}
	size := p.SizeBytes
	if size == 0 {
		size = limits.VolumeBytes
	}
	var err error
	if size > 0 && v.why == "" {
		if p.image, err = v.use(p.Source, size, inodesFor(size, p.Inodes)); err == nil {
			p.source, err = unix.FcntlInt(uintptr(p.image.root), unix.F_DUPFD_CLOEXEC, 3)
		}
	} else {
		p.source, err = v.directory(p.Source)
	}
	if err != nil {
		return fmt.Errorf("volume %q: %w", p.Source, err)
	}
	p.isDir, p.own = true, true
	return nil
}

// inodesFor is how many files fit where size bytes do.
func inodesFor(size, inodes int64) int64 {
	if inodes > 0 {
		return inodes
	}
	return max(size/4096, 256)
}

// directory opens a volume that is a directory.
func (v *storage) directory(name string) (int, error) {
	if err := unix.Mkdirat(v.dir, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	fd, err := openBeneath(v.dir, name, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return -1, errors.New("it has a size up to now, and is an image; give it a size")
	}
	return fd, err
}

// use returns the image of a volume, mounted, and counts who uses it.
func (v *storage) use(name string, size, inodes int64) (*image, error) {
	v.mu.Lock()
	m := v.images[name]
	if m == nil {
		m = &image{name: name, size: size, root: -1}
		v.images[name] = m
	}
	m.users++
	v.mu.Unlock()

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.root < 0 {
		if err := v.mount(m, inodes); err != nil {
			v.leave(m)
			return nil, err
		}
	}
	return m, nil
}

// leave counts one user less; the last one's leaving unmounts. Whoever wants the
// volume meanwhile waits for the lock on its file.
func (v *storage) leave(m *image) {
	v.mu.Lock()
	m.users--
	last := m.users == 0
	if last {
		delete(v.images, m.name)
	}
	v.mu.Unlock()
	if last {
		m.unmount()
	}
}

// again counts one more user of an image in use.
func (v *storage) again(m *image) *image {
	v.mu.Lock()
	defer v.mu.Unlock()
	m.users++
	return m
}

// leaveImages is the end of what i uses of storage.
func (i *instance) leaveImages() {
	for _, m := range i.images {
		i.server.storage.leave(m)
	}
	i.images = nil
}

// checkQuotas refuses a quota that would only be watched, unless the spec allows
// that: what is a directory of the host can be filled faster than it is measured.
func (s *server) checkQuotas(mounts []placed, spec *link.Start) error {
	for _, m := range mounts {
		if m.writes() && m.isDir || m.Kind == executor.MountPoints && m.Writable {
			if err := s.checkQuota(&m.Mount, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) checkQuota(m *executor.Mount, spec *link.Start) error {
	limit := m.SizeBytes
	if limit == 0 {
		limit = spec.Limits.VolumeBytes
	}
	if limit <= 0 || slices.Contains(spec.AllowDegraded, diskQuota) {
		return nil
	}
	why := "a directory of the host is only watched"
	if m.Kind == executor.MountVolume {
		why = "a volume is only watched, for " + s.storage.why
	}
	return fmt.Errorf("protection %q is %w: %q may hold %s, but %s: more can be written before it is noticed; to provide it: %s, or write unlimited for its size", diskQuota, executor.ErrUnsupported, m.Target, bytesText(limit), why, quotaFix)
}

// diskQuota is the protection; quotaFix is what gives it.
const (
	diskQuota = "disk-quota"
	quotaFix  = "a volume of an application that root starts, with e2fsprogs and loop devices on the host"
)

func (s *server) quotaProtection() executor.Protection {
	p := executor.Protection{Name: diskQuota, Status: executor.Pass, Detail: "a volume is a file system of its size; a directory of the host (run --rw) is only watched"}
	if s.storage.why != "" {
		p.Status, p.Detail, p.Fix = executor.Degraded, "volumes are measured every 200 ms, for "+s.storage.why, quotaFix
	}
	return p
}
