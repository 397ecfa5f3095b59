package spawner

import (
	"fmt"
	"os"
	"path"
	"strconv"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// hostsPath is where programs find which names resolve.
const hostsPath = "/etc/hosts"

func hostsFile(hosts []executor.Host) string {
	text := "127.0.0.1 localhost\n::1 localhost\n"
	for _, h := range hosts {
		text += h.Addr.String() + " " + h.Name + "\n"
	}
	return text
}

// reach opens further listeners in a running environment, and mounts another hosts file
// in place of the one that it has, which others may have too.
func (i *instance) reach(r *link.Reach) (fds []int, err error) {
	i.reachMu.Lock()
	defer i.reachMu.Unlock()
	if fds, err = listenAll(r.Listen, i.network); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			linux.CloseFDs(fds)
			fds = nil
		}
	}()
	file, err := hostsMount(path.Join(layoutDir, "hosts-"+strconv.FormatUint(i.env, 10)), r.Hosts)
	if err != nil {
		return fds, err
	}
	defer unix.Close(file)
	return fds, i.visit(func() error {
		if i.renamed {
			if err := unix.Unmount(hostsPath, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %q: %w", hostsPath, err)
			}
			i.renamed = false
		}
		if err := attach(file, unix.AT_FDCWD, hostsPath); err != nil {
			return err
		}
		i.renamed = true
		return nil
	})
}

// hostsMount returns a detached read-only mount of one file. It is made at dir, which is
// gone afterwards, because only mounts of our namespace can be cloned before Linux 6.15.
func hostsMount(dir string, hosts []executor.Host) (int, error) {
	fs, err := tmpfs(map[string]string{"mode": "755", "size": "64k", "nr_inodes": "4"}, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := makeFile(fs, "hosts", []byte(hostsFile(hosts)), 0o444); err != nil {
		return -1, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return -1, err
	}
	defer os.Remove(dir)
	if err := unix.MoveMount(fs, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("attach a hosts file: %w", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	file, err := openBeneath(fs, "hosts", unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer unix.Close(file)
	return cloneTree(file, attrReadOnly|unix.MOUNT_ATTR_NOEXEC)
}
