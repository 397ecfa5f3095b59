package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Lack is why a controller cannot be used, and the one command that changes that.
type Lack struct{ What, Fix string }

// Why says why the controller ("memory", "pids", "cpu") is not ours to use, after
// [Open] went without it. root and proc are as there.
func Why(root, proc, controller string) Lack {
	own, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return Lack{What: "no cgroups: " + err.Error(), Fix: "mount /proc"}
	}
	paths, err := hierarchies(string(own), root)
	if err != nil {
		return Lack{What: "no cgroups are mounted at /sys/fs/cgroup", Fix: "mount -t cgroup2 cgroup2 /sys/fs/cgroup"}
	}
	if dir, ok := paths[controller]; ok { // version 1 has it, and so version 2 has not
		return Lack{
			What: fmt.Sprintf("cgroup v1, where %s belongs to %s", shown(dir, root), owner(dir)),
			Fix:  "start as root, or boot with systemd.unified_cgroup_hierarchy=1",
		}
	}
	if dir, ok := paths[""]; ok {
		return whyV2(root, dir, controller)
	}
	return Lack{What: "no cgroup hierarchy has " + controller, Fix: "boot without cgroup_disable= and cgroup_no_v1= for it"}
}

// whyV2 looks where on the way from the root to our own cgroup dir the controller
// is lost.
func whyV2(root, dir, controller string) Lack {
	if filepath.Base(dir) == Leaf {
		dir = filepath.Dir(dir)
	}
	var way []string
	for at := dir; within(at, root); at = filepath.Dir(at) {
		way = append([]string{at}, way...)
		if at == root {
			break
		}
	}
	for i, at := range way {
		if slices.Contains(strings.Fields(read(full(at), "cgroup.controllers")), controller) {
			continue
		}
		if i == 0 {
			return Lack{
				What: fmt.Sprintf("cgroup v2 at %s has no %s: a v1 hierarchy or the kernel's command line took it", shown(at, root), controller),
				Fix:  "boot with systemd.unified_cgroup_hierarchy=1, and without cgroup_disable=" + controller,
			}
		}
		return Lack{
			What: fmt.Sprintf("%s does not hand %s down to %s", shown(way[i-1], root), controller, filepath.Base(at)),
			Fix:  handDown(way[i-1], root, controller),
		}
	}
	if unix.Access(filepath.Join(dir, "cgroup.subtree_control"), unix.W_OK) != nil {
		return Lack{
			What: fmt.Sprintf("%s is not delegated: it belongs to %s", shown(dir, root), owner(filepath.Join(dir, "cgroup.subtree_control"))),
			Fix:  delegated,
		}
	}
	return Lack{What: fmt.Sprintf("%s is shared with processes that are not ours to move", shown(dir, root)), Fix: delegated}
}

// delegated starts a program in a cgroup that is its own.
const delegated = "systemd-run --user --scope -p Delegate=yes cofferdam …"

// handDown is how to have the cgroup dir hand down a controller: by its manager if
// systemd has one there.
func handDown(dir, root, controller string) string {
	if unit := filepath.Base(dir); strings.HasSuffix(unit, ".service") || strings.HasSuffix(unit, ".slice") {
		if strings.HasPrefix(unit, "user@") || strings.HasSuffix(unit, ".slice") {
			unit = "user@.service"
		}
		return fmt.Sprintf("mkdir -p /etc/systemd/system/%s.d && printf '[Service]\\nDelegate=cpu memory pids\\n' >/etc/systemd/system/%s.d/delegate.conf && systemctl daemon-reload, and log in again", unit, unit)
	}
	return fmt.Sprintf("echo +%s >%s/cgroup.subtree_control", controller, shown(dir, root))
}

// shown is a directory as the host's people know it.
func shown(dir, root string) string {
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return dir
	}
	return filepath.Join("/sys/fs/cgroup", rel)
}

// owner names the user that a file belongs to.
func owner(file string) string {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return "nobody that we know of"
	}
	switch st.Uid {
	case 0:
		return "root"
	case 65534: // not mapped in our user namespace
		return "another user"
	}
	return fmt.Sprintf("user %d", st.Uid)
}
