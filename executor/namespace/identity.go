package namespace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cofferdam/executor"
	"cofferdam/executor/namespace/host"
	"cofferdam/executor/namespace/link"

	"golang.org/x/sys/unix"
)

const (
	defaultUIDBase = 0x70000000
	rootBlock      = 65536 // ids per application, as root
	rootBlocks     = 256
	userBlock      = 4096 // ids per application, of a user's subordinate ones
)

// identity is who the spawner is: its namespaces and the ids it may give away.
type identity struct {
	attr  *syscall.SysProcAttr
	claim *os.File // the lock on the block of ids, nil with a single id

	uidMap, gidMap []idMap // as an ordinary user
	helpers        bool    // newuidmap and newgidmap write them
}

// idMap is a line of uid_map: count ids from inside on are those from outside on.
type idMap struct{ inside, outside, count uint32 }

// newIdentity decides how the spawner will run and fills in hello. Root of a
// container mostly is an ordinary user: it lacks the capability, or its user
// namespace the ids that environments would get.
func newIdentity(opts *Options, hello *link.Hello) (*identity, error) {
	// Elsewhere /proc/PID is another process, or none.
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, unsupported("/proc is not that of our pid namespace", nil, ownProc)
	}
	base := opts.UIDBase
	if base == 0 {
		base = defaultUIDBase
	}
	if os.Geteuid() == 0 && administrator() {
		if mapped("/proc/self/uid_map", base, rootBlock) {
			return rootIdentity(opts, base, hello)
		}
		if opts.UIDBase != 0 {
			return nil, &executor.MissingError{Protection: executor.Protection{
				Name: "uid-range", Status: executor.Fail,
				Detail: fmt.Sprintf("the host ids from %d on are not mapped in this user namespace", base),
				Fix:    "set another base of ids",
			}}
		}
	}
	return userIdentity(opts, hello)
}

// administrator tells whether we have CAP_SYS_ADMIN.
func administrator() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "\nCapEff:\t")
	hex, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(hex, 16, 64)
	return err == nil && caps&(1<<unix.CAP_SYS_ADMIN) != 0
}

func rootIdentity(opts *Options, base uint32, hello *link.Hello) (*identity, error) {
	dir := opts.RuntimeDir
	if dir == "" {
		dir = "/run/cofferdam"
	}
	n, claim, err := claimBlock(dir, base, rootBlock, rootBlocks)
	if err != nil {
		return nil, err
	}
	hello.UIDBase, hello.UIDs = base+n*rootBlock, rootBlock
	return &identity{attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, claim: claim}, nil
}

// mapped tells whether count ids from base on exist in the user namespace of
// uid_map or gid_map file.
func mapped(file string, base, count uint32) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var inside, outside, n uint64
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &n); err == nil &&
			uint64(base) >= inside && uint64(base)+uint64(count) <= inside+n {
			return true
		}
	}
	return false
}

// userIdentity prepares a user namespace for the spawner. It starts there with
// capabilities but without ids; mapIDs gives it those.
func userIdentity(opts *Options, hello *link.Hello) (*identity, error) {
	var caps []uintptr
	for c := uintptr(0); c <= 40; c++ {
		if c < 38 || hasCap(c) {
			caps = append(caps, c)
		}
	}
	id := &identity{attr: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, AmbientCaps: caps,
	}}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	id.uidMap, id.gidMap = []idMap{{0, uid, 1}}, []idMap{{0, gid, 1}}
	hello.User = true

	subUID, subGID, note := subordinate()
	if note != "" {
		hello.IDNote, hello.IDFix = note, host.SubordinateFix(int(uid))
		return id, nil
	}
	count := min(subUID.count, subGID.count)
	dir := opts.RuntimeDir
	if dir == "" {
		dir = os.Getenv("XDG_RUNTIME_DIR")
		if dir != "" {
			dir = filepath.Join(dir, "cofferdam")
		} else {
			dir = fmt.Sprintf("/tmp/cofferdam-%d", uid)
		}
	}
	n, claim, err := claimBlock(dir, subUID.outside, userBlock, count/userBlock)
	if err != nil {
		return nil, err
	}
	id.claim, id.helpers = claim, true
	id.uidMap = append(id.uidMap, idMap{1, subUID.outside + n*userBlock, userBlock})
	id.gidMap = append(id.gidMap, idMap{1, subGID.outside + n*userBlock, userBlock})
	hello.UIDBase, hello.UIDs = 1, userBlock
	return id, nil
}

// hasCap tells whether the kernel knows capability c.
func hasCap(c uintptr) bool {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	last, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
	return err == nil && convErr == nil && int(c) <= last
}

