package spawner

import (
	"cofferdam/executor"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// Rights of landlock(7).
const (
	fsRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// What makes sense for a file that is no directory.
	fsFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	fsWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// handled are all rights that a version of Landlock knows.
func handled(abi int) uint64 {
	switch {
	case abi >= 5:
		return 1<<16 - 1 // IOCTL_DEV
	case abi >= 3:
		return 1<<15 - 1 // TRUNCATE
	case abi == 2:
		return 1<<14 - 1 // REFER
	default:
		return 1<<13 - 1
	}
}

// rule lets a program do everything below a place; but where others may see it, it makes no sockets and no pipes. Whoever
// only reads there could connect to one or write to it, and say, and pass descriptors, what no grant lets it: a mount that is
// read-only does not keep anybody from that, and labels let those read who must not be heard.
type rule struct {
	path   string
	isDir  bool
	others bool
}

// writable lists where a program with these mounts may write.
func writable(mounts []placed) []rule {
	rules := []rule{{"/tmp", true, false}, {"/dev/shm", true, false}}
	for _, m := range mounts {
		if m.Writable && (m.Kind == executor.MountBind || m.Kind == executor.MountVolume || m.Kind == executor.MountPoints) || m.Kind == executor.MountTmpfs {
			rules = append(rules, rule{m.Target, m.isDir, m.Kind != executor.MountTmpfs})
		}
	}
	return rules
}

// restrict writes the steps of Landlock: read and execute everywhere, write where the
// spec says. Abstract sockets and signals do not leave the domain (ABI 6).
func (w *scripts) restrict(s *linux.Script, g *linux.Stage, rules []rule) {
	if w.landlock == 0 {
		return
	}
	all := handled(w.landlock)
	attr := linux.LandlockRuleset{HandledFS: all, Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}.Bytes(w.landlock)
	ruleset := s.Slot()
	g.Add("make a landlock ruleset", unix.SYS_LANDLOCK_CREATE_RULESET, s.Bytes(attr), uintptr(len(attr)), 0).Into(ruleset)
	add := func(path string, access uint64) {
		beneath, fd := s.BytesWithSlot(linux.LandlockBeneath(access&all), 8)
		g.Add("open "+path+" for landlock", unix.SYS_OPENAT, cwd, s.String(path), unix.O_PATH|unix.O_CLOEXEC).Into(fd)
		g.Add("add a landlock rule for "+path, unix.SYS_LANDLOCK_ADD_RULE, 0, unix.LANDLOCK_RULE_PATH_BENEATH, beneath, 0).From(0, ruleset)
	}
	add("/", fsRead)
	if w.memoryGroup {
		add("/dev", fsRead|fsWrite)
	} else {
		// A shared mapping of /dev/zero is memory that nobody sees once it is not
		// mapped (package seccomp), and takes opening it for writing.
		for _, name := range devices {
			if name != "zero" {
				add("/dev/"+name, fsFile)
			}
		}
	}
	add("/proc", fsRead|fsWrite)
	for _, r := range rules {
		switch {
		case !r.isDir:
			add(r.path, fsFile)
		case r.others:
			add(r.path, all&^(unix.LANDLOCK_ACCESS_FS_MAKE_SOCK|unix.LANDLOCK_ACCESS_FS_MAKE_FIFO))
		default:
			add(r.path, all)
		}
	}
	g.Add("restrict with landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0).From(0, ruleset)
}
