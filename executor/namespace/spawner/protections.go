package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/cgroup"
	"cofferdam/executor/namespace/host"
	"cofferdam/executor/namespace/seccomp"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// protect tells what this host gives. We would not be here without user, mount
// and network namespaces or seccomp.
func (s *server) protect(groupErr error) []executor.Protection {
	all := []executor.Protection{
		{Name: "user-namespace", Status: executor.Pass, Detail: "of its own for every environment"},
		{Name: "mount-namespace", Status: executor.Pass, Detail: "an empty root with what the spec lists"},
		{Name: "pid-namespace", Status: executor.Pass, Detail: "with an init that reaps"},
		{Name: "network-namespace", Status: executor.Pass, Detail: "a loopback and nothing else"},
		{Name: "ipc-namespace", Status: executor.Pass, Detail: "no queues and no shared memory of others"},
		{Name: "uts-namespace", Status: executor.Pass, Detail: "a host name of its own"},
		{Name: "cgroup-namespace", Status: executor.Pass, Detail: "no cgroups but its own in sight"},
		{Name: "capabilities", Status: executor.Pass, Detail: "none, and no_new_privs"},
		{Name: "seccomp", Status: executor.Pass, Detail: fmt.Sprintf("allow list of %d instructions", len(s.scripts.filters[seccomp.May{}]))},
	}
	all = append(all, host.Landlock(s.scripts.landlock), s.idProtection(), peerProtection(), s.quotaProtection())
	s.try(all)
	return append(all, s.groupProtections(groupErr)...)
}

// uncoveredProc is what has to be allowed for user_namespaces(7) to let a /proc
// be mounted.
const uncoveredProc = "give the container a /proc of which nothing is masked or read-only: docker run --security-opt systempaths=unconfined; podman run --security-opt unmask=ALL; Kubernetes procMount: Unmasked; OCI: no maskedPaths and no readonlyPaths below /proc; bwrap: not as root, and nothing mounted below --proc"

// openedFilter is what to do about a filter of system calls around us.
const openedFilter = "docker run --security-opt seccomp=unconfined, or a filter that allows what docs/HOSTS.md lists"

// try does, on its own, what an old kernel lacks or a container around us can forbid,
// and corrects all where something does not work.
func (s *server) try(all []executor.Protection) {
	mounts, _ := os.ReadFile("/proc/thread-self/mountinfo") // the cloner may be the first thread
	status, _ := os.ReadFile("/proc/self/status")
	covered := strings.Contains(string(mounts), " "+hostDir+"/proc/")
	filtered := strings.Contains(string(status), "\nSeccomp:\t2\n")
	name, err := "mount-namespace", s.tryMounts()
	if err == nil && (covered || filtered) {
		name, err = s.tryInit()
	}
	if err == nil {
		return
	}
	for i := range all {
		p := &all[i]
		if p.Name != name {
			continue
		}
		p.Status, p.Detail, p.Fix = executor.Fail, err.Error(), openedFilter
		switch {
		case name == "pid-namespace" && covered:
			p.Detail += ", for parts of the /proc around us are covered, as container engines do"
			p.Fix = uncoveredProc
		case errors.Is(err, unix.ENOSYS) && !filtered:
			p.Detail = fmt.Sprintf("Linux %s is too old: %v", kernelRelease(), err)
			p.Fix = "a kernel from Linux 5.12 on"
		}
	}
}