// subordinate finds the user's ranges in /etc/subuid and /etc/subgid, or says
// why there are none.
func subordinate() (uids, gids idMap, note string) {
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return uids, gids, tool + " is not installed"
		}
	}
	names := []string{strconv.Itoa(os.Geteuid())}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	uids, okU := subRange("/etc/subuid", names)
	gids, okG := subRange("/etc/subgid", names)
	if !okU || !okG {
		return uids, gids, "no range of at least 4096 ids in /etc/subuid and /etc/subgid"
	}
	// In a container the helpers are often there and can do nothing.
	if !mapped("/proc/self/uid_map", uids.outside, uids.count) || !mapped("/proc/self/gid_map", gids.outside, gids.count) {
		return uids, gids, "the ids of /etc/subuid and /etc/subgid do not exist in this user namespace"
	}
	if on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || on != 0 {
		return uids, gids, "newuidmap can gain no privileges here (no_new_privs)"
	}
	return uids, gids, ""
}

// subRange reads subuid(5).
func subRange(file string, names []string) (idMap, bool) {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		for _, name := range names {
			first, err1 := strconv.ParseUint(f[1], 10, 32)
			count, err2 := strconv.ParseUint(f[2], 10, 32)
			if f[0] == name && err1 == nil && err2 == nil && count >= userBlock {
				return idMap{outside: uint32(first), count: uint32(count)}, true
			}
		}
	}
	return idMap{}, false
}

// claimBlock locks one of count blocks of size ids. The lock is that of an open
// file, which the spawner inherits: it lives as long as anybody with those ids.
func claimBlock(dir string, base, size, count uint32) (uint32, *os.File, error) {
	dir = filepath.Join(dir, "uids")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, nil, fmt.Errorf("claim ids for environments: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return 0, nil, fmt.Errorf("claim ids for environments: %w", err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || !fi.IsDir() || int(st.Uid) != os.Geteuid() {
		return 0, nil, fmt.Errorf("claim ids for environments: %s belongs to somebody else", dir)
	}
	for n := range count {
		name := filepath.Join(dir, fmt.Sprint(base+n*size))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return 0, nil, fmt.Errorf("claim ids for environments: %w", err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return n, f, nil
		}
		f.Close()
	}
	return 0, nil, fmt.Errorf("all %d blocks of ids in %s are taken by other applications", count, dir)
}

// mapIDs gives the spawner's user namespace its ids. As root there is none.
func (id *identity) mapIDs(pid int) error {
	if id.uidMap == nil {
		return nil
	}
	if id.helpers {
		return errors.Join(runMap("newuidmap", pid, id.uidMap), runMap("newgidmap", pid, id.gidMap))
	}
	// user_namespaces(7): without privilege setgroups must be given up first.
	for _, w := range []struct{ file, text string }{
		{"setgroups", "deny"}, {"uid_map", mapText(id.uidMap)}, {"gid_map", mapText(id.gidMap)},
	} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, w.file), []byte(w.text), 0); err != nil {
			return fmt.Errorf("map the spawner's ids: %w", err)
		}
	}
	return nil
}

func mapText(maps []idMap) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.inside, m.outside, m.count)
	}
	return b.String()
}

func runMap(tool string, pid int, maps []idMap) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(mapText(maps))...)
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// explain adds to a refusal what would have to change for an ordinary user to get
// a user namespace that is good for something. As root it has nothing to say.
func (id *identity) explain(err error) error {
	if id.uidMap == nil {
		return err
	}
	return host.Proc("/proc").NoUserNamespace(err)
}

// explainMap does that for a refusal to map the ids of a user namespace that we
// got.
func (id *identity) explainMap(err error) error {
	fix := ""
	switch {
	case errors.Is(err, syscall.EROFS):
		fix = ownProc
	case errors.Is(err, syscall.EPERM) && os.Geteuid() == 0:
		// user_namespaces(7): who maps the parent's root needs CAP_SETFCAP there.
		fix = "another user in the container than root (docker run --user 1000, bwrap --uid 1000), or CAP_SETFCAP for root (docker run --cap-add SETFCAP, bwrap --cap-add CAP_SETFCAP)"
	default:
		return id.explain(err)
	}
	return unsupported("one can be made, but nobody can be mapped into it", err, fix)
}

func unsupported(detail string, err error, fix string) error {
	return &executor.MissingError{Err: err, Protection: executor.Protection{
		Name: "user-namespace", Status: executor.Fail, Detail: detail, Fix: fix,
	}}
}

const ownProc = "a /proc of the container's own that can be written (bwrap --proc /proc)"
