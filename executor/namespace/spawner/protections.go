package spawner

import (
	"fmt"
	"strings"

	"cofferdam/executor"
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
		{Name: "seccomp", Status: executor.Pass, Detail: fmt.Sprintf("allow list of %d instructions", len(s.scripts.filter))},
	}
	all = append(all, s.landlockProtection(), s.idProtection(), s.quotaProtection())
	return append(all, s.groupProtections(groupErr)...)
}

func (s *server) landlockProtection() executor.Protection {
	p := executor.Protection{Name: "landlock", Status: executor.Pass, Detail: fmt.Sprintf("ABI %d", s.scripts.landlock)}
	switch {
	case s.scripts.landlock == 0:
		p.Status, p.Detail = executor.Fail, "the kernel has none; mounts and namespaces hold alone"
		p.Fix = "add lsm=landlock,… to the kernel command line (Linux 5.13)"
	case s.scripts.landlock < 6:
		p.Detail += ", without scopes for signals and abstract sockets, which namespaces cover"
	}
	return p
}

func (s *server) idProtection() executor.Protection {
	p := executor.Protection{Name: "uid-range", Status: executor.Pass, Detail: fmt.Sprintf("two ids per environment of the %d from %d", s.hello.UIDs, s.hello.UIDBase)}
	if s.ids.single() {
		p.Status, p.Detail = executor.Degraded, "all environments run as your own user on the host: "+s.hello.IDNote
		p.Fix = "apt-get install uidmap, and a line for the user in /etc/subuid and /etc/subgid"
	} else if s.hello.User {
		p.Detail = "two ids per environment of a range of subordinate ids"
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
			p.Detail = "no cgroup of ours to limit " + c + "; instead " + substitutes[c]
			if groupErr != nil {
				p.Detail += fmt.Sprintf(" (%s)", firstReason(groupErr))
			}
			p.Fix = "systemd-run --user --scope -p Delegate=yes …, on a host with cgroup v2"
		}
		all = append(all, p)
	}
	return all
}

// checkDegraded refuses a start where a protection is missing that the spec does
// not allow to be. That an ordinary user has a single id is the rule, not the
// exception: it only shows. The quota of what is written to disk matters to those
// who write there: see checkQuotas.
func (s *server) checkDegraded(allowed []string) error {
	for _, p := range s.protections {
		if p.Status == executor.Pass || p.Name == "uid-range" || p.Name == diskQuota || p.NamedIn(allowed) {
			continue
		}
		return fmt.Errorf("protection %q is %w: %s; to provide it: %s", p.Name, executor.ErrUnsupported, p.Detail, p.Fix)
	}
	return nil
}

// firstReason is the first of several errors, with the paths of the host as its
// owner knows them.
func firstReason(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ReplaceAll(first, "/host/sys/", "/sys/")
}