// tryMounts does with mounts what layouts take.
func (s *server) tryMounts() error {
	for _, make := range []func() (int, error){
		func() (int, error) { return tmpfs(map[string]string{"mode": "755"}, attrGuest) },
		func() (int, error) { return cloneTree(s.hostFD, attrReadOnly) },
	} {
		fd, err := make()
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	// A filter answers before the kernel looks at what it was given.
	if err := unix.MoveMount(-1, "", -1, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != unix.EBADF {
		return fmt.Errorf("attach a mount: %w", err)
	}
	return nil
}

// tryInit has an init do what it does in each environment. It returns the name of the
// protection that cannot be had, and why.
func (s *server) tryInit() (string, error) {
	k, err := s.blanks.take()
	if err != nil {
		return "user-namespace", err
	}
	defer s.blanks.drop(k)
	setup, proc := &k.script.Setup, k.script.String("proc")
	setup.Add("set the host name", unix.SYS_SETHOSTNAME, proc, 4)
	setup.Add(mountProc, unix.SYS_MOUNT, proc, k.script.String("/proc"), proc, procFlags, k.script.String(procOptions))
	setup.Add("end", unix.SYS_EXIT_GROUP, 0)
	if err := k.script.Go(k.ctl, nil); err != nil {
		return "user-namespace", err
	}
	k.ctl.SetReadDeadline(time.Now().Add(startTimeout))
	_, _, err = k.script.ReadReport(k.ctl)
	var step *linux.StepError
	switch {
	case errors.Is(err, linux.ErrChildGone):
		return "", nil // it has come to the end
	case !errors.As(err, &step):
		return "user-namespace", err
	}
	return map[string]string{
		mountProc: "pid-namespace", "set the host name": "uts-namespace", "make a cgroup namespace": "cgroup-namespace",
	}[step.What], err
}

// peerProtection tells how the monitor learns which process has connected.
func peerProtection() executor.Protection {
	p := executor.Protection{Name: "peer-identity", Status: executor.Pass, Detail: "a descriptor of the process that has connected"}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer linux.CloseFDs(pair[:])
		var fd int
		if fd, err = unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			unix.Close(fd)
			return p
		}
	}
	p.Status = executor.Degraded
	p.Detail = fmt.Sprintf("the pid of the process that has connected, which a dead one leaves to others: Linux %s has no SO_PEERPIDFD", kernelRelease())
	p.Fix = "a kernel from Linux 6.5 on; on Debian 12: apt-get install linux-image-amd64/bookworm-backports"
	return p
}

func kernelRelease() string {
	var u unix.Utsname
	unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

func (s *server) idProtection() executor.Protection {
	p := executor.Protection{Name: "uid-range", Status: executor.Pass, Detail: fmt.Sprintf("two for each environment, from %d on", s.hello.UIDBase)}
	if s.ids.single() {
		p.Status, p.Detail = executor.Degraded, "all environments run as your own user on the host: "+s.hello.IDNote
		p.Fix = s.hello.IDFix
	} else if s.hello.User {
		p.Detail = "two for each environment, of your subordinate ids"
	}
	return p
}

// groupProtections tells which limits the kernel enforces over a whole tree.
func (s *server) groupProtections(groupErr error) []executor.Protection {
	substitutes := map[string]string{
		"memory": "a watcher that looks every 20 ms, and RLIMIT_DATA for each process",
		"pids":   "RLIMIT_NPROC, which the kernel counts per user namespace",
		"cpu":    "nothing: an environment may use every processor",
	}
	var all []executor.Protection
	for _, c := range []string{"memory", "pids", "cpu"} {
		p := executor.Protection{Name: "cgroup." + c, Status: executor.Pass}
		if s.cgroups != nil && !missing(s.cgroups, c) {
			p.Detail = s.cgroups.Describe()
		} else {
			p.Status = executor.Degraded
			why := cgroup.Why(hostDir+"/sys/fs/cgroup", "/proc/self", c)
			if groupErr != nil && !errors.Is(groupErr, fs.ErrPermission) {
				why.What, _, _ = strings.Cut(strings.ReplaceAll(groupErr.Error(), hostDir+"/sys/", "/sys/"), "\n")
			}
			if s.hello.ScopeNote != "" {
				why.What += " (" + s.hello.ScopeNote + ")"
				why.Fix = "loginctl enable-linger, so that there is a systemd --user to ask; as a service of the system: Delegate=yes"
			}
			p.Detail, p.Fix = why.What+"; instead "+substitutes[c], why.Fix
		}
		all = append(all, p)
	}
	return all
}

// checkDegraded refuses a start where a protection is missing that the spec does
// not allow to be. That an ordinary user has a single id is the rule, not the
// exception, and the peer's pid is a second wall behind a socket that lies inside
// alone: these only show. The quota of what is written to disk matters to those
// who write there: see checkQuotas.
func (s *server) checkDegraded(allowed []string) error {
	for _, p := range s.protections {
		if p.Status == executor.Pass || p.Name == "uid-range" || p.Name == "peer-identity" || p.Name == diskQuota || p.NamedIn(allowed) {
			continue
		}
		return &executor.MissingError{Protection: p}
	}
	return nil
}
