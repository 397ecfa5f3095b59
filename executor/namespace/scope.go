package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cofferdam/executor/namespace/cgroup"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the hierarchy of version 2 is mounted, if at all.
const cgroupRoot = "/sys/fs/cgroup"

// enterScope asks systemd for a cgroup of our own, a scope that it leaves to us
// (Delegate=yes), and waits until we are in it. On a host without version 2 of
// cgroups, and where we have one of ours already, it does nothing: a service of
// systemd for us alone and the root of a container are such places.
//
// Source: org.freedesktop.systemd1(5), StartTransientUnit; systemd.resource-control(5).
func enterScope(app string) error {
	var fs unix.Statfs_t
	if unix.Statfs(cgroupRoot, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil
	}
	own, err := ownCgroup()
	if err != nil || own == "/" || filepath.Base(own) == cgroup.Leaf {
		return err
	}
	switch dir := filepath.Join(cgroupRoot, own); {
	case alone(dir) && handed(dir):
		return nil
	case alone(dir) && filepath.Ext(own) == ".service":
		return fmt.Errorf("%s lacks Delegate=yes", filepath.Base(own)) // and we do not run away from it
	}
	manager, env := "--system", os.Environ()
	if os.Geteuid() != 0 {
		manager = "--user"
		if os.Getenv("XDG_RUNTIME_DIR") == "" {
			env = append(env, fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", os.Geteuid()))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopeTimeout)
	defer cancel()
	pid := strconv.Itoa(os.Getpid())
	cmd := exec.CommandContext(ctx, "/usr/bin/busctl", manager, "--quiet", "call",
		"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
		"StartTransientUnit", "ssa(sv)a(sa(sv))", "cofferdam-"+app+"-"+pid+".scope", "fail",
		"3", "PIDs", "au", "1", pid, "Delegate", "b", "true", "CollectMode", "s", "inactive-or-failed", "0")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ask systemd for a scope: %w: %s", err, strings.TrimSpace(string(out)))
	}
	for ctx.Err() == nil {
		if now, err := ownCgroup(); err != nil || now != own {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("ask systemd for a scope: it has not come about")
}

// scopeTimeout bounds how long systemd may take.
const scopeTimeout = 10 * time.Second

// ownCgroup is our place in the hierarchy of version 2.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("no cgroup of version 2 in /proc/self/cgroup")
}

// alone tells whether nobody but us is in a cgroup.
func alone(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(os.Getpid())
}

// handed tells whether a cgroup has the controllers, and is ours to divide.
func handed(dir string) bool {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	for _, c := range []string{"memory", "pids", "cpu"} {
		if err != nil || !slices.Contains(strings.Fields(string(have)), c) {
			return false
		}
	}
	return unix.Access(filepath.Join(dir, "cgroup.subtree_control"), unix.W_OK) == nil &&
		unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) == nil
}
