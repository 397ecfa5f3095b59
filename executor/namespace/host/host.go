// Package host says what this host lacks, and what would provide it.
//
// It looks at the mechanism, never at whether some program is installed: settings
// of the kernel, what the kernel answers, what is mounted over what.
//
// Trusted: yes, though only people read it: that a protection is there is told by
// it for Landlock and seccomp.
package host

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"cofferdam/executor"
	"cofferdam/internal/linux"
)

// Proc is where procfs is mounted: "/proc", but for tests.
type Proc string

// setting is a switch of the kernel that forbids user namespaces.
type setting struct{ file, bad, says, fix string }

var settings = []setting{
	{"sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0",
		"sysctl -w kernel.unprivileged_userns_clone=1"},
	{"sys/user/max_user_namespaces", "0", "user.max_user_namespaces is 0",
		"sysctl -w user.max_user_namespaces=15000"},
	{"sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor allows user namespaces only to programs with a profile",
		"cp packaging/apparmor/cofferdam /etc/apparmor.d/ && apparmor_parser -r /etc/apparmor.d/cofferdam"},
}

// inContainer is what allows the programs of a container what we need.
const inContainer = "a container that allows it: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined; or, for seccomp, a filter that allows what docs/HOSTS.md lists"

// NoUserNamespace says why an ordinary user gets no user namespace that is good for
// anything, after the attempt to make one has failed with err. An error that is not
// about that comes back as it is.
func (p Proc) NoUserNamespace(err error) error {
	missing := &executor.MissingError{Err: err}
	missing.Name, missing.Status = "user-namespace", executor.Fail
	because := func(detail, fix string) error {
		missing.Detail, missing.Fix = detail, fix
		return missing
	}
	if !p.has("self/ns/user") {
		return because("the kernel was built without them", "a kernel with CONFIG_USER_NS")
	}
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC)
	filtered := strings.Contains(p.read("self/status"), "\nSeccomp:\t2") // which may answer anything
	if !refused && !filtered {
		return err
	}
	for _, s := range settings {
		if strings.TrimSpace(p.read(s.file)) == s.bad {
			return because(s.says, s.fix)
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return because("there are as many as user.max_user_namespaces allows, here or around us, or they are nested too deep",
			"more user namespaces: sysctl -w user.max_user_namespaces=15000, here and around the container if this is one (bwrap: without --disable-userns)")
	case filtered:
		return because("a filter of system calls around us forbids them, as those of container engines do", inContainer)
	}
	return because("something around us forbids them: a container, a chroot, a security module", inContainer)
}

// Landlock is the protection that the kernel's version of it gives.
func Landlock(abi int) executor.Protection {
	p := executor.Protection{Name: "landlock", Status: executor.Pass, Detail: "ABI " + strconv.Itoa(abi)}
	switch {
	case abi == 0:
		p.Status, p.Detail = executor.Fail, "the kernel has none; mounts and namespaces hold alone"
		p.Fix = "a kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.13)"
		if errors.Is(linux.LandlockError(), syscall.EOPNOTSUPP) {
			p.Detail = "in the kernel, but not switched on by lsm=; mounts and namespaces hold alone"
			p.Fix = "add landlock to lsm= on the kernel's command line"
		}
	case abi < 6:
		p.Detail += ", without scopes for signals and abstract sockets, which namespaces cover"
	}
	return p
}

// Seccomp asks the kernel for the actions that our filters end with.
func Seccomp() executor.Protection {
	p := executor.Protection{Name: "seccomp", Status: executor.Pass, Detail: "the kernel has filters of system calls"}
	if err := linux.SeccompError(); err != nil {
		p.Status, p.Detail, p.Fix = executor.Fail, err.Error(), "a kernel with CONFIG_SECCOMP_FILTER"
	}
	return p
}

// SubordinateFix is what gives user uid a range of ids: for newuidmap and newgidmap,
// which are installed with it.
func SubordinateFix(uid int) string {
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return "apt-get install uidmap && usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 " + name
}

func (p Proc) has(file string) bool {
	_, err := os.Lstat(string(p) + "/" + file)
	return err == nil
}

func (p Proc) read(file string) string {
	b, _ := os.ReadFile(string(p) + "/" + file)
	return string(b)
}
